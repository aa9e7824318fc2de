"""Google's Node clients against a real server (`make test-clients`).

npm installs them into a temporary folder. Where npm or node is missing, or nothing can be installed, the test is
skipped and says so.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import documented
from tests.cloud.conftest import Server, Target

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or shutil.which("node") is None,
    reason="npm or node is not on this machine, so the Node clients are not tried",
)

HERE = Path(__file__).parent
INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the clients installed."""
    for name in ("package.json", "node_clients.mjs"):
        shutil.copy(HERE / name, tmp_path)
    installed = subprocess.run(INSTALL, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    if installed.returncode:
        pytest.skip(f"npm cannot install the Node clients here: {installed.stderr.strip()[-200:]}")
    return tmp_path


def test_the_node_clients_work(folder: Path, server: Server, target: Target) -> None:
    command = ("node", "node_clients.mjs", server.grpc, target.url)
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("ok ") == 6
    assert {(push.method, push.body) for push in target.wait_for(3)} == {("POST", b"hello"), ("GET", b"")}


def test_the_script_of_the_document_creates_a_task(folder: Path, documented_server: Server) -> None:
    (folder / "push.mjs").write_text(documented("Node", "js", documented_server))
    ended = subprocess.run(("node", "push.mjs"), cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("projects/headrace-dev/locations/local/queues/node-work/tasks/")
