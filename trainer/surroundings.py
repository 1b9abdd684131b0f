"""What one experiment gets around it: folders of its own, what it may read beside them, and its variables."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dagstore import BadInput, Charter
from dagstore.charter import is_outside
from dagstore.model import Mode
from trainer.cell import Cell, Level
from trainer.job import Files
from trainer.machine import interpreter_folders
from trainer.sandbox import Sandbox
from trainer.variables import allowed
from trainer.view import View, hops, narrow, tools, within

OUTSIDE = ("/etc", "/var", "/run", "/proc", "/dev", "/tmp", "/home", "/root", "/mnt", "/media", "/srv", "/opt")  # noqa: S108
"""Folders that are never shown as a whole only because a program lies in them."""
_MOST_FIXED = 1000
INSIDE = "experiment"
"""What the folder of an experiment is called in a cell that has names of its own: the same for each, whether or not it
was made ready before anybody had claimed it."""

REMEDY = 'install bubblewrap and let it make user namespaces (docs/sandbox.md), or say sandbox = "auto"'


class NoSandboxError(Exception):
    """The charter requires a sandbox that this machine does not have."""


class NoDataError(Exception):
    """A file or folder that the charter names is not on this machine."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where a command runs.

    `store` is the store's folder, `whole` the experiment's with all that follows. `home` is for what is its own: `work`
    is its directory, `out` where it reports, `outputs` what it hands on, `read_only` if that was handed on to it.
    `readable` are paths that only this command may read, `fixed` what it may not change.
    """

    store: Path
    whole: Path
    home: Path
    work: Path
    out: Path
    outputs: Path
    readable: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def writable(self) -> tuple[str, ...]:
        return tuple(map(str, (self.work, self.out, *(() if self.read_only else (self.outputs,)))))


def room_of(files: Files) -> Room:
    """The experiment's room, its folders made."""
    charter, home, work = files.charter, files.home, files.work
    locked = [entry.path for entry in files.tree if charter.is_locked(entry.path) and entry.mode is not Mode.LINK]
    paths = [str(work / path) for path in locked if not charter.is_hidden(path)]
    fixed = tuple(path for path in paths if os.path.isfile(path))[:_MOST_FIXED]
    return make_room(Room(files.folder, home, home, work, files.metrics.parent, files.outputs, fixed=fixed))


