"""On a node: has an order performed by a process of its own, for as long as whoever ordered it wants that.

A process of its own, since a trainer needs a main thread and the orphans of its experiment for itself. It ends when its
stdin does: should this process be killed, it notices, ends the experiment and removes what it wrote.
"""

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from dagstore.errors import Unavailable
from trainer.engines.box import Box
from trainer.engines.core import PATIENCE
from trainer.scratch import tidy_desks
from trainer.strays import sweep

BEAT = 0.25
"""Seconds between two looks at whether to go on."""


def node_folder() -> Path:
    """Where this user's experiments lie on this node, tidied: a folder that is nobody else's."""
    folder = Path(tempfile.gettempdir()) / f"dagstore-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise Unavailable(f"{folder} is not a folder of this user alone", hint="remove it, or set TMPDIR on the node")
    tidy_desks(folder)
    return folder


class Errand:
    """The process that performs the order in a box. Leaving the context ends it, and all that it started."""

    def __init__(self, box: Box, words: Sequence[str], mark: str) -> None:
        argv = [sys.executable, *words, str(box.folder)]
        self._mark = mark
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True
        )
        self._asked: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.halt()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode:
            sweep(self._mark)  # what its experiment had running has nobody else to end it

    def is_over(self) -> bool:
        """Whether it has ended, after waiting for that a little; one that was asked to end and does not is killed."""
        if self._asked is not None and time.monotonic() > self._asked + PATIENCE:
            self._process.kill()
        try:
            self._process.wait(BEAT)
        except subprocess.TimeoutExpired:
            return False
        return True

    def halt(self) -> None:
        if self._asked is None:
            self._asked = time.monotonic()
            assert self._process.stdin is not None
            self._process.stdin.close()

    def how(self) -> str:
        """How it ended, for people."""
        code = self._process.returncode
        return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"


def attend(folder: str, words: Sequence[str], ttl: float) -> None:
    """Have the order in a box performed, until `halt` is asked for, the box is gone, or its lease is not renewed.

    The lease is whatever it is, and must change within `ttl` seconds by this node's clock: no two clocks need agree.
    """
    box = Box(Path(folder))
    if box.is_halted():
        return
    with Errand(box, words, box.order().mark) as errand:
        lease, since = box.lease(), time.monotonic()
        while not errand.is_over():
            now = box.lease()
            lease, since = (now, time.monotonic()) if now != lease else (lease, since)
            if box.is_halted() or time.monotonic() > since + ttl:
                errand.halt()
