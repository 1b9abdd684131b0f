"""Keeps claims alive while they are worked on, and notices when one was lost or cancelled, or the worker shall stop."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dagstore import ClaimLost, DagError, Store
from dagstore.claims import Claim, Standing

BEAT = 0.05
"""Seconds between two looks at whether to stop."""
LOOK = 0.25
"""Seconds between two looks at what a claim is worth."""


@dataclass(slots=True)
class Watch:
    """A claim that is kept. `halt` is set when its experiment must end, `standing` then says why; `HELD`: to stop."""

    claim: Claim
    renewed: float
    halt: threading.Event = field(default_factory=threading.Event)
    standing: Standing = Standing.HELD
    looked: float = 0.0


class Heart:
    """A thread of a worker that runs while anything is kept. `aside` is called with every beat."""

    def __init__(self, store: Store, ttl: float, aside: Callable[[], None]) -> None:
        self._store = store
        self._ttl = ttl
        self._aside = aside
        self._watches: dict[int, Watch] = {}
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread: threading.Thread | None = None
        self.stop = threading.Event()

    def keep(self, claim: Claim) -> Watch:
        """Keep the claim until `leave`; all that are kept end when `stop` is set."""
        watch = Watch(claim, time.monotonic())
        with self._lock:
            self._watches[claim.token] = watch
            if self._thread is None:
                self._left = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._left,), daemon=True)
                self._thread.start()
        return watch

    def leave(self, claim: Claim) -> None:
        """After this, the claim is not touched any more."""
        with self._lock:
            self._watches.pop(claim.token, None)
            idle = self._thread if not self._watches else None
            if idle is not None:
                self._left.set()
                self._thread = None
        if idle is not None:
            idle.join()

    def _run(self, left: threading.Event) -> None:
        while not left.wait(BEAT):
            with self._lock:
                watches = list(self._watches.values())
            for watch in watches:
                self._beat(watch)
            self._aside()

    def _beat(self, watch: Watch) -> None:
        now = time.monotonic()
        if watch.standing is not Standing.LOST and now >= watch.looked + min(LOOK, self._ttl / 3):
            watch.looked = now
            watch.standing = self._standing(watch, renew=now >= watch.renewed + self._ttl / 3)
        if self.stop.is_set() or watch.standing is not Standing.HELD:
            watch.halt.set()

    def _standing(self, watch: Watch, *, renew: bool) -> Standing:
        """What the store says; what is wrong with it otherwise meets whoever records the run."""
        try:
            if renew:
                watch.renewed = time.monotonic()
                self._store.renew(watch.claim, self._ttl)
            return self._store.standing(watch.claim)
        except ClaimLost:
            return Standing.LOST
        except DagError:
            return Standing.HELD
