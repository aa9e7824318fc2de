"""gcloud against a real server (`make test-clients`): every GA command of the recording, in its order.

The recording's answers are a stand-in's. What is compared is what a user sees: the exit status and, where no time
and no made-up name stands in it, the output. Where gcloud is missing the test is skipped and says so.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.cloud.fronts.access import TOKEN_VARIABLE
from tests.clients.conftest import documented
from tests.cloud.conftest import Server, start_server, stop_server

pytestmark = pytest.mark.skipif(
    shutil.which("gcloud") is None, reason="gcloud is not on this machine, so its commands are not tried"
)

RECORDING = json.loads((Path(__file__).parent.parent / "vectors" / "gcloud_requests.json").read_text())
GA = re.compile(r"gcloud (tasks|scheduler) ")
SESSION = [row for row in RECORDING if GA.match(row["command"])]
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
REPLACED = {
    # No more than 30 days ahead.
    "--schedule-time=2030-01-01T00:00:00Z": f"--schedule-time={TOMORROW}",
    # A topic's id has three characters or more.
    "--topic=t1": "--topic=topic-1",
    # gcloud sends this one as it is typed, and only seconds are durations.
    "queues create q2 --location=us-central1 --max-attempts=5 --max-retry-duration=1h": (
        "queues create q2 --location=us-central1 --max-attempts=5 --max-retry-duration=3600s"
    ),
}
"""Parts of the recorded commands that the stand-in took, and that the real service refuses."""
BUFFERED = "gcloud tasks buffer --queue=q4 --location=us-central1 --task-id=b1"
"""The stand-in did not know this method."""
CHANGING = re.compile(r"\d{4}-\d\d-\d\dT|etag: ")
"""What an output holds that is another one every time."""
WORD = re.compile(r"ERROR: \(gcloud[^)]*\) ([A-Z_]+):")
"""The code of a refusal, as gcloud shows it."""


@dataclass(frozen=True)
class Gcloud:
    """gcloud with a configuration of its own, pointed at a server."""

    environment: dict[str, str]

    def __call__(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one command; a part that starts with `--` is one argument up to the next, blanks and all."""
        words, *flags = re.split(r" (?=--)", command)
        arguments = [*words.split(), *flags]
        return subprocess.run(arguments, env=self.environment, capture_output=True, text=True, timeout=60)


def connect(server: Server, folder: Path, **more: str) -> Gcloud:
    """gcloud on a server, with its configuration in a folder."""
    ours = {
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_CORE_PROJECT": "demo",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS": f"{server.rest}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER": f"{server.rest}/",
    }
    return Gcloud(os.environ | ours | more)


@pytest.fixture
def gcloud(server: Server, tmp_path: Path) -> Gcloud:
    return connect(server, tmp_path, CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true")


def test_every_recorded_command_ends_as_it_did(gcloud: Gcloud) -> None:
    for row in SESSION:
        command = row["command"]
        for recorded, replaced in REPLACED.items():
            command = command.replace(recorded, replaced)
        status = 0 if command == BUFFERED else row["rc"]
        ended = gcloud(command)
        assert ended.returncode == status, f"{command}\n{ended.stderr}"
        if status:
            assert WORD.findall(ended.stderr) == WORD.findall(row["stderr"]), f"{command}\n{ended.stderr}"
        if not CHANGING.search(row["stdout"]):
            assert ended.stdout == row["stdout"], command


def test_the_lines_of_the_document_run(documented_server: Server) -> None:
    script = documented("gcloud", "sh", documented_server)
    ended = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "one" in ended.stdout


def test_a_duration_that_is_not_in_seconds_is_refused_in_googles_words(gcloud: Gcloud) -> None:
    ended = gcloud("gcloud tasks queues create hours --location=us-central1 --max-retry-duration=1h")
    assert ended.returncode == 1
    assert "Illegal duration format; duration must end with 's'" in ended.stderr


def test_an_unknown_queue_is_told_in_the_services_words(gcloud: Gcloud) -> None:
    ended = gcloud("gcloud tasks queues describe none --location=us-central1")
    assert ended.returncode == 1
    assert "Queue does not exist. If you just created the queue, wait at least a minute" in ended.stderr


def test_a_server_that_asks_for_a_token_gets_it_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "a-token-of-these-tests")
    guarded = start_server("--memory")
    (tmp_path / "token").write_text("a-token-of-these-tests")
    try:
        gcloud = connect(guarded, tmp_path, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(tmp_path / "token"))
        ended = gcloud("gcloud tasks queues create work --location=here")
        assert ended.stderr == "Created queue [here/work].\n"
    finally:
        assert stop_server(guarded) == 0
