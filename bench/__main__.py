"""`python -m bench [part ...]`: every row of these parts, or of all, with its bar; exit status 1 when one is missed."""

import sys
from collections.abc import Callable, Iterable

import uvloop

from bench import bookkeeping, cloud, console, contract, engine, pile, service
from bench.rows import Row, print_rows

PARTS: dict[str, Callable[[], Iterable[Row]]] = {
    "contract": contract.rows,
    "cloud": cloud.rows,
    "engine": lambda: uvloop.run(engine.rows()),
    "bookkeeping": bookkeeping.rows,
    "service": service.rows,
    "pile": pile.rows,
    "console": console.rows,
}

if __name__ == "__main__":
    missed = 0
    for name in sys.argv[1:] or PARTS:
        print(f"\n{name}", flush=True)
        missed += print_rows(PARTS[name]())
    sys.exit(missed > 0)
