"""Records what has ended while the next experiment runs."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from dagstore.views import RunView

MAX_BEHIND = 3
"""Experiments that wait to be recorded; then the slot waits too, rather than hold more logs in memory."""

T = TypeVar("T")


class Recorder(Generic[T]):
    """A thread that calls `record` with one ended experiment after the other, in order.

    What goes wrong is raised by the next call of `runs`; what came behind it is recorded all the same.
    """

    def __init__(self, record: Callable[[T], RunView | None]) -> None:
        self._record = record
        self._ended: queue.Queue[T | None] = queue.Queue(MAX_BEHIND)
        self._lock = threading.Lock()
        self._runs: list[RunView] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, ended: T) -> None:
        self._ended.put(ended)

    def runs(self) -> Iterator[RunView]:
        """Those that were recorded since the last call, in the order in which they were."""
        with self._lock:
            found, self._runs = self._runs, []
            failure, self._failure = self._failure, None
        yield from found
        if failure is not None:
            raise failure

    def catch_up(self) -> bool:
        """Wait until everything is recorded; whether there was anything left."""
        behind = self._ended.unfinished_tasks > 0
        self._ended.join()
        return behind

    def close(self) -> None:
        """Record what is left."""
        self._ended.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (ended := self._ended.get()) is not None:
            try:
                run = self._record(ended)
                with self._lock:
                    self._runs += [run] if run is not None else []
            except BaseException as error:
                self._failure = self._failure or error
            finally:
                self._ended.task_done()
