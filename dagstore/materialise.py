"""The edge from a tree to a directory: writing one into the other, and nothing outside it."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from dagstore.errors import BadInput, Refused, Unavailable
from dagstore.ids import BlobId
from dagstore.links import link_problem
from dagstore.model import Entry, Mode, Tree
from dagstore.snapshot import OPEN_FOLDER, Cached, Stat, stamp_of

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGE_NS = 1_000_000_000


def materialise(tree: Tree, read: Callable[[BlobId], bytes], root: Path) -> dict[str, Cached]:
    """Writes `tree` into `root`, which must be empty or not exist, and returns the stat cache of what it wrote.

    `read` returns the bytes of a blob. Nothing is written outside `root` and no link is followed, whatever the tree
    says. Files are dated one second back, so that `snapshot` can tell from the start which were written to. Should
    anything fail, what had been written is removed again; `Unavailable` when the machine is why.
    """
    if Tree.of(tree).entries != tree.entries:
        raise BadInput("the tree is not in canonical order", hint="run `dag fsck` on the store it comes from")
    folders = _make_root(root)
    names: list[str] = []
    try:
        return _write_tree(tree, read, root, names)
    except BaseException:
        _remove(root, names, folders)
        raise


def _make_root(root: Path) -> list[Path]:
    """Makes `root` and returns the folders that it made, the innermost first."""
    made = [folder for folder in (root, *root.parents) if not os.path.lexists(folder)]
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = next(root.iterdir(), None)
    except (FileExistsError, NotADirectoryError):
        raise Refused(f"{root} is not a directory", hint="name a new or empty directory") from None
    except OSError as error:
        _remove(root, (), made)
        raise _unavailable(root, error) from error
    if taken is not None:
        raise Refused(f"{root} is not empty: it holds {taken.name!r}", hint="name a new or empty directory")
    return made


def _write_tree(tree: Tree, read: Callable[[BlobId], bytes], root: Path, names: list[str]) -> dict[str, Cached]:
    """Writes every entry; `names` collects what was made directly in `root`."""
    cache: dict[str, Cached] = {}
    with _Writer(root, names) as writer:
        for entry in tree:
            data = read(entry.blob)
            problem = link_problem(entry.path, data) if entry.mode is Mode.LINK else ""
            if problem:
                raise BadInput(f"{entry.path!r} {problem}", hint="this tree could do harm; nothing was written")
            cache[entry.path] = Cached(writer.write(entry, data), entry)
    return cache


class _Writer:
    """Makes files below a folder through descriptors; open are only the folders on the way to the last file.

    Paths must come in tree order, in which everything below one folder is adjacent.
    """

    def __init__(self, root: Path, names: list[str]) -> None:
        self._root, self._names = root, names
        self._stack: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        try:
            self._stack.append(("", os.open(self._root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)))
        except OSError as error:
            raise _unavailable(self._root, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        for _prefix, fd in self._stack:
            os.close(fd)

    def write(self, entry: Entry, data: bytes) -> Stat:
        """Makes the file or link and returns its stat."""
        folder, slash, name = entry.path.rpartition("/")
        try:
            fd = self._folder(folder + slash)
            stamp = _make_link(fd, name, data) if entry.mode is Mode.LINK else _make_file(fd, name, data, entry.mode)
        except OSError as error:
            raise _unavailable(self._root / entry.path, error) from error
        if not folder:
            self._names.append(name)
        return stamp

    def _folder(self, prefix: str) -> int:
        """The descriptor of the folder at `prefix`, which is made unless the last file was in or below it."""
        while not prefix.startswith(self._stack[-1][0]):
            os.close(self._stack.pop()[1])
        here, fd = self._stack[-1]
        for name in prefix[len(here) :].split("/")[:-1]:
            os.mkdir(name, dir_fd=fd)
            if not here:
                self._names.append(name)
            fd, here = os.open(name, OPEN_FOLDER, dir_fd=fd), f"{here}{name}/"
            self._stack.append((here, fd))
        return fd


def _make_file(fd: int, name: str, data: bytes, mode: Mode) -> Stat:
    file = os.open(name, _WRITE, 0o777 if mode is Mode.EXECUTABLE else 0o666, dir_fd=fd)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        # Dated a second back, by the file system's own clock: any write to come sets the mtime to the present, which
        # then differs however coarse that clock is, so the stat vouches for the contents from the start.
        written = os.fstat(file)
        os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns - _AGE_NS))
        return stamp_of(os.fstat(file))
    except OSError:
        os.unlink(name, dir_fd=fd)
        raise
    finally:
        os.close(file)


def _make_link(fd: int, name: str, target: bytes) -> Stat:
    os.symlink(target, os.fsencode(name), dir_fd=fd)
    return stamp_of(os.stat(name, dir_fd=fd, follow_symlinks=False))


def _remove(root: Path, names: Iterable[str], made: Iterable[Path]) -> None:
    """Removes `names` in `root` and then the folders in `made` as far as they are empty."""
    import shutil

    for name in names:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _try(path.unlink)
    for folder in made:
        _try(folder.rmdir)


def _try(remove: Callable[[], None]) -> None:
    try:
        remove()
    except OSError:
        # It was never made, or others use it by now; the error that led here is the one to report.
        return


def _unavailable(path: Path, error: OSError) -> Unavailable:
    import errno

    hints = {
        errno.ENOSPC: "free some space, then repeat",
        errno.EDQUOT: "free some of your quota, then repeat",
        errno.EROFS: "name a directory on a writable file system",
        errno.EACCES: "name a directory that you may write to",
        errno.EPERM: "name a directory that you may write to",
    }
    hint = hints.get(error.errno or 0, "name another directory")
    return Unavailable(f"cannot write {path}: {error.strerror}", hint=hint)
