"""What the file system under a directory is and can do, found out with an unnamed file that leaves no trace."""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_MOUNTS = Path("/proc/mounts")
_NETWORK = re.compile(r"nfs.*|cifs|smb.*|9p|afs|ceph|lustre|gpfs|beegfs.*|glusterfs|fuse\..*|virtiofs|ocfs2|gfs2")
_SPARSE = 1 << 28


def kind_of(folder: Path, mounts: Path = _MOUNTS) -> tuple[str, bool]:
    """The type of the file system that holds `folder`, and whether it is one that machines share.

    The type is empty where the system does not tell.
    """
    here = folder.resolve()
    best, kind = -1, ""
    for point, name in _mounted(mounts):
        # Later mounts cover earlier ones at the same point.
        if here.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), name
    return kind, bool(_NETWORK.fullmatch(kind))


def lacks(folder: Path) -> list[str]:
    """What a store needs and the file system will not do; `OSError` if no file can be made at all."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return [name for name, works in _NEEDS.items() if not _try(works, file.fileno())]


def _mounted(mounts: Path) -> Iterator[tuple[Path, str]]:
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(" ")
        if len(fields) > 2:
            yield Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])), fields[2]


def _try(works: Callable[[int], bool], fd: int) -> bool:
    try:
        return works(fd)
    except OSError:
        return False


def _syncs(fd: int) -> bool:
    os.write(fd, b"x")
    os.fsync(fd)
    return True


def _locks(fd: int) -> bool:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _is_sparse(fd: int) -> bool:
    os.ftruncate(fd, _SPARSE)
    return os.fstat(fd).st_blocks * 512 < _SPARSE // 2


_NEEDS = {"fsync": _syncs, "file locks": _locks, "sparse files": _is_sparse}
