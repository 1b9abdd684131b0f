"""Has the files of the next experiment ready before the one in hand ends.

Nothing is claimed for that: whoever is idle may take the ticket, and what was prepared for another one is thrown away.
"""

import contextlib
import itertools
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dagstore import Charter, DagError, NodeId, Store
from dagstore.model import Tree

LOOK = 0.25
"""Seconds between two looks at what is next in line."""


class Files(NamedTuple):
    """A node's charter and tree, and the home that its files lie in."""

    node: NodeId
    charter: Charter
    tree: Tree
    home: Path

    @property
    def work(self) -> Path:
        return self.home / "work"


def lay_out(store: Store, node: NodeId, home: Path) -> Files:
    """Write a node's files below `home`, which is new."""
    files = Files(node, store.charter(node), Tree(store.files(node)), home)
    store.checkout(node, files.work)
    (home / "out").mkdir()
    return files


class Ahead:
    """A thread that prepares what is next in line, on the desk, as long as it is wanted."""

    def __init__(self, store: Store, desk: Path, prepared: Callable[[], None]) -> None:
        self._store = store
        self._desk = desk
        self._told = prepared
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ready: Files | None = None
        self._wanted, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def want(self) -> None:
        """From now on, until `files` is called, keep ready what is next."""
        self._wanted.set()

    def files(self, node: NodeId, home: Path) -> Files:
        """The node's files at `home`: moved there if they were ready, else written there."""
        self._wanted.clear()
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is not None and ready.node == node:
            with contextlib.suppress(OSError):
                os.rename(ready.home, home)
                return ready._replace(home=home)
        if ready is not None:
            shutil.rmtree(ready.home, ignore_errors=True)
        return lay_out(self._store, node, home)

    def close(self) -> None:
        self._over.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._over.is_set():
            with self._lock, contextlib.suppress(DagError, OSError):  # whoever takes that ticket will meet the same
                self._prepare()
            self._over.wait(LOOK)

    def _prepare(self) -> None:
        ticket = self._store.next_in_line()
        if not self._wanted.is_set() or ticket is None or (self._ready and self._ready.node == ticket.node):
            return
        old, self._ready = self._ready, None
        if old is not None:
            shutil.rmtree(old.home, ignore_errors=True)
        self._ready = lay_out(self._store, ticket.node, self._desk / str(next(self._numbers)))
        self._told()
