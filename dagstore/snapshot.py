"""The edge from a directory to a tree: reading one into the other, safely and without reading what is known.

Recorded are files (with their executable bit) and symbolic links that stay inside; folders are not, so an empty one
leaves no trace. Left out are `.dag` and `.git` at any level, what `.gitignore` and `.dagignore` say (as in git, level
by level; `.dagignore` is read after `.gitignore`), and the folders in `DEFAULT_IGNORED` unless one of those files
takes them back in (`!.venv/`). Global git excludes do not count: a tree depends on its directory alone.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dagstore.errors import BadInput, NotFound, Unavailable
from dagstore.globs import MAX_IGNORE_BYTES, parse_ignore, verdict
from dagstore.ids import BlobId
from dagstore.links import link_problem
from dagstore.model import Entry, Mode, Tree
from dagstore.paths import RESERVED, check_path, fold

Stat = tuple[int, int, int, int, int]
"""size, mtime_ns, ctime_ns, inode, mode."""

DEFAULT_IGNORED = frozenset({"__pycache__", ".venv", ".ipynb_checkpoints"})
IGNORE_FILES = (".gitignore", ".dagignore")
OPEN_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY

_ATTEMPTS = 5
_SHOWN = 10
_RACY_NS = 20_000_000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Cached(NamedTuple):
    """What a path held when it had this stat."""

    stat: Stat
    entry: Entry


class Snapshot(NamedTuple):
    """A directory's tree. `contents` holds what was read; what an unchanged stat vouched for is not in it."""

    tree: Tree
    contents: Mapping[BlobId, bytes]
    cache: dict[str, Cached]


def snapshot(
    root: Path | str, *, file_limit: int, cache: Mapping[str, Cached] | None = None, cached_at_ns: int = 0
) -> Snapshot:
    """The tree of the directory `root`. `BadInput` names every path that cannot be recorded (the first ten).

    `file_limit` is in bytes. `cache` is what an earlier snapshot of the same directory returned and `cached_at_ns`
    the wall clock (ns since the epoch) just before that one began; for the cache of `materialise`, just after it
    returned. Each file is read in one state, as far as its stat tells: one that keeps changing is refused, one that
    vanishes is absent.
    """
    try:
        fd = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{root} is not a directory", hint="name an existing directory") from None
    except OSError as error:
        raise Unavailable(f"cannot read {root}: {error.strerror}", hint="check its permissions") from error
    reader = _Reader(file_limit, cache or {}, cached_at_ns - _RACY_NS)
    reader.walk(_Folder(fd, ""))
    return reader.result()


@dataclass(slots=True)
class _Folder:
    """An open folder: `prefix` ends its path with a slash, `ignores` are (length of prefix, patterns) from the top."""

    fd: int
    prefix: str
    ignores: tuple[tuple[int, bytes], ...] = ()
    todo: list[str] = field(default_factory=list)


class _Fault(Exception):
    """Why one path cannot be recorded."""


