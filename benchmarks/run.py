"""Runs the named workloads (all without a name), prints one table and, unless `--quick`, keeps what was measured.

python benchmarks/run.py [NAME …] [--quick] [--corpus REPO[:PATHS]]
"""

import argparse
import importlib
import sys
import time
import traceback
from datetime import UTC, datetime

from harness import Row, machine, table, versions
from results import Measured, commit, publish, save

WORKLOADS = (
    "record",
    "bulk",
    "crowd",
    "deep",
    "blame",
    "queries",
    "memory",
    "frontier",
    "rank",
    "frames",
    "start",
    "overhead",
    "warm",
    "trainer_hostile",
    "slots",
    "pruning",
    "adopt",
)


def main() -> int:
    arguments = _arguments()
    names = arguments.names or WORKLOADS
    tables: dict[str, list[Row]] = {}
    failed: list[str] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            measured = _measure(name, arguments)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        tables[name] = list(measured.rows)
        if not arguments.quick:
            save(measured)
            publish(WORKLOADS)
    print(table(tables))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measure(name: str, arguments: argparse.Namespace) -> Measured:
    where, day, start = machine(), f"{datetime.now(UTC):%Y-%m-%d}", time.monotonic()
    more = {"corpus": arguments.corpus} if name == "adopt" else {}
    rows = importlib.import_module(name).rows(quick=arguments.quick, **more)
    return Measured(name, commit(), day, time.monotonic() - start, where, versions(), rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure dagstore beside its references.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WORKLOADS))
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer rounds, smaller stores")
    parser.add_argument("--corpus", metavar="REPO[:PATHS]", default="", help="adopt: a local git repository")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
