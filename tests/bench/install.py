"""python -m tests.bench.install: what a run of install with nothing to do costs, beside stock pyinfra operations for
the same things. Prints figures; asserts nothing about time.
"""

import statistics
import sys

from tests.e2e.install import INSTALL, Ended, run

NAME = "gpu1"
RUNS, STOCK_RUNS = 5, 3
STOCK, STOCK_REMOVED = "tests/bench/stock.py", "tests/bench/stock_removed.py"


def main() -> int:
    converge(INSTALL)
    ours = measure("install", INSTALL, RUNS)
    try:
        converge(STOCK)
        stock = measure("stock pyinfra operations for the same things", STOCK, STOCK_RUNS)
    finally:
        checked(run(STOCK_REMOVED, NAME))
    for what in ("seconds", "wall seconds", "commands"):
        print(f"stock / install, {what}: {stock[what] / ours[what]:.1f}")
    return 0


def converge(deploy: str) -> None:
    checked(run(deploy, NAME))


def measure(title: str, deploy: str, times: int) -> dict[str, float]:
    """Medians over several runs that have nothing to change; says so when one did change something."""
    runs = [checked(run(deploy, NAME)) for _ in range(times)]
    median = {
        "operations": runs[-1].end["unchanged"] + len(runs[-1].end["changed"]),
        "changed": max(len(one.end["changed"]) for one in runs),
        "commands": statistics.median(one.end["commands"] for one in runs),
        "transfers": statistics.median(one.end["transfers"] for one in runs),
        "seconds": statistics.median(one.end["seconds"] for one in runs),
        "wall seconds": statistics.median(one.wall_seconds for one in runs),
    }
    figures = ", ".join(f"{value:.3g} {name}" for name, value in median.items())
    print(f"{title} (median of {times}): {figures}", flush=True)
    return median


def checked(ended: Ended) -> Ended:
    if ended.status:
        raise SystemExit(f"pyinfra exited {ended.status}; no figures:\n{ended.output}")
    return ended


if __name__ == "__main__":
    sys.exit(main())
