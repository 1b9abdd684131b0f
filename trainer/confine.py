"""Confines itself and becomes a command: run by file name with an interpreter of the trainer, without our packages.

    python -I -S confine.py SETTINGS COMMAND …

SETTINGS is a JSON object: `read` and `write` are paths for Landlock, `landlock` whether to use it, `network` whether
to leave TCP alone; `fixed` are paths within `write` to mount read-only, `init` says that this is the first process of
its namespaces. That one brings the loopback up, reaps orphans and ends as the command did (128 and the number of
the signal that killed it). Ends with 125 and a line on stderr if it cannot confine itself.
"""

import ctypes
import json
import os
import signal
import struct
import sys

FAILED = 125
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVS, _CAPBSET_DROP = 38, 24
_READ = 0b1101  # execute, read file, read directory
_OF_FILES = 0b1100_0000_0000_0111  # execute, write, read, truncate, ioctl
_BIND_MOUNT, _REMOUNT, _READ_ONLY, _RELATIVE_TIMES = 0x1000, 0x20, 0x1, 1 << 21
_INHERITED = 0x2 | 0x4 | 0x8 | 0x400  # nosuid, nodev, noexec, noatime: a user namespace cannot take them away
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    settings = json.loads(sys.argv[1])
    try:
        if settings["init"]:
            _loopback()
            for path in settings["fixed"]:
                _fix(path)
        _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        if settings["landlock"]:
            _landlock(settings["read"], settings["write"], network=settings["network"])
        _drop_capabilities()
    except OSError as error:
        _fail(error)
    if settings["init"]:
        _become_init()
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        _fail(error)


def _fail(error: OSError) -> None:
    sys.stderr.write(f"confine: {error.filename or ''}: {error.strerror}\n")
    sys.stderr.flush()
    os._exit(FAILED)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _loopback() -> None:
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def _fix(path: str) -> None:
    name = os.fsencode(path)
    _check(_libc.mount(name, name, None, _BIND_MOUNT, None), path)
    flags = os.statvfs(path).f_flag
    kept = flags & _INHERITED | (_RELATIVE_TIMES if flags & os.ST_RELATIME else 0)
    _check(_libc.mount(None, name, None, _BIND_MOUNT | _REMOUNT | _READ_ONLY | kept, None), path)


def _drop_capabilities() -> None:
    """Empties the bounding set: what is executed next has none."""
    for number in range(64):
        _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0)  # those that the kernel does not know, and all without privilege


def _landlock(read: "list[str]", write: "list[str]", *, network: bool) -> None:
    version = _check(_libc.syscall(_CREATE, None, 0, 1), "Landlock")
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    tcp = 0b11 if version >= 4 and not network else 0
    scoped = 0b11 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = struct.pack("QQQ", files, tcp, scoped)[:size]
    handle = _check(_libc.syscall(_CREATE, rules, size, 0), "Landlock")
    for path in read:
        _allow(handle, path, _READ & files)
    for path in write:
        _allow(handle, path, files)
    _check(_libc.syscall(_RESTRICT, handle, 0), "Landlock")
    os.close(handle)


def _allow(rules: int, path: str, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH)
    except OSError:
        return
    try:
        allowed = access if os.path.isdir(path) else access & _OF_FILES
        _check(_libc.syscall(_ADD, rules, 1, struct.pack("=Qi", allowed, handle), 0), path)
    finally:
        os.close(handle)


def _become_init() -> None:
    """Returns in a child; its parent stays, as the first process of the namespace, until that has ended."""
    child = os.fork()
    if child == 0:
        return
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
