"""Locations and their encryption keys, through the official client."""

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound, PermissionDenied
from google.cloud.location import locations_pb2
from google.cloud.tasks_v2 import CloudTasksClient

from tests.cloud.conftest import LOCATION

OTHER = "projects/elsewhere"
KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"


def locations(client: CloudTasksClient, name: str, **fields: object) -> locations_pb2.ListLocationsResponse:
    answer: locations_pb2.ListLocationsResponse = client.list_locations(request={"name": name, **fields})
    return answer


def test_the_location_of_the_server_and_those_with_queues_are_listed(client: CloudTasksClient) -> None:
    assert [place.location_id for place in locations(client, OTHER).locations] == ["here"]
    parent = f"{OTHER}/locations/europe-west1"
    client.create_queue(parent=parent, queue={"name": f"{parent}/queues/one"})
    first = locations(client, OTHER, page_size=1)
    second = locations(client, OTHER, page_size=1, page_token=first.next_page_token)
    assert [place.name for place in (*first.locations, *second.locations)] == [parent, f"{OTHER}/locations/here"]
    assert not second.next_page_token
    found = locations(client, OTHER, filter="location_id=here").locations
    assert [place.location_id for place in found] == ["here"]
    assert client.get_location({"name": parent}) == first.locations[0]
    assert first.locations[0].labels == {"cloud.googleapis.com/region": "europe-west1"}


def test_a_location_without_queues_is_not_found(client: CloudTasksClient) -> None:
    with pytest.raises(NotFound):
        client.get_location({"name": "projects/demo/locations/nowhere"})


def test_a_project_has_to_be_named(client: CloudTasksClient) -> None:
    with pytest.raises(PermissionDenied, match="resource project demo"):
        locations(client, "demo/locations")


def test_the_key_of_a_location_is_kept_until_it_is_taken_away(client: CloudTasksClient) -> None:
    name = f"{LOCATION}/cmekConfig"
    with pytest.raises(NotFound):
        client.get_cmek_config(name=name)
    set_ = client.update_cmek_config(cmek_config={"name": name, "kms_key": KEY}, update_mask={"paths": ["kms_key"]})
    assert set_ == client.get_cmek_config(name=name) == client.get_cmek_config(name=f"{LOCATION}/CmekConfig")
    assert set_.kms_key == KEY
    client.update_cmek_config(cmek_config={"name": name})
    assert client.get_cmek_config(name=name).kms_key == ""


@pytest.mark.parametrize(
    ("config", "mask"),
    [
        ({"name": LOCATION, "kms_key": KEY}, []),
        ({"name": f"{LOCATION}/cmekConfig", "kms_key": "not a key"}, []),
        ({"name": f"{LOCATION}/cmekConfig", "kms_key": KEY}, ["nothing"]),
    ],
)
def test_what_is_no_key_is_refused(config: dict[str, str], mask: list[str], client: CloudTasksClient) -> None:
    with pytest.raises(InvalidArgument):
        client.update_cmek_config(request={"cmek_config": config, "update_mask": {"paths": mask}})