@dataclass(slots=True)
class _Reader:
    """Walks a directory once, through descriptors, so that no link swapped in underneath can lead it outside."""

    file_limit: int
    cache: Mapping[str, Cached]
    # The racy-git problem: a file that is written twice within one tick of the file system's clock (4 to 10 ms)
    # may keep both size and times. A write sets the mtime to the present, so a stat vouches for contents only if
    # its mtime was more than a tick old when the cache was made. A young ctime does no harm: it must be equal like
    # the rest of the stat, and `materialise` dates its files back so that they can be trusted at once.
    quiet_before: int
    entries: list[Entry] = field(default_factory=list)
    contents: dict[BlobId, bytes] = field(default_factory=dict)
    fresh: dict[str, Cached] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def walk(self, top: _Folder) -> None:
        """Visits everything below `top` and closes it. Open are only the folders on the way to the current one."""
        stack = [top]
        try:
            self._scan(top)
            while stack:
                folder = stack[-1]
                if not folder.todo:
                    os.close(stack.pop().fd)
                    continue
                child = self._enter(folder, folder.todo.pop())
                if child:
                    stack.append(child)
                    self._scan(child)
        finally:
            for folder in stack:
                os.close(folder.fd)

    def _enter(self, folder: _Folder, name: str) -> _Folder | None:
        path = folder.prefix + name
        try:
            return _Folder(os.open(name, OPEN_FOLDER, dir_fd=folder.fd), path + "/", folder.ignores)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.faults[path] = f"cannot be read ({error.strerror})"
            return None

    def _scan(self, folder: _Folder) -> None:
        try:
            with os.scandir(folder.fd) as found:
                items = {item.name: item for item in found}
        except OSError as error:
            self.faults[folder.prefix or "."] = f"cannot be read ({error.strerror})"
            return
        for name in filter(items.__contains__, IGNORE_FILES):
            self._heed(folder, name)
        for name in sorted(items, reverse=True):
            is_folder = items[name].is_dir(follow_symlinks=False)
            if name.lower() in RESERVED or _ignored(folder, name, is_folder):
                continue
            if is_folder:
                folder.todo.append(name)
            else:
                self._visit(folder, items[name])

    def _heed(self, folder: _Folder, name: str) -> None:
        """Applies an ignore file. What is wrong in one stops the walk: much of what follows would be noise."""
        data = _read_ignore(folder.fd, name)
        try:
            heard = parse_ignore(data)
        except BadInput as error:
            raise BadInput(f"{folder.prefix + name!r} {error.message}", hint=error.hint) from None
        if heard:
            folder.ignores = (*folder.ignores, (len(folder.prefix), data))

    def _visit(self, folder: _Folder, item: os.DirEntry[str]) -> None:
        path = folder.prefix + item.name
        try:
            stamp = stamp_of(item.stat(follow_symlinks=False))
            known = self.cache.get(path)
            if known is None or known.stat != stamp or stamp[0] > self.file_limit or stamp[1] >= self.quiet_before:
                known = self._read(folder.fd, item.name, path, stamp)
        except FileNotFoundError:
            return
        except _Fault as fault:
            self.faults[path] = str(fault)
            return
        except OSError as error:
            self.faults[path] = f"cannot be read ({error.strerror})"
            return
        self.fresh[path] = known
        self.entries.append(known.entry)

    def _read(self, fd: int, name: str, path: str, stamp: Stat) -> Cached:
        if stat.S_ISLNK(stamp[4]):
            mode, data = Mode.LINK, os.fsencode(os.readlink(name, dir_fd=fd))
            problem = link_problem(path, data)
            if problem:
                raise _Fault(problem)
        else:
            data, stamp = self._read_file(fd, name, stamp)
            mode = Mode.EXECUTABLE if stamp[4] & 0o111 else Mode.FILE
        blob = BlobId.of(data)
        self.contents[blob] = data
        return Cached(stamp, Entry(path, mode, blob))

    def _read_file(self, fd: int, name: str, stamp: Stat) -> tuple[bytes, Stat]:
        """The bytes of a file that had the same stat before and after they were read."""
        for _ in range(_ATTEMPTS):
            if not stat.S_ISREG(stamp[4]):
                raise _Fault("is neither a file, a folder nor a link")
            if stamp[0] > self.file_limit:
                raise _Fault(self._too_large(stamp[0]))
            # Should a pipe be swapped in, O_NONBLOCK keeps the open from waiting for its writer.
            file = os.open(name, _READ, dir_fd=fd)
            try:
                data = _read_up_to(file, stamp[0] + 1)
                before, stamp = stamp, stamp_of(os.fstat(file))
            finally:
                os.close(file)
            if stamp == before and len(data) == stamp[0]:
                return data, stamp
        raise _Fault("keeps changing while it is read")

    def _too_large(self, size: int) -> str:
        return f"is {size:,} bytes, over the limit of {self.file_limit:,}"

    def result(self) -> Snapshot:
        tree = None
        try:
            tree = Tree.of(self.entries)
        except BadInput:
            self.faults |= _path_faults(entry.path for entry in self.entries)
        if tree is None or self.faults:
            raise _refusal(self.faults)
        return Snapshot(tree, self.contents, self.fresh)


def stamp_of(found: os.stat_result) -> Stat:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode)


def _read_up_to(file: int, limit: int) -> bytes:
    data = os.read(file, limit)
    # One call returns 2 GiB at most.
    while len(data) < limit - 1:
        more = os.read(file, limit - len(data))
        if not more:
            break
        data += more
    return data


def _read_ignore(fd: int, name: str) -> bytes:
    """The bytes of an ignore file; none if it is a link (git follows none either) or cannot be read.

    What makes it unreadable is found again, and refused, when the file itself is recorded.
    """
    try:
        file = os.open(name, _READ, dir_fd=fd)
    except OSError:
        return b""
    try:
        found = os.fstat(file)
        return _read_up_to(file, MAX_IGNORE_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(file)


def _ignored(folder: _Folder, name: str, is_folder: bool) -> bool:
    # The innermost file that has an opinion decides.
    for depth, data in reversed(folder.ignores):
        ignored = verdict(data, folder.prefix[depth:] + name, is_folder)
        if ignored is not None:
            return ignored
    return is_folder and name in DEFAULT_IGNORED


def _path_faults(paths: Iterable[str]) -> dict[str, str]:
    """What is wrong with each path, alone or beside the others."""
    faults: dict[str, str] = {}
    spellings: dict[str, str] = {}
    for path in sorted(paths):
        try:
            check_path(path)
        except BadInput as error:
            faults[path] = error.message.removeprefix(f"path {path!r} ")
            continue
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            start = "/".join(parts[:depth])
            other = spellings.setdefault(fold(start), start)
            if other != start:
                faults[path] = f"is the same as {other!r} on some file systems"
    return faults


def _refusal(faults: Mapping[str, str]) -> BadInput:
    lines = [f"{path!r} {faults[path]}" for path in sorted(faults)]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    message = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(faults)} paths cannot be recorded:", *lines])
    large = any("over the limit" in fault for fault in faults.values())
    hint = "raise file_limit in dag.toml, or list it in .dagignore" if large else "mend it, or list it in .dagignore"
    return BadInput(message, hint=hint)
