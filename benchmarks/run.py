"""Runs the named workloads (all without a name), prints one table and writes RESULTS.md and results.json.

python benchmarks/run.py [NAME …] [--quick] [--corpus REPO[:PATHS]]
"""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from harness import Row, machine, save, table

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
    "adopt",
)


def main() -> int:
    arguments = _arguments()
    names = arguments.names or WORKLOADS
    where, start = machine(), time.monotonic()
    results: dict[str, list[Row]] = {}
    failed: list[str] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            more = {"corpus": arguments.corpus} if name == "adopt" else {}
            results[name] = importlib.import_module(name).rows(quick=arguments.quick, **more)
        except Exception:
            traceback.print_exc()
            failed.append(name)
    print(table(results))
    if set(names) == set(WORKLOADS) and not failed:
        save(results, Path(__file__).parent, where, quick=arguments.quick, seconds=time.monotonic() - start)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


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
