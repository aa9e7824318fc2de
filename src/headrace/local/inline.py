"""The service and its queue in this process: `headrace dev --inline`."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from headrace.config.settings import INLINE, load_settings
from headrace.database import Database, migration
from headrace.local.address import Address, write_address
from headrace.local.stack import HOST, make_folder, refuse_taken
from headrace.service.current import service_of
from headrace.service.factory import create_app


class _Quiet(WSGIRequestHandler):
    """The service writes a line for each request itself."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def run_inline(
    folder: Path, data: Path, *, port: int, variables: Mapping[str, str]
) -> Iterator[tuple[BaseWSGIServer, Address]]:
    """The application in `folder`, with its queue and schedules: an HTTP server that is to be run, and its address.

    The database is brought up to date first. The address is left in the data folder, for commands in another
    terminal. `variables` are settings of the service.

    Raises ConfigError, ContractError and StartError.
    """
    make_folder(data)
    refuse_taken(port, "the service")
    address = Address(f"http://{HOST}:{port}", admin_token=secrets.token_urlsafe(24))
    settings = load_settings(
        {
            "HEADRACE_ENV": "development",
            "HEADRACE_DATA": str(data),
            "HEADRACE_DRIVER": INLINE,
            "HEADRACE_SERVICE_URL": address.service,
            "HEADRACE_ADMIN_TOKEN": address.admin_token or "",
            "PORT": str(port),
            **variables,
        },
        folder=folder,
    )
    database = Database(settings.database_url)
    migration.upgrade(database)
    database.close()
    app = create_app(folder, settings)
    queue, watchdog = service_of(app).queue, service_of(app).watchdog
    assert queue is not None
    assert watchdog is not None
    queue.start(app)
    watchdog.start()
    try:
        with make_server(HOST, port, app, threaded=True, request_handler=_Quiet) as server:
            write_address(data, address)
            yield server, address
    finally:
        watchdog.stop()
        queue.close()
