"""What a running worker adds to an experiment: taking it, its files, its process, recording how it ended.

The same command is run bare, turn by turn; the difference is the overhead. DVC's figure is the published one of
`dvc exp run`, shown where DVC is not installed and therefore not comparable in more than its order.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from harness import Bar, Row, alternate, medians, scratch, timed
from project import CHARTER, make_project

import dagstore
from trainer.worker import Setting, Worker

DVC_SECONDS = 1.43
BAR = Bar(0.05, absolute=True)
ARGV = (sys.executable, "-S", "-c", "print('val_bpb: 1.0')")
SCRIPT = (sys.executable, "train.py")


def rows(*, quick: bool) -> list[Row]:
    rounds = 21 if quick else 101
    with scratch() as folder:
        found = _compared(_store(folder / "project", f'{ARGV[0]} -S -c \\"{ARGV[3]}\\"'), ARGV, rounds)
        warm = _compared(_store(folder / "warm", " ".join(SCRIPT), preload='["json"]'), SCRIPT, rounds)
    added = found["worker"] - found["bare"]
    return [
        Row(
            "seconds around an experiment in a running worker / dvc exp run",
            added,
            DVC_SECONDS,
            "s",
            added / DVC_SECONDS,
            BAR,
            "DVC: published figure, not measured here",
        ),
        Row(
            "a worker's experiment / the bare process",
            found["worker"],
            found["bare"],
            "s",
            found["worker"] / found["bare"],
        ),
        Row(
            "seconds around an experiment by a warm parent / the bare `python SCRIPT`",
            warm["worker"] - warm["bare"],
            warm["bare"],
            "s",
            warm["worker"] / warm["bare"],
            BAR,
            "preloaded: json; the ratio is of the whole experiment",
        ),
    ]


def _compared(store: dagstore.Store, argv: Sequence[str], rounds: int) -> dict[str, float]:
    """Seconds of an experiment in a running worker and of the bare process."""
    store.queue(["@seed"], repeat=rounds + 3)
    with store, closing(Worker(store, Setting("bench", os.environ))) as worker:
        works = {"worker": lambda: _measured(worker), "bare": lambda: timed(lambda: _bare(argv, store.root))}
        alternate(works, 3)
        return medians(alternate(works, rounds))


def _store(folder: Path, command: str, preload: str = "[]") -> dagstore.Store:
    project = make_project(folder)
    charter = CHARTER.replace("python train.py", command) + f"preload = {preload}\n"
    (project / "dag.toml").write_text(charter, encoding="utf-8")
    dagstore.init(project)
    return dagstore.open(project)


def _measured(worker: Worker) -> float:
    runs: list[object] = []
    seconds = timed(lambda: runs.append(worker.next()))
    if not runs[0] or runs[0].status is not dagstore.Status.OK:  # type: ignore[attr-defined]
        raise RuntimeError(f"the experiment was not measured: {runs[0]}")
    return seconds


def _bare(argv: Sequence[str], folder: Path) -> None:
    subprocess.run(argv, cwd=folder, capture_output=True, check=True)
