"""Makes the virtual environment in .venv, or says in one line why it cannot. Runs on any Python 3.

Usage: python3 tools/environment.py [--force]. Does nothing when the environment is up to date.
"""

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "made-from")
OLDEST = (3, 11)


def refuse(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


def inputs():
    digest = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_made(wanted):
    if not os.path.exists(STAMP):
        return False
    with open(STAMP) as file:
        return file.read() == wanted


def make():
    if sys.version_info < OLDEST:
        refuse(
            "Headrace needs Python %d.%d or newer; this is %s. Install one and say: make PYTHON=/path/to/python3.11 ..."
            % (OLDEST + (sys.version.split()[0],))
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        refuse(
            "This Python has no ensurepip, so it can make no virtual environment. On Debian or Ubuntu say: "
            "sudo apt install python%d.%d-venv" % sys.version_info[:2]
        )
    wanted = inputs()
    if is_made(wanted):
        return
    python = os.path.join(VENV, "bin", "python")
    sys.stdout.write("Making the environment in .venv (once; a minute or two)\n")
    sys.stdout.flush()
    if subprocess.call([sys.executable, "-m", "venv", "--clear", VENV]):
        refuse("The virtual environment could not be made in %s: is the folder writable?" % VENV)
    constraints = os.path.join(ROOT, "constraints.txt")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints]
    if subprocess.call(install + ["-e", ROOT + "[dev]"]):
        refuse("The packages could not be installed: see pip's message above; the network is needed this once.")
    with open(STAMP, "w") as file:
        file.write(wanted)


if __name__ == "__main__":
    make()
