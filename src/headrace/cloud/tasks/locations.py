"""google.cloud.location.Locations: where this server has queues."""

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Message, message_class
from headrace.cloud.errors import entity_missing
from headrace.cloud.pages import page_size, read_token, write_token
from headrace.cloud.services import Rpc
from headrace.cloud.tasks.filters import parse_filter
from headrace.engine.engine import Engine

Location = message_class("google.cloud.location.Location")
GetLocationRequest = message_class("google.cloud.location.GetLocationRequest")
ListLocationsRequest = message_class("google.cloud.location.ListLocationsRequest")
ListLocationsResponse = message_class("google.cloud.location.ListLocationsResponse")

MAX_LOCATIONS_PAGE = 1000


class Locations:
    """The location that the server was started with, in any project, and those that have queues."""

    def __init__(self, engine: Engine, clock: Clock, location: str) -> None:
        self._engine = engine
        self._clock = clock
        self._location = location
        self.rpcs: dict[str, Rpc] = {
            "ListLocations": Rpc(ListLocationsRequest, self.list_locations),
            "GetLocation": Rpc(GetLocationRequest, self.get_location),
        }

    async def list_locations(self, request: Message) -> Message:
        """A page of a project's locations, by name."""
        project = names.check_project(request.name)
        matches = parse_filter(request.filter, Location.DESCRIPTOR)
        size = page_size(request.page_size, MAX_LOCATIONS_PAGE)
        listing, now = f"{project} {request.filter}", self._clock.now()
        after = read_token(request.page_token, listing, now)
        found = [place for name in self._list(project) if name > after and matches(place := _location(name))]
        answer = ListLocationsResponse(locations=found[:size])
        if len(found) > size:
            answer.next_page_token = write_token(found[size - 1].name, listing, now)
        return answer

    async def get_location(self, request: Message) -> Message:
        """One of them."""
        name = names.check_location(request.name)
        if name not in self._list(name.partition("/locations/")[0]):
            raise entity_missing()
        return _location(name)

    def _list(self, project: str) -> list[str]:
        prefix = f"{project}/locations/"
        located = (names.location_of(queue.name) for queue in self._engine.list_queues())
        return sorted({prefix + self._location, *(name for name in located if name.startswith(prefix))})


def _location(name: str) -> Message:
    place = name.rpartition("/")[2]
    return Location(name=name, location_id=place, labels={"cloud.googleapis.com/region": place})
