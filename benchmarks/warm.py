"""From "slot free" to the line behind `import torch` of the next script: as a worker hands over, and `python SCRIPT`.

Each script says by the monotonic clock, which all processes share, when it got there and when it ended. What is
measured begins with the end of an experiment: ending its process and its cell, handing it on to be recorded, and taking
the next ticket, which has been in line all the while, are in it.
"""

import importlib.util
import itertools
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from harness import Bar, Row, medians, scratch
from project import CHARTER, make_project

import dagstore
from dagstore.views import RunView
from trainer.cell import Level
from trainer.sandbox import Sandbox, strongest
from trainer.worker import Setting, Worker

SCRIPT = """import time
import torch
print(time.monotonic(), flush=True)
time.sleep(0.6)
print("val_bpb: 1.0")
print(time.monotonic(), flush=True)
__import__("os")._exit(0)
"""
"""It leaves without tearing its interpreter down, which is not the trainer's time."""
SECONDS_BAR, RATIO_BAR = Bar(50.0, absolute=True), Bar(25.0, at_least=True)
WHAT = "from slot free to the line behind `import torch`"
UNMEASURED = 3
"""Experiments before those that count: the first is cold, the second waits for the parent's imports."""


def rows(*, quick: bool) -> list[Row]:
    if importlib.util.find_spec("torch") is None:
        return [Row(WHAT, None, None, "ms", None, SECONDS_BAR, "torch is not installed: pip install torch")]
    found = strongest((Level.BUBBLEWRAP, Level.NONE))
    places = {"in no cell": Sandbox(Level.NONE)} | (
        {} if found.level is Level.NONE else {"in a cell of bubblewrap": found}
    )
    return [row for where, sandbox in places.items() for row in _rows(where, sandbox, 9 if quick else 31)]


def _rows(where: str, sandbox: Sandbox, rounds: int) -> list[Row]:
    with scratch() as folder, dagstore.open(_project(folder / "project")) as store:
        store.queue(["@seed"], repeat=rounds + UNMEASURED)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        setting = Setting("bench", {**os.environ, "PATH": path}, sandbox=sandbox)
        _cold(folder / "project")
        cold = [_cold(folder / "project") for _ in range(rounds // 2)]  # half before and half behind
        with closing(Worker(store, setting)) as worker:
            warm = _handed_over(store, list(worker.work(until_idle=True)))
        cold += [_cold(folder / "project") for _ in range(rounds // 2)]
    found = {name: value * 1e3 for name, value in medians({"warm": warm, "cold": cold}).items()}
    worst = f"slowest {max(warm) * 1e3:.0f} ms; reference: python SCRIPT, in no cell"
    figures = found["warm"], found["cold"], "ms", found["cold"] / found["warm"]
    return [
        Row(f"{WHAT}, {where}", *figures, SECONDS_BAR, worst),
        Row(f"{WHAT}, {where}, times faster", *figures, RATIO_BAR),
    ]


def _project(folder: Path) -> Path:
    make_project(folder)
    (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "dag.toml").write_text(f'{CHARTER}preload = ["torch"]\n', encoding="utf-8")
    dagstore.init(folder)
    return folder


def _handed_over(store: dagstore.Store, runs: list[RunView]) -> list[float]:
    """Seconds from the end of each run to the first line of the next, of those that count."""
    measured = runs[UNMEASURED:]
    if not all(run.environment["start"] == "warm" for run in measured):
        raise RuntimeError(f"not warm: {[run.environment['start'] for run in measured]}")
    times = [
        [float(line) for line in store.blob(run.artifacts["log"]).split(b"\n") if line[:1].isdigit()] for run in runs
    ]
    return [begun - ended for (_, ended), (begun, _) in itertools.pairwise(times)][UNMEASURED - 1 :]


def _cold(folder: Path) -> float:
    free = time.monotonic()
    done = subprocess.run((sys.executable, "train.py"), cwd=folder, capture_output=True, check=True)
    return float(done.stdout.split()[0]) - free
