"""Durations and sizes as people write them: `"5m"`, `"1h30m"`, `"250ms"`; `"10MiB"`, `"64MB"`."""

import math
import re

from dagstore.errors import BadInput

MAX_SECONDS = 100 * 365 * 86400.0
"""The longest duration; what is longer overflows the timers of the operating system."""

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_DURATION = re.compile(r"\s*".join(rf"(?:{_NUMBER}\s*{unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms")))
_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_duration(text: str | float) -> float:
    """Seconds, finite and more than 0, from `"5m"`, `"1h30m"`, `"250ms"` or a bare number of seconds."""
    seconds = _seconds(text)
    if not 0 < seconds <= MAX_SECONDS:
        raise BadInput(
            f"{text!r} is not a duration of more than 0 s and at most 100 years",
            hint='write it as "90s", "5m", "1h30m" or a number of seconds',
        )
    return seconds


def _seconds(text: object) -> float:
    """The seconds that `text` says, or NaN."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text) if abs(text) <= MAX_SECONDS else math.nan
    if not isinstance(text, str):
        return math.nan
    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        return math.nan
    days, hours, minutes, seconds, millis = (float(number or 0) for number in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds + millis / 1000


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as exactly `seconds`."""
    if seconds != int(seconds):
        millis = f"{round(seconds * 1000)}ms"
        return millis if seconds < 1 and _seconds(millis) == seconds else f"{seconds!r}s"
    rest, text = int(seconds), ""
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, int(size))
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_size(text: str | int) -> int:
    """Bytes, at least 1, from `"10MB"` (a million each), `"64MiB"` (1,048,576 each) or a bare number of bytes."""
    size = _bytes(text)
    if not 0 < size < 2**63:
        raise BadInput(f"{text!r} is not a size of 1 byte or more", hint='write it as "10MB", "64MiB" or 1048576')
    return size


def _bytes(text: object) -> int:
    """The bytes that `text` says, or 0."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    found = re.fullmatch(r"\s*(\d{1,19})(\.\d{1,9})?\s*([A-Za-z]*)\s*", text) if isinstance(text, str) else None
    units = {unit.lower(): size for unit, size in _SIZES.items()}
    if not found or found[3].lower() not in units:
        return 0
    size = units[found[3].lower()]
    fraction = found[2] or ".0"
    scale: int = 10 ** (len(fraction) - 1)
    return int(found[1]) * size + int(fraction[1:]) * size // scale


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back as exactly `size`."""
    texts = [f"{size // each}{unit}" for unit, each in _SIZES.items() if unit and size % each == 0]
    return min(reversed(texts), key=len)
