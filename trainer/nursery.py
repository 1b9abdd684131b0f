"""Keeps warm parents and says for each experiment whether one of them serves it; what none can serve starts cold.

A parent is worth its import from the second experiment on, so the first of a kind starts cold: a trainer that
measures one node and ends pays for nothing. Served are commands `python SCRIPT ARGS` whose process would be the same
either way: same interpreter, same modules found, same environment for whatever reads it while it is imported.
"""

import contextlib
import os
import re
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dagstore.printable import one_line
from trainer.child import Newborn, Standby, Stillborn
from trainer.launch import Command, Launched, Program
from trainer.strays import is_subreaper
from trainer.warm import MARK_ROOM, Parent, Unfit

MAX_PARENTS = 3
"""Parents kept; the one that was idle for longest is ended for another."""

REASON_LENGTH = 200

OF_A_CHILD = frozenset(
    {
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
        *("TMPDIR", "TMP", "TEMP", "PWD", "OLDPWD", "SHLVL", "_"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
        *("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "UV_PROJECT_ENVIRONMENT"),
    }
)
"""Variables that are read when they are used, not while modules are imported; those of `DAG_` are too."""

UNDERSTOOD = frozenset(
    {
        *("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONINTMAXSTRDIGITS"),
        *("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONFAULTHANDLER"),
        *("PYTHONBREAKPOINT", "PYTHONNODEBUGRANGES"),
    }
)
"""Of Python's own variables those that mean the same to a forked child; with any other an experiment starts cold."""

_PYTHON = re.compile(r"python[0-9.]*")


class Kind(NamedTuple):
    """What a parent is made for: experiments of one kind can be children of the same parent."""

    python: str
    modules: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]


class Ready(NamedTuple):
    """A child that stands by in the cell of the next experiment of a kind, and whose child it is."""

    parent: Parent
    standby: Standby

    def end(self) -> None:
        """It is gone, unless its script has begun."""
        self.standby.end()


class Start:
    """Launches one command: by the child that is ready for it, by the parent that was found for it, or else cold."""

    def __init__(
        self, warm: Callable[[Command], Launched] | None, names: frozenset[str], facts: Mapping[str, str]
    ) -> None:
        """`warm` begins it in a child of a parent with modules of these `names`; None if no parent can serve it."""
        self._warm = warm
        self._names = names
        self.facts = facts

    def __call__(self, command: Command) -> Launched:
        if self._warm is None or _shadowed(self._names, command):
            return Program(command)
        try:
            newborn = self._warm(command)
        except (Stillborn, OSError) as error:
            self.facts = cold(f"a warm child did not begin: {error}")
            return Program(command)
        self.facts = {"start": "warm"}
        return newborn


def cold(reason: str) -> dict[str, str]:
    """The fact of a cold start for a reason, as text that a record can hold."""
    said = f"cold: {reason}".encode("utf-8", "replace").decode()
    return {"start": one_line(said)[:REASON_LENGTH]}


class Nursery:
    """The warm parents of one trainer. What it made ends with it (`close`) or with the thread that made it.

    One thread calls `start`; meanwhile another one may call `ready`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._met: set[Kind] = set()
        self._unfit: set[Kind] = set()
        self._parents: dict[Kind, Parent] = {}

    def start(
        self,
        command: Command,
        modules: Sequence[str],
        stop: threading.Event | None = None,
        ready: Ready | None = None,
    ) -> Start:
        """How to launch this command; `facts` of it say afterwards how it was.

        By `ready`, if that is a child of the parent that serves this. Waits for a parent's imports if the kind of
        experiment is new and was met before, or has changed; until `stop`.
        """
        if not modules:
            return Start(None, frozenset(), {})
        kind = kind_of(command, modules)
        if kind is None or not is_subreaper():
            return Start(None, frozenset(), {"start": "cold"})
        try:
            with self._lock:
                parent = self._parent(kind, stop)
        except Unfit as error:
            return Start(None, frozenset(), cold(str(error)))
        if parent is None:
            return Start(None, frozenset(), {"start": "cold"})
        mine = ready if ready is not None and ready.parent is parent else None
        return Start(partial(self._begin, parent, mine), parent.names, {"start": "cold"})

    def _begin(self, parent: Parent, ready: Ready | None, command: Command) -> Newborn:
        with self._lock:
            if ready is not None:
                with contextlib.suppress(Stillborn, OSError):  # it never begins: another one may
                    return parent.begin(command, ready.standby)
            newborn = parent.begin(command, parent.stand_by(command))
            parent.breed()
            return newborn

    def ready(self, command: Command, modules: Sequence[str]) -> Ready | None:
        """A child in the cell of this command, for whatever has the same cell; None if there is no parent for it yet.

        Whoever asked ends it.
        """
        kind = kind_of(command, modules)
        with self._lock, contextlib.suppress(Stillborn, OSError):
            parent = self._parents.get(kind) if kind is not None else None
            if parent is not None and parent.current():
                standby = parent.stand_by(command)
                parent.breed()
                return Ready(parent, standby)
        return None

    def _parent(self, kind: Kind, stop: threading.Event | None) -> Parent | None:
        """None if there is none yet, or cannot be. Why it cannot is raised once."""
        parent = self._parents.pop(kind, None)
        if parent is not None and not parent.current():
            parent.close()
            parent = None
        if parent is None and (kind not in self._met or kind in self._unfit):
            self._met.add(kind)
            return None
        self._parents[kind] = parent or self._new(kind, stop)
        while len(self._parents) > MAX_PARENTS:
            self._parents.pop(next(iter(self._parents))).close()
        return self._parents[kind]

    def _new(self, kind: Kind, stop: threading.Event | None) -> Parent:
        try:
            return Parent(kind.python, kind.modules, dict(kind.variables), stop)
        except Unfit:
            if stop is None or not stop.is_set():
                self._unfit.add(kind)
            raise

    def close(self) -> None:
        """Ends every parent; the experiment in hand goes on."""
        with self._lock:
            while self._parents:
                self._parents.popitem()[1].close()


def kind_of(command: Command, modules: Sequence[str]) -> Kind | None:
    """What kind of parent could serve a command; None if none could."""
    texts = "".join([*command.argv, *command.env, *command.env.values()])
    if "\0" in texts or len(command.mark.encode()) >= MARK_ROOM:
        return None
    if not _is_script(command) or not _is_plain(command.env) or not _can_be_confined(command):
        return None
    return Kind(command.argv[0], tuple(modules), tuple(sorted(_of_a_parent(command.env).items())))


def _is_script(command: Command) -> bool:
    """True for `python SCRIPT ARGS` with plain source, and an interpreter that is the same in every folder."""
    if len(command.argv) < 2 or command.argv[1].startswith("-"):
        return False
    script = command.cwd / command.argv[1]
    plain = script.suffix == ".py" and script.is_file() and not zipfile.is_zipfile(script)
    return plain and _is_interpreter(command.argv[0], command.cwd)


def _can_be_confined(command: Command) -> bool:
    """False where the confinement is something that only a new program can be put under."""
    return command.cell is None or command.cell.level.can_be_joined or not command.cell.level.hides_files


def _is_interpreter(python: str, work: Path) -> bool:
    """False for scripts that choose one (pyenv's shims): they look at the current folder."""
    if not os.path.isabs(python) or _PYTHON.fullmatch(os.path.basename(python)) is None:
        return False
    inside = (f"{work}/", f"{os.path.realpath(work)}/")
    if os.path.normpath(python).startswith(inside) or os.path.realpath(python).startswith(inside):
        return False
    try:
        with open(python, "rb") as file:
            return file.read(2) != b"#!"
    except OSError:
        return False


def _is_plain(env: Mapping[str, str]) -> bool:
    """True if Python's variables are understood, and nothing on the path depends on the current folder."""
    own = {name for name, value in env.items() if name.startswith("PYTHON") and value}
    path = env.get("PYTHONPATH", "")
    return own <= UNDERSTOOD and (not path or all(os.path.isabs(folder) for folder in path.split(os.pathsep)))


def _of_a_parent(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that its imports may read. HOME counts where it holds packages, else it is one for all."""
    kept = {name: value for name, value in env.items() if name not in OF_A_CHILD and not name.startswith("DAG_")}
    if "HOME" in kept and not os.path.isdir(os.path.join(kept["HOME"], ".local", "lib")):
        kept["HOME"] = "/nonexistent"
    return kept


def _shadowed(names: frozenset[str], command: Command) -> bool:
    """Whether the script's folder holds something that a fresh interpreter would import in place of what is loaded."""
    folder = os.path.dirname(os.path.realpath(command.cwd / command.argv[1]))
    return any(entry.partition(".")[0] in names for entry in os.listdir(folder))
