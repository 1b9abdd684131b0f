"""What an experiment can see of the machine, as paths: an allow list. Finding them reads the file system, no more."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys", "/nix/store", "/gnu/store"),
    *("/run/opengl-driver", "/opt/rocm", "/opt/nvidia", "/opt/intel", "/snap/core20", "/snap/core22"),
)
"""Programs and libraries, where the system keeps them; what is not there is left out."""
SETTINGS = tuple(
    f"/etc/{name}"
    for name in (
        *("ld.so.cache", "alternatives", "localtime", "passwd", "group", "nsswitch.conf", "hosts", "resolv.conf"),
        *("ssl", "pki", "crypto-policies", "fonts", "OpenCL", "vulkan", "nvidia", "os-release"),
    )
)
"""Of /etc what programs read and no secret is in: no shadow, no credentials. Short, for each is a mount: 0.5 ms."""
DEVICES = ("nvidia*", "nvidia-caps", "dri", "kfd", "dxg", "accel")
"""Device nodes of accelerators, in /dev."""


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see. All paths are absolute; what is not named is not there.

    `readable` can be read, `writable` be written too, except what in it is `fixed`. `tmp` is what lies at /tmp, `home`
    what lies at `home_at`. `shared` is the size of /dev/shm in bytes, 0 for the system's own limit.

    Where mounts make the view, what lies in the folder `here` is seen in `there`, whatever `here` is called then.
    """

    cwd: str
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    tmp: str
    home: str
    home_at: str
    fixed: tuple[str, ...] = ()
    network: bool = False
    shared: int = 0
    here: str = ""
    there: str = ""

    def seen(self, path: str) -> str:
        """What a path is called inside."""
        return self.there + path[len(self.here) :] if self.here and within(path, self.here) else path


def system() -> list[str]:
    """The system's own folders and files that every experiment may read, those that are there."""
    return [path for path in (*SYSTEM, *SETTINGS) if os.path.lexists(path)]


def devices() -> list[str]:
    """Nodes of accelerators."""
    return sorted(str(path) for name in DEVICES for path in Path("/dev").glob(name))


def tools(search_path: str, python: Iterable[str], more: str) -> list[str]:
    """The folders that programs on `search_path` need, the interpreter's own (`python`), and those in `more`.

    `more` is a list like PATH. A folder of shims stands before the programs themselves, which lie beside it.
    """
    on_path = [folder for folder in search_path.split(os.pathsep) if os.path.isabs(folder)]
    beside = [os.path.dirname(folder) for folder in on_path if os.path.basename(folder) == "shims"]
    linked = [folder for folder in more.split(os.pathsep) if os.path.isabs(folder)]
    return [path for path in dict.fromkeys((*on_path, *beside, *python, *linked)) if os.path.exists(path)]


def hops(program: str) -> Iterator[str]:
    """The folders above the program and above each link on the way to it: where an interpreter was installed."""
    for _ in range(16):
        yield os.path.dirname(os.path.dirname(program))
        if not os.path.islink(program):
            return
        program = os.path.normpath(os.path.join(os.path.dirname(program), os.readlink(program)))


def narrow(paths: Iterable[str], private: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` that hold none of the `private` ones, without those that the system or another one holds.

    In the order of their depth.
    """
    secret = [os.path.realpath(path) for path in private]
    kept: list[str] = []
    for path in sorted(dict.fromkeys(map(os.path.normpath, paths)), key=lambda path: (path.count("/"), path)):
        real = os.path.realpath(path)
        if any(within(hidden, real) for hidden in secret):
            continue
        if not any(within(path, other) for other in kept) and not within(real, *SYSTEM) and not within(path, *SYSTEM):
            kept.append(path)
    return tuple(kept)


def within(path: str, *folders: str) -> bool:
    """Whether `path` is one of `folders` or below one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)
