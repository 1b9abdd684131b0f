"""`dag train` at work: one slot in this process, or a process each for several."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from cli.app import App
from cli.measure import make_worker, say_how_confined
from dagstore.ids import RunId
from dagstore.shown import Rows
from dagstore.views import RunView
from trainer.crew import Crew, Report
from trainer.policy import Grants
from trainer.slots import Slot
from trainer.slottime import SlotTime, together
from trainer.worker import Watcher

MEMBER = (sys.executable, "-P", "-m", "cli.slot")


@dataclass(frozen=True, slots=True)
class Drained:
    """What was measured, in the order in which it was recorded, and where the slots' time went."""

    runs: Rows[RunView]
    slot_time: SlotTime

    def plain(self) -> dict[str, Any]:
        return {"runs": self.runs, "slot_time": {**self.slot_time._asdict(), "share": self.slot_time.share}}


def drain(
    app: App,
    slots: Sequence[Slot],
    watcher: Watcher,
    grants: Grants,
    *,
    until_idle: bool,
    seconds: float | None,
    stop: threading.Event,
) -> Drained:
    """Measure what is in line, as `Worker.work` does, in all slots at a time."""
    if len(slots) == 1:
        with closing(make_worker(app, watcher, slots[0], grants)) as worker:
            runs = Rows(worker.work(until_idle=until_idle, seconds=seconds, stop=stop))
            return Drained(runs, worker.slot_time)
    say_how_confined(app)
    desk = _Desk(app, watcher)
    end = None if seconds is None else time.monotonic() + seconds
    told = {"store": str(app.store().root), "agent": app.agent, "until_idle": until_idle, "grants": asdict(grants)}

    def order(place: int, heir_of: str) -> str:
        left = None if end is None else max(0.0, end - time.monotonic())
        return json.dumps({**told, "slot": asdict(slots[place]), "seconds": left, "heir_of": heir_of})

    Crew(MEMBER, len(slots), order, desk.hear).work(stop)
    return Drained(Rows(desk.runs), together(desk.times))


class _Desk:
    """Takes in what the slots' processes report."""

    def __init__(self, app: App, watcher: Watcher) -> None:
        self._store = app.store()
        self._watcher = watcher
        self.runs: list[RunView] = []
        self.times: list[SlotTime] = []
        self._passed_by: set[tuple[str, str]] = set()

    def hear(self, report: Report) -> None:
        if report["event"] == "run":
            run = self._store.run(RunId.parse(report["id"]))
            self.runs.append(run)
            self._watcher.end(run)
        elif report["event"] == "passed_by":
            self._pass_by(report["what"], report["hint"])
        else:
            self.times.append(SlotTime(**report["slot_time"]))

    def _pass_by(self, what: str, hint: str) -> None:
        """Once, though every slot tells it."""
        if (what, hint) not in self._passed_by:
            self._passed_by.add((what, hint))
            self._watcher.pass_by(what, hint)
