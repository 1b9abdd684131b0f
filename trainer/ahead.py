"""Has the next experiment ready before the one in hand ends: its files, its cell, and the child that waits inside.

Nothing is claimed for that: whoever is idle may take the ticket, and what was prepared for another one is thrown away.
"""

import contextlib
import itertools
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dagstore import Charter, DagError, NodeId, Store
from dagstore.demands import Allows
from dagstore.model import Tree
from trainer.intake import charter_for
from trainer.job import Files
from trainer.nursery import Ready

LOOK = 0.25
"""Seconds between two looks at what is next in line."""


def lay_out(store: Store, node: NodeId, charter: Charter, home: Path) -> Files:
    """Write a node's files below `home`, which is new."""
    files = Files(node, charter, Tree(store.files(node)), store.folder, home)
    store.checkout(node, files.work)
    (home / "out").mkdir()
    return files


class Prepared(NamedTuple):
    """An experiment's files, and a child that stands by in their cell, if it can have one."""

    files: Files
    standby: Ready | None = None

    def are(self, node: NodeId, charter: Charter) -> bool:
        """Whether they are those of a node that is measured by that charter."""
        return (self.files.node, self.files.charter) == (node, charter)


class Ahead:
    """A thread that prepares what is next in line for a trainer that `allows` it, on the desk, while it is wanted.

    `ready` makes a child stand by for files. One whose experiment never begins is ended by the next call of `prepared`,
    or by `close`.
    """

    def __init__(
        self,
        store: Store,
        desk: Path,
        allows: Allows,
        ready: Callable[[Files], Ready | None],
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._allows = allows
        self._desk = desk
        self._make_ready = ready
        self._told = told
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._next: Prepared | None = None
        self._given: Prepared | None = None
        self._wanted, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def want(self) -> None:
        """From now on, until `prepared` is called, keep ready what is next."""
        self._wanted.set()

    def prepared(self, node: NodeId, charter: Charter, home: Path) -> Prepared:
        """The node's files at `home`: moved there if they were ready, else written there."""
        self._wanted.clear()
        with self._lock:
            self._end(self._given)
            self._given, self._next = self._next, None
        if self._given is not None and self._given.are(node, charter):
            with contextlib.suppress(OSError):
                os.rename(self._given.files.home, home)
                return self._given._replace(files=replace(self._given.files, home=home))
        self._throw_away(self._given)
        return Prepared(lay_out(self._store, node, charter, home))

    def close(self) -> None:
        self._over.set()
        self._wanted.set()
        self._thread.join()
        self._end(self._given)
        self._throw_away(self._next)

    def _throw_away(self, prepared: Prepared | None) -> None:
        self._end(prepared)
        if prepared is not None:
            shutil.rmtree(prepared.files.home, ignore_errors=True)

    def _end(self, prepared: Prepared | None) -> None:
        if prepared is not None and prepared.standby is not None:
            prepared.standby.end()

    def _run(self) -> None:
        while self._wanted.wait() and not self._over.is_set():
            with self._lock, contextlib.suppress(DagError, OSError):  # whoever takes that ticket will meet the same
                self._prepare()
            self._over.wait(LOOK)

    def _prepare(self) -> None:
        ticket = self._store.next_in_line(allows=self._allows)
        if not self._wanted.is_set() or ticket is None:
            return
        charter = charter_for(self._store, ticket)
        if self._next and self._next.are(ticket.node, charter):
            return
        old, self._next = self._next, None
        self._throw_away(old)
        files = lay_out(self._store, ticket.node, charter, self._desk / str(next(self._numbers)))
        self._next = Prepared(files)
        self._next = Prepared(files, self._make_ready(files))
        self._told()
