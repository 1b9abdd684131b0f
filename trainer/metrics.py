"""Reads an experiment's metrics from the three places of the contract; all of it is untrusted text.

1. The file that `$DAG_METRICS` names: one JSON object, at most 1 MB.
2. The log: its last run of `name: value` lines, looked for in its last 64 KB. Blank lines and values that are no
   numbers do not end it. Of a line that was redrawn with carriage returns only the last drawing counts.
3. The file that `$DAG_STEPS` names: JSON lines, of which the last value of each metric counts (last 1 MB).

A name that occurs in several is taken from the first of them, also if its value there is not finite.
"""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAX_METRICS = 256
MAX_FILE = 1 << 20
MAX_BLOCK = 1 << 16
METRICS_FILE = "$DAG_METRICS"
STEPS_FILE = "$DAG_STEPS"

NOT_FINITE = ("nan", "inf", "-inf")
"""What is said of a number that is none, as `repr` writes it."""

_NOTHING = object()
_WHY = {errno.ELOOP: "a symbolic link", errno.EISDIR: "not a regular file", errno.ENXIO: "not a regular file"}
_MAX_TEXT = 80
_NAME = r"[A-Za-z_][A-Za-z0-9_./-]{0,63}"
_NUMBER = r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)"
_IS_NAME = re.compile(_NAME)
_LINE = re.compile(rf"[ \t]*({_NAME})[ \t]*:[ \t]*({_NUMBER})[ \t]*".encode(), re.IGNORECASE)
_FILLER = re.compile(rf"[ \t]*(?:{_NAME}[ \t]*:[ \t]*[^ \t].*)?".encode())


@dataclass(frozen=True, slots=True)
class Metrics:
    """`values` are finite and hold no -0.0. `rejected` says of the other names what was there instead, and under
    `$DAG_METRICS` or `$DAG_STEPS` why that file was not read. At most 256 of each; names and texts are printable."""

    values: dict[str, float] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)


def collect(log: bytes, metrics_file: Path | None, steps_file: Path | None) -> Metrics:
    """What the experiment reported. Never raises for what is in the log or the files; a missing file is empty."""
    found = _Found()
    _from_file(metrics_file, found)
    found.add_all(_block(log))
    _from_steps(steps_file, found)
    return Metrics(found.values, found.rejected)


def numbers(lines: Iterable[bytes]) -> Iterable[dict[str, float]]:
    """The numbers of each line that is a JSON object, finite or not, by metrics' names; in the order of the lines."""
    for step in _objects(lines):
        found = ((name, _number(value)) for name, value in step.items() if _IS_NAME.fullmatch(name))
        yield {name: number for name, number in found if number is not None}


class _Found:
    """Names that were seen so far; the first source to speak of a name keeps it."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.rejected: dict[str, str] = {}

    def add_all(self, raw: Mapping[str, object]) -> None:
        for name, value in raw.items():
            if name not in self.values and name not in self.rejected:
                self._add(name, value)

    def _add(self, name: str, value: object) -> None:
        number = _finite(value)
        if not _IS_NAME.fullmatch(name):
            self.reject(name, "not a metric's name")
        elif number is None:
            self.reject(name, _describe(value))
        elif len(self.values) >= MAX_METRICS:
            self.reject(name, f"more than {MAX_METRICS} metrics")
        else:
            self.values[name] = number

    def reject(self, name: str, why: str) -> None:
        if len(self.rejected) < MAX_METRICS:
            self.rejected[ascii(name)[1:-1][:_MAX_TEXT]] = why


def _finite(value: object) -> float | None:
    """The value as a float; None if it is no finite number."""
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None


def _number(value: object) -> float | None:
    """The value as a float, -0.0 as 0.0, infinite where it is beyond all of them; None if it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) + 0.0
    except OverflowError:
        return math.inf


def _describe(value: object) -> str:
    """What was there instead of a number, in at most 80 characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool):
        return "an integer beyond every float"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = ascii(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _block(log: bytes) -> dict[str, float]:
    """The last run of `name: value` lines, the last value of a name; not all need be finite."""
    tail = log[-MAX_BLOCK:]
    lines = tail.split(b"\n")
    if len(tail) < len(log):
        del lines[0]  # cut in the middle, it could name another metric
    block: dict[str, float] = {}
    for line in reversed(lines):
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        match = _LINE.fullmatch(shown)
        if match:
            block.setdefault(match[1].decode("ascii"), float(match[2]))
        elif block and not _FILLER.fullmatch(shown):
            break
    return dict(reversed(block.items()))


def _from_file(path: Path | None, found: _Found) -> None:
    try:
        value = _parse(_read(path))
    except _UnreadableError as error:
        found.reject(METRICS_FILE, str(error))
        return
    if isinstance(value, dict):
        found.add_all(value)
    elif value is not _NOTHING:
        found.reject(METRICS_FILE, "not one JSON object")


def _from_steps(path: Path | None, found: _Found) -> None:
    """Lines are read from the end: a loss that ended in NaN is not what it was before."""
    try:
        lines = _read(path, cut=True).split(b"\n")
    except _UnreadableError as error:
        found.reject(STEPS_FILE, str(error))
        return
    last: dict[str, object] = {}
    for step in _objects(reversed(lines)):
        for name, value in step.items():
            last.setdefault(name, value)
    found.add_all(last)


def _objects(lines: Iterable[bytes]) -> Iterable[dict[str, object]]:
    for line in lines:
        value = _parse(line)
        if isinstance(value, dict):
            yield value


def _parse(data: bytes) -> object:
    """The JSON value; None if it is none, or nested too deeply."""
    if not data:
        return _NOTHING
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


class _UnreadableError(Exception):
    """Why a file is not read."""


def _read(path: Path | None, *, cut: bool = False) -> bytes:
    """The file's bytes, none if it is missing; if `cut` allows it, the last full lines of a long one.

    Opened without following a link and without waiting for a pipe's other end.
    """
    if path is None:
        return b""
    try:
        with open(path, "rb", opener=_opener) as file:
            return _last(file, cut=cut)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _UnreadableError(_WHY.get(error.errno or 0, error.strerror)) from None


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _last(file: BinaryIO, *, cut: bool) -> bytes:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise _UnreadableError("not a regular file")
    if status.st_size <= MAX_FILE:
        return file.read(MAX_FILE)
    if not cut:
        raise _UnreadableError(f"longer than {MAX_FILE} bytes")
    file.seek(status.st_size - MAX_FILE)
    return file.read(MAX_FILE).partition(b"\n")[2]
