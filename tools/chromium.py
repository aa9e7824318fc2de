"""The system's Chromium, for tests in a browser and screenshots: `python -m tools.chromium` finds or installs it.

Prints its path. Where there is none, says what to do and exits with 1. Nothing is downloaded but the distribution's own
package, and that only for root on a Debian.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """The path of a Chromium: what CHROMIUM names, else the first of `NAMES` on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def install() -> None:
    """Install Debian's package, where that is possible without asking anybody."""
    if os.geteuid() == 0 and Path("/etc/debian_version").exists() and (apt := shutil.which("apt-get")):
        wanted = [apt, "install", "-y", "--no-install-recommends", "chromium"]
        # A machine that never asked for packages has no list of them yet.
        if subprocess.run(wanted, check=False).returncode != 0:  # noqa: S603
            subprocess.run([apt, "update"], check=False)  # noqa: S603
            subprocess.run(wanted, check=False)  # noqa: S603


def main() -> None:
    """Find it, or install it and find it then."""
    if find() is None:
        install()
    found = find()
    if found is None:
        sys.exit("skipped: no Chromium. Install the package `chromium`, or name one: CHROMIUM=/path/of/it")
    print(found)


if __name__ == "__main__":
    main()
