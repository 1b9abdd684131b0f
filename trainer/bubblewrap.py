"""The arguments by which bubblewrap shows a view and nothing else. Pure, but for looking at what is a link.

bubblewrap keeps root's capabilities unless told otherwise, and its own cover of /proc/sys leaves files there writable
for root, which is the whole machine (`core_pattern`): both are said here.
"""

import os
from collections.abc import Iterator, Sequence

from trainer.view import View, devices, system

KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
"""Where root could set something, also without capabilities."""

SEALED = ("--unshare-user", "--disable-userns")
"""A user namespace within which there is no other: much of the kernel is out of reach. bubblewrap 0.8 or later."""
USER = ("--unshare-user",)
"""The same without the second half, for older ones; and nothing, where root may do without a user namespace."""
CHOICES: tuple[tuple[str, ...], ...] = (SEALED, USER, ())


def arguments(view: View, user: Sequence[str]) -> list[str]:
    """What comes between `bwrap` and the command; `user` is one of `CHOICES`."""
    return [
        *("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *(() if view.network else ("--unshare-net",)),
        *user,
        *("--cap-drop", "ALL"),
        *_system(),
        *_kernel(),
        *_devices(view.shared),
        *_files(view),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", view.seen(view.cwd), "--"),
    ]


def _system() -> Iterator[str]:
    for path in system():
        if os.path.islink(path) and path.count("/") == 1:  # /bin, where it is a part of /usr
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from ("--ro-bind-try", path, path)


def _kernel() -> Iterator[str]:
    yield from ("--proc", "/proc")
    for path in KERNEL:
        yield from ("--ro-bind-try", path, path)


def _devices(shared: int) -> Iterator[str]:
    yield from ("--dev", "/dev")
    yield from (*(("--size", str(shared)) if shared else ()), "--tmpfs", "/dev/shm")  # noqa: S108
    for path in devices():
        yield from ("--dev-bind-try", path, path)


def _files(view: View) -> Iterator[str]:
    """In the order of depth, so that nothing is hidden by what lies above it."""
    binds = [
        ("--bind", view.tmp, "/tmp"),  # noqa: S108
        ("--bind", view.home, view.seen(view.home_at)),
        *(("--ro-bind", path, path) for path in view.readable),
        *(("--bind", path, view.seen(path)) for path in view.writable),
        *(("--ro-bind", path, view.seen(path)) for path in view.fixed),
    ]
    for bind in sorted(binds, key=lambda bind: os.path.normpath(bind[2]).count("/")):
        yield from bind
