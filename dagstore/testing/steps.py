"""Lets a process die (or be interrupted) at a named step of a write, so that tests can see what is left then.

A step is a file, what is done to it, and when: `log write half`, `index commit before`, `blob rename after`. The files
are `log`, `presence`, `blob` (the temporary file of a large blob), `shelf` (a folder of blobs) and `index`.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagstore import environment, logfile, presence

_files: dict[int, str] = {}
_aim: list[Any] = ["", 0, signal.SIGKILL]


def aim(step: str, times: int = 1, kind: signal.Signals = signal.SIGKILL) -> None:
    """From now on, get that signal when `step` is reached for the so many-th time."""
    _aim[:] = [step, times, kind]


def reach(step: str) -> None:
    if _aim[0] == step:
        _aim[1] -= 1
        if not _aim[1]:
            os.kill(os.getpid(), _aim[2])


def install() -> None:
    """Watch every step of this process; to be called before a store is opened."""
    sync = getattr(os, "fdatasync", os.fsync)
    for module in (logfile, presence):
        vars(module)["_sync"] = _watched(sync, "sync")
    vars(logfile)["_fill"] = _watched(vars(logfile)["_fill"], "reserve")
    os.fsync = _watched(os.fsync, "sync")
    os.open = _opening(os.open)
    os.pwrite = _writing(os.pwrite)
    os.replace = _around(os.replace, "blob rename")
    os.fdopen = _streaming(os.fdopen)
    lmdb: Any = vars(environment)["lmdb"]
    lmdb.open = _environments(lmdb.open)


def _opening(real: Callable[..., int]) -> Callable[..., int]:
    def open_(path: Any, *words: Any, **options: Any) -> int:
        handle = real(path, *words, **options)
        _files[handle] = _kind(path)
        reach(f"{_files[handle]} open after")
        return handle

    return open_


def _kind(path: Any) -> str:
    name = Path(os.fsdecode(path)).name
    if name in ("log", "presence"):
        return name
    if name.startswith("tmp-"):
        return "blob"
    return "shelf" if "blobs" in Path(os.fsdecode(path)).parts else ""


def _watched(real: Callable[..., Any], what: str) -> Callable[..., Any]:
    def call(handle: int, *words: Any) -> Any:
        reach(f"{_files.get(handle)} {what} before")
        answer = real(handle, *words)
        reach(f"{_files.get(handle)} {what} after")
        return answer

    return call


def _around(real: Callable[..., Any], step: str) -> Callable[..., Any]:
    def call(*words: Any) -> Any:
        reach(f"{step} before")
        answer = real(*words)
        reach(f"{step} after")
        return answer

    return call


def _writing(real: Callable[..., int]) -> Callable[..., int]:
    def pwrite(handle: int, data: Any, offset: int) -> int:
        file = _files.get(handle)
        reach(f"{file} write before")
        if _aim[:2] == [f"{file} write half", 1]:
            real(handle, data[: len(data) // 2], offset)
        reach(f"{file} write half")
        done = real(handle, data, offset)
        reach(f"{file} write after")
        return done

    return pwrite


def _streaming(real: Callable[..., Any]) -> Callable[..., Any]:
    def fdopen(handle: int, *words: Any, **options: Any) -> Any:
        return _Stream(real(handle, *words, **options), str(_files.get(handle)))

    return fdopen


class _Stream:
    """A file that is written half, and then whole."""

    def __init__(self, file: Any, kind: str) -> None:
        self._file = file
        self._kind = kind

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        middle = len(data) // 2
        self._file.write(data[:middle])
        self._file.flush()
        reach(f"{self._kind} write half")
        self._file.write(data[middle:])
        return len(data)


def _environments(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *words, **options: _Environment(real(*words, **options))


class _Environment:
    """An LMDB environment whose commits are steps."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def begin(self, **options: Any) -> Any:
        txn = self._environment.begin(**options)
        return _Commit(txn) if options.get("write") else txn


class _Commit:
    def __init__(self, txn: Any) -> None:
        self._txn = txn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def __enter__(self) -> Any:
        return self._txn.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        if kind is None:
            try:
                reach("index commit before")
            except KeyboardInterrupt as interrupt:
                self._txn.__exit__(type(interrupt), interrupt, interrupt.__traceback__)
                raise
        answer = self._txn.__exit__(kind, error, trace)
        if kind is None:
            reach("index commit after")
        return answer
