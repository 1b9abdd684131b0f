"""Hostile experiments, one after the other in one trainer: is each contained, and named for what it did?

After each an honest experiment is measured, which must come out as if nothing had been. Contained is: nothing outside
its folders was written or read, no process of it is left, the trainer grew by less than 64 MB.
"""

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness import Bar, Row, scratch

import dagstore
from dagstore.testing.hostile import HOSTILE, Hostile
from trainer.sandbox import probe
from trainer.worker import Setting, Worker

ALL = Bar(len(HOSTILE), at_least=True, absolute=True)
HONEST = "print('val_bpb: 0.5')\n"
CHARTER = """command = "python -S train.py"
metric = "val_bpb"
direction = "minimize"
budget = "{budget}"
grace = "1s"
editable = ["train.py"]
locked = ["prepare.py"]
memory = "512MiB"
disk = "256MiB"
log_limit = "1MiB"
"""
GROWTH = 64 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one; `after` is whether the honest one that followed was measured."""

    name: str
    said: str
    seconds: float
    named: bool
    contained: bool
    after: bool


def rows(*, quick: bool) -> list[Row]:
    with scratch() as folder:
        seen = Yard(folder, 64 if quick else 10_240, "20s" if quick else "120s").run_all()
    for one in seen:
        print(f"    {one.name:<34} {one.said:<26} {one.seconds:6.1f} s  {_words(one)}", file=sys.stderr)
    what = f"of {len(seen)} hostile experiments in {probe().level}"
    return [
        Row(f"{what}: contained", sum(one.contained for one in seen), None, "", None, ALL),
        Row(f"{what}: named right", sum(one.named for one in seen), None, "", None, ALL),
        Row(f"{what}: next one unaffected", sum(one.after for one in seen), None, "", None, ALL),
    ]


def _words(one: Seen) -> str:
    bad = [word for word in ("contained", "named", "after") if not getattr(one, word)]
    return "contained, named, next unaffected" if not bad else "NOT " + ", ".join(bad)


class Yard:
    """A project for them, beside a secret."""

    def __init__(self, folder: Path, size: int, budget: str) -> None:
        self.size = size
        self.secret = folder / "elsewhere" / "secret"
        self.secret.parent.mkdir()
        self.secret.write_text("hunter2")
        self.root = folder / "project"
        self.root.mkdir()
        (self.root / "prepare.py").write_text("LABEL = 1\n")
        (self.root / "train.py").write_text(HONEST)
        self.charter(budget="2s")
        dagstore.init(self.root)
        self.store = dagstore.open(self.root)
        self.charter(budget=budget)
        environ = {**os.environ, "SOME_TOKEN": "hunter2", "HOME": str(self.secret.parent)}
        self.worker = Worker(self.store, Setting("bench", environ))
        self.children = _children()  # of workloads before this one

    def charter(self, budget: str) -> None:
        (self.root / "dag.toml").write_text(CHARTER.format(budget=budget))

    def run_all(self) -> list[Seen]:
        seen = [self.run(hostile) for hostile in HOSTILE]
        self.store.close()
        return seen

    def run(self, hostile: Hostile) -> Seen:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        run = self.measured(hostile.script(str(self.secret), self.size) + f"# {hostile.name}\n")
        seconds = time.monotonic() - began
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        log = self.store.blob(run.artifacts["log"])
        contained = b"ESCAPED" not in log and self.is_whole(run.id) and grown < GROWTH and len(log) < 2 << 20
        said = (run.status.value, run.ending)
        honest = self.measured(HONEST + f"# after {hostile.name}\n")
        return Seen(hostile.name, " ".join(said), seconds, said in hostile.endings, contained, honest.value == 0.5)

    def measured(self, code: str) -> "dagstore.views.RunView":
        (self.root / "train.py").write_text(code)
        node = self.store.record(self.root, ["@seed"], why="hostile", unlock=True).node
        self.store.queue([node])
        (run,) = self.worker.work(until_idle=True)
        return run

    def is_whole(self, mark: object) -> bool:
        """Whether outside everything is as it was, and no process is left."""
        written = [path for path in ("/etc/hostile", "/usr/bin/hostile") if os.path.exists(path)]
        alone = [path.name for path in self.secret.parent.iterdir()] == ["secret"]
        return alone and self.secret.read_text() == "hunter2" and not written and _children() <= self.children


def _children() -> set[int]:
    found = [Path(f"/proc/self/task/{task}/children").read_text() for task in os.listdir("/proc/self/task")]
    return {int(pid) for text in found for pid in text.split()}
