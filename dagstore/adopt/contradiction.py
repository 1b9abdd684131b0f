"""A contradiction in a form that is the same wherever it comes up, as git's rerere has it.

It has the path, the region without numbers of lines, and the sides without the indentation of their lines, sorted: who
wanted what, how deep in a file and onto which node does not matter.
"""

import re
from collections.abc import Sequence

from dagstore.ids import ContradictionId

_NUMBERS = re.compile(r"L\d+-\d+|#\d+")


def name_of(path: str, region: str, sides: Sequence[bytes]) -> ContradictionId:
    """What a contradiction is called; the order of its sides does not matter."""
    plain = sorted({dedented(side).strip(b"\n") for side in sides})
    parts = (path.encode(), _NUMBERS.sub("", region).encode(), *plain)
    return ContradictionId.of(b"".join(len(part).to_bytes(8, "big") + part for part in parts))


def indentation(text: bytes) -> bytes:
    """The white space that all its lines begin with; none for a piece of a line."""
    lines = [line for line in text.split(b"\n") if line.strip()]
    if not lines or not text.endswith(b"\n"):
        return b""
    first, last = min(lines), max(lines)
    common = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: min(common, len(first) - len(first.lstrip(b" \t")))]


def dedented(text: bytes) -> bytes:
    depth = len(indentation(text))
    return b"\n".join(line[depth:] for line in text.split(b"\n")) if depth else text


def as_deep_as(text: bytes, sides: Sequence[bytes]) -> bytes:
    """A dedented text with the indentation of the first side that has any lines."""
    by = next((indentation(side) for side in sides if side.strip()), b"")
    return b"\n".join(by + line if line.strip() else line for line in text.split(b"\n")) if by else text