def make_room(room: Room) -> Room:
    for folder in (room.home / "home", room.home / "tmp", room.out, room.outputs):
        folder.mkdir(parents=True, exist_ok=True)
    return room


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is around every experiment of a project: its folder `root`, the trainer's variables and the sandbox."""

    root: Path
    environ: Mapping[str, str]
    sandbox: Sandbox

    def confinement(self, charter: Charter) -> Sandbox:
        """The sandbox that the charter asks for; `NoSandboxError` if it requires a better one than there is."""
        if charter.sandbox == "none":
            return Sandbox(Level.NONE)
        if charter.sandbox == "required" and not self.sandbox.is_whole:
            said = self.sandbox.remark or "this trainer has none"
            raise NoSandboxError(f'in the sandbox that sandbox = "required" asks for: {said}; {REMEDY}')
        return self.sandbox

    def cell(self, charter: Charter, room: Room, python: str, search_path: str) -> Cell:
        """The cell for a command in that room. `NoDataError` where what the charter lets it read is missing."""
        sandbox = self.confinement(charter)
        if sandbox.level is Level.NONE:
            return Cell(Level.NONE)
        private = self._private(charter, room)
        data = self._data(charter, private)
        home = self._home_at(sandbox, room)
        if home == str(room.home / "home"):
            self._link_home(data, room)
        view = View(
            cwd=str(room.work),
            readable=narrow((*self._needed(python, search_path), *data, *map(self.path, room.readable)), private),
            writable=room.writable,
            tmp=str(room.home / "tmp"),
            home=str(room.home / "home"),
            home_at=home,
            fixed=(*room.fixed, *((str(room.outputs),) if room.read_only else ())),
            network=charter.network,
            shared=charter.memory,
            here=str(room.whole),
            there=str(self._seen_at(sandbox, room)),
        )
        return sandbox.cell(view)

    def seen(self, charter: Charter, room: Room) -> Room:
        """The room as what runs in it calls it."""
        there = self._seen_at(self.confinement(charter), room)
        home, work, out, outputs = (
            there / path.relative_to(room.whole) for path in (room.home, room.work, room.out, room.outputs)
        )
        return replace(room, whole=there, home=home, work=work, out=out, outputs=outputs)

    def _seen_at(self, sandbox: Sandbox, room: Room) -> Path:
        """What its whole folder is called inside, where mounts can do that."""
        return room.store / "scratch" / INSIDE if sandbox.level is Level.BUBBLEWRAP else room.whole

    def variables(self, charter: Charter, room: Room, search_path: str) -> dict[str, str]:
        """The variables of the trainer that a command gets, and those that its folders need, as it calls them."""
        sandbox, room = self.confinement(charter), self.seen(charter, room)
        fixed = {
            "PATH": search_path,
            "UV_PROJECT_ENVIRONMENT": str(self.root / ".venv"),  # else `uv run` makes one for every experiment
            "PYTHONUNBUFFERED": "1",  # what was printed before a kill must be in the log
        }
        if sandbox.level is Level.NONE:
            return {name: value for name, value in self.environ.items() if not name.startswith("DAG_")} | fixed
        own = allowed(self.environ, charter.environment, network=charter.network)
        return own | fixed | self._confined(sandbox, charter, room)

    def _confined(self, sandbox: Sandbox, charter: Charter, room: Room) -> dict[str, str]:
        """Programs that would write outside are told not to."""
        names = {"HOME": self._home_at(sandbox, room), "UV_NO_SYNC": "1"}
        if not charter.network:
            names["UV_OFFLINE"] = "1"
        if sandbox.level is not Level.BUBBLEWRAP:
            names["TMPDIR"] = str(room.home / "tmp")
        if self._user_site():
            names["PYTHONUSERBASE"] = os.path.join(self.environ["HOME"], ".local")
        return names

    def _home_at(self, sandbox: Sandbox, room: Room) -> str:
        """Where HOME is inside: where it is outside, with other contents, if mounts can do that."""
        home = os.path.normpath(self.environ.get("HOME", ""))
        sane = os.path.isabs(home) and home.count("/") >= 1 and not within("/tmp", home) and not within("/usr", home)  # noqa: S108
        return home if sandbox.level is Level.BUBBLEWRAP and sane and len(home) > 1 else str(room.home / "home")

    def _private(self, charter: Charter, room: Room) -> list[str]:
        """What nobody sees, and so no folder that holds it."""
        hidden = [path for path in charter.hidden if is_outside(path) and path not in room.readable]
        shown = [self.path(path) for path in hidden]
        return [str(room.store), self.environ.get("HOME", "/"), *OUTSIDE, *shown]

    def _data(self, charter: Charter, private: Iterable[str]) -> list[str]:
        paths = [self.path(path) for path in charter.data if not self._is_empty_cache(path)]
        for path in paths:
            if not os.path.exists(path):
                raise NoDataError(f"{path}: no such file or folder, and the charter's `data` names it")
            if not narrow((path,), [one for one in private if one not in OUTSIDE]) and not within(path, "/usr"):
                raise BadInput(f"data {path!r} holds what experiments must not see", hint="name the folders below it")
        return paths

    def _is_empty_cache(self, path: str) -> bool:
        """A cache may be missing: whoever looks there can do without."""
        return path.startswith("~/.cache/") and not os.path.exists(self.path(path))

    def path(self, path: str) -> str:
        """A path of the charter on this machine."""
        if path == "~" or path.startswith("~/"):
            return os.path.normpath(self.environ.get("HOME", "/") + path[1:])
        return os.path.normpath(self.root / path)

    def _needed(self, python: str, search_path: str) -> list[str]:
        """What programs need to run: their folders, their libraries, the interpreter's and its packages."""
        more = os.pathsep.join(self.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "PYTHONPATH"))
        site = self._user_site()
        return [*tools(search_path, (*interpreter_folders(python), *hops(python)), more), *([site] if site else ())]

    def _user_site(self) -> str:
        """Where packages are that a user installed without an environment; empty if there are none."""
        path = os.path.join(self.environ.get("HOME", "/nonexistent"), ".local", "lib")
        return path if os.path.isdir(path) else ""

    def _link_home(self, data: Iterable[str], room: Room) -> None:
        """Data below the home folder is looked for there, wherever that is now."""
        home = self.environ.get("HOME", "")
        for path in data:
            if home and within(path, home):
                link = room.home / "home" / os.path.relpath(path, home)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(link):
                    link.symlink_to(path)
