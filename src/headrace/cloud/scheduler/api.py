"""Cloud Scheduler v1 as a whole: its service, the scheduler behind it, and what sends the scheduler's requests."""

from collections.abc import Sequence

from headrace.clock import Clock
from headrace.cloud.descriptors import Message
from headrace.cloud.scheduler.jobs import Jobs
from headrace.cloud.services import Service
from headrace.cloud.settings import ServerSettings
from headrace.engine import job_target
from headrace.engine.bell import Bell
from headrace.engine.dispatcher import TokenSource
from headrace.engine.http import Client
from headrace.engine.model import EngineSettings
from headrace.engine.scheduler import Scheduler
from headrace.engine.store.interface import Store


class SchedulerApi:
    """The scheduler of one store. Its requests go by the same rules as the engine's pushes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tokens: TokenSource,
        settings: ServerSettings,
        engine_settings: EngineSettings,
        bell: Bell | None = None,
    ) -> None:
        self._client = Client(tls=engine_settings.tls, reach=engine_settings.reach)
        places = job_target.Places(
            engine_settings.app_engine.base, settings.scheduler_service_account, settings.pubsub_endpoint
        )
        self.scheduler = Scheduler(store, clock, job_target.make_send(self._client, tokens, places), bell)
        self.jobs = Jobs(
            self.scheduler, store, clock, lambda job: job_target.may_reach(job, places, engine_settings.reach)
        )
        self.services = [Service("google.cloud.scheduler.v1.CloudScheduler", self.jobs.rpcs)]

    async def load(self, declared: Sequence[Message]) -> None:
        """Read what an earlier process kept, and take up cron.yaml. Once, before the first call."""
        await self.jobs.open(declared)

    async def start(self) -> None:
        """Fire from now on."""
        await self.scheduler.start()

    async def stop(self, grace: float) -> None:
        """Start no request, wait up to `grace` seconds for those under way, and close the connections."""
        await self.scheduler.stop(grace)
        await self._client.close()
