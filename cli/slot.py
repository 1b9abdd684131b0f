"""The process of one slot: `python -m cli.slot`, started by `dag train` and told by it what to do."""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from cli.measure import setting_of
from dagstore.claims import MEASURE
from dagstore.errors import ClaimLost, DagError
from dagstore.store import Store, open_store
from dagstore.views import RunView
from trainer.policy import Grants
from trainer.slots import Slot
from trainer.worker import Silent, Worker


class Reporter(Silent):
    """Tells the trainer that started this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def end(self, run: RunView) -> None:
        self.tell("run", id=str(run.id))

    def pass_by(self, what: str, hint: str) -> None:
        self.tell("passed_by", what=what, hint=hint)

    def tell(self, event: str, **facts: object) -> None:
        """One line on stdout; nobody may listen any more."""
        data = json.dumps({"event": event, **facts}).encode() + b"\n"
        with self._lock:
            try:
                os.write(1, data)
            except BrokenPipeError:
                return


def main() -> None:
    order, stop = _read_order(), threading.Event()
    if order is None:
        return  # who started this process was gone before it could say why
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
    reporter = Reporter()
    try:
        _work(order, reporter, stop)
    except DagError as error:
        reporter.tell("failed", code=error.code, message=error.message, hint=error.hint)
        sys.exit(1)


def _work(order: Mapping[str, Any], reporter: Reporter, stop: threading.Event) -> None:
    slot = Slot(**order["slot"])
    if slot.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot.cores)
    setting = setting_of(slot, order["agent"], Grants.from_plain(order["grants"]))
    reporter.tell("runner", runner=setting.runner)
    with open_store(order["store"]) as store:
        _inherit(store, order["heir_of"])
        with closing(Worker(store, setting, reporter)) as worker:
            for _ in worker.work(until_idle=order["until_idle"], seconds=order["seconds"], stop=stop):
                pass
            reporter.tell("left", slot_time=worker.slot_time._asdict())


def _inherit(store: Store, runner: str) -> None:
    """What the slot's last process had in hand when it died may be taken over at once: nobody else can know."""
    for claim in store.claims():
        if runner and claim.agent == runner and claim.purpose == MEASURE:
            try:
                store.renew(claim, 0.0)
            except ClaimLost:
                continue


def _read_order() -> dict[str, Any] | None:
    """The first line of stdin, and not a byte more; None if it is not whole."""
    data = b""
    while byte := os.read(0, 1):
        data += byte
        if byte == b"\n":
            order: dict[str, Any] = json.loads(data)
            return order
    return None


def _stop_at_end_of_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
