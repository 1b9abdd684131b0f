"""The memory of its own (RssAnon) that a process takes which opens a million nodes and asks every question about them.

Pages of the store that the operating system holds for all are not in it. The largest figure counts, taken all the time.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import questions
from harness import Bar, Row

import dagstore

BAR = Bar(300.0, absolute=True)
INTERVAL = 0.002
"""Seconds between two looks."""


def rows(*, quick: bool) -> list[Row]:
    from graphs import wide
    from histories import store
    from queries import NODES, QUICK_NODES
    from samples import drawn

    graph = wide(QUICK_NODES if quick else NODES)
    folder, ids = store(graph)
    asked = [(one.asks, [ids[node].hex() for node in sample]) for one in drawn(graph) for sample in one.samples]
    words = [sys.executable, __file__, str(folder)]
    found = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=True)
    opened, whole, worst = json.loads(found.stdout)
    return [
        Row(f"{len(graph):,} nodes, opened", opened, None, "MB", note="anonymous memory of the whole process"),
        Row(f"{len(graph):,} nodes, every question of queries", whole, None, "MB", bar=BAR, note=f"most in: {worst}"),
    ]


def main() -> None:
    """In the process that is measured: prints what it takes after opening, at most, and in which question."""
    asked = json.load(sys.stdin)
    with dagstore.open(sys.argv[1], readonly=True) as store:
        opened = _megabytes()
        ways = questions.ours(store)
        most, worst = max((_peak(ways[name], map(dagstore.NodeId.parse, ids)), name) for name, ids in asked)
    json.dump((opened, most, worst), sys.stdout)


def _peak(way: questions.Way, arguments: Iterable[object]) -> float:
    """The most that the process takes while it answers."""
    seen, done = [_megabytes()], threading.Event()
    watcher = threading.Thread(target=_watch, args=(seen, done))
    watcher.start()
    try:
        way(*arguments)
    finally:
        done.set()
        watcher.join()
    return max(*seen, _megabytes())


def _watch(seen: list[float], done: threading.Event) -> None:
    while not done.is_set():
        seen.append(_megabytes())
        time.sleep(INTERVAL)


def _megabytes() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


if __name__ == "__main__":
    main()
