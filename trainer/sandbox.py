"""Finds out by trying which confinement works on this machine, and makes cells of it."""

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.bubblewrap import CHOICES, arguments
from trainer.cell import Cell, Level
from trainer.gauge import MAX_PROCESSES
from trainer.view import View, devices, system

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_PROBE_SECONDS = 20.0
_CONFINE = str(Path(__file__).with_name("confine.py"))
_UNSHARE = ("--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc")
_MAX_FILES = 65536


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What confines experiments here. `lacking` says of each stronger level why it does not work.

    `bubblewrap` and `user` are its program and options, `landlock` is whether the kernel has that.
    """

    level: Level
    lacking: tuple[tuple[Level, str], ...] = ()
    bubblewrap: str = ""
    user: tuple[str, ...] = ()
    landlock: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether `sandbox = "required"` is content with it."""
        return self.level is Level.BUBBLEWRAP or (self.level is Level.NAMESPACES and self.landlock)

    @property
    def remark(self) -> str:
        """What is weaker than it could be, and why; empty if nothing is."""
        if self.level in (Level.BUBBLEWRAP, Level.NONE):
            return ""
        return f"experiments are confined by {self.level} only: " + "; ".join(
            f"{level} does not work ({why})" for level, why in self.lacking
        )

    def cell(self, view: View) -> Cell:
        """A cell that shows this view, as far as the level can."""
        if self.level is Level.NONE:
            return Cell(Level.NONE)
        limits = _rlimits(self.level)
        prefix = (*_prlimit(limits), *self._confined(view))
        return Cell(self.level, prefix, limits, most_tasks(), wrapper=self.level.is_whole, cwd=view.seen(view.cwd))

    def _confined(self, view: View) -> tuple[str, ...]:
        if self.level is Level.BUBBLEWRAP:
            return (self.bubblewrap, *arguments(view, self.user))
        if self.level is Level.RLIMITS:
            return ()
        helper = (sys.executable, "-I", "-S", _CONFINE, self._settings(view))
        if self.level is Level.LANDLOCK:
            return helper
        return (_program("unshare"), *_UNSHARE, *(() if view.network else ("--net",)), "--", *helper)

    def _settings(self, view: View) -> str:
        """What `confine` reads."""
        return json.dumps(
            {
                "read": [*system(), "/proc", *view.readable],
                "write": [*view.writable, view.tmp, view.home, *_DEVICES, *devices()],
                "fixed": view.fixed,
                "network": view.network or self.level is Level.NAMESPACES,
                "landlock": self.landlock,
                "init": self.level is Level.NAMESPACES,
            }
        )


_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm", "/proc/self")  # noqa: S108


@functools.cache
def probe() -> Sandbox:
    """The strongest sandbox that works here, found by starting a program in each; asked once a process."""
    return strongest(tuple(Level))


def strongest(levels: Sequence[Level]) -> Sandbox:
    """The strongest of these levels that works here."""
    lacking: list[tuple[Level, str]] = []
    for level in levels:
        found, why = _try(level)
        if found is not None:
            return Sandbox(level, tuple(lacking), found.bubblewrap, found.user, found.landlock)
        lacking.append((level, why))
    return Sandbox(Level.NONE, tuple(lacking))


def _try(level: Level) -> tuple[Sandbox | None, str]:
    """The sandbox of that level, or why there is none."""
    if level in (Level.RLIMITS, Level.NONE):
        return Sandbox(level), ""
    if sys.platform != "linux":
        return None, "it needs Linux"
    program = {Level.BUBBLEWRAP: "bwrap", Level.NAMESPACES: "unshare", Level.LANDLOCK: "sh"}[level]
    if not _program(program):
        return None, f"{program} is not installed"
    why = ""
    for candidate in _candidates(level):
        works, said = _works(candidate)
        if works:
            return candidate, ""
        why = why or said
    return None, why


def _candidates(level: Level) -> list[Sandbox]:
    if level is Level.BUBBLEWRAP:
        return [Sandbox(level, bubblewrap=_program("bwrap"), user=user) for user in CHOICES]
    if level is Level.NAMESPACES:
        return [Sandbox(level, landlock=True), Sandbox(level, landlock=False)]
    return [Sandbox(level, landlock=True)]


def _works(candidate: Sandbox) -> tuple[bool, str]:
    """Whether a program runs in it; else the first line of what it said."""
    with tempfile.TemporaryDirectory(prefix="dag-sandbox-") as folder:
        home, scratch, work = (f"{folder}/{name}" for name in ("home", "scratch", "work"))
        for path in (home, scratch, work):
            os.mkdir(path)
        view = View(work, (), (work,), scratch, home, home)
        try:
            done = subprocess.run(
                candidate.cell(view).wrap(("/bin/sh", "-c", "exit 0")),
                cwd=work,
                env={"PATH": _SYSTEM_PATH},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return False, str(error)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return done.returncode == 0, said[0] if said else f"exit code {done.returncode}"


def _rlimits(level: Level) -> dict[int, tuple[int, int]]:
    """(soft, hard) by resource: no core files, and bounds that a sane experiment does not meet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    limits = {resource.RLIMIT_CORE: (0, 0), resource.RLIMIT_NOFILE: (min(soft, files), files)}
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if level.is_whole and (most == resource.RLIM_INFINITY or most > most_tasks()):
        limits[resource.RLIMIT_NPROC] = (most_tasks(), most_tasks())
    return limits


def most_tasks() -> int:
    """How many threads all processes of an experiment may have together.

    The kernel keeps to it by a control group for root, by `RLIMIT_NPROC` in a user namespace for others.
    """
    return max(2 * MAX_PROCESSES, 64 * (os.cpu_count() or 1))


def _prlimit(limits: dict[int, tuple[int, int]]) -> tuple[str, ...]:
    """The prefix that sets them by util-linux' program, before anything is started."""
    program = _program("prlimit")
    names = {resource.RLIMIT_CORE: "core", resource.RLIMIT_NOFILE: "nofile", resource.RLIMIT_NPROC: "nproc"}
    options = [f"--{names[number]}={soft}:{hard}" for number, (soft, hard) in limits.items()]
    return (program, *options, "--") if program else ()


@functools.cache
def _program(name: str) -> str:
    """Where the system has a program, empty if nowhere: never one that an experiment's PATH puts before it."""
    return shutil.which(name, path=_SYSTEM_PATH) or ""
