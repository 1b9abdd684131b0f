"""What is a rename between two trees, and what is none."""

from collections.abc import Mapping

import pytest

from dagstore.adopt.renames import LARGEST, renames
from dagstore.ids import BlobId
from dagstore.model import Entry, Mode, Tree

Files = Mapping[str, bytes | tuple[Mode, bytes]]
MODEL = b"import math\n\nLR = 0.1\nWIDTH = 64\nDEPTH = 4\n\n\ndef loss(x):\n    return math.log(x + LR)\n"
OTHER = b"import os\n\nBATCH = 8\nSEED = 1\nSTEPS = 9\n\n\ndef main():\n    return os.getpid() + SEED\n"
TUNED = MODEL.replace(b"DEPTH = 4", b"DEPTH = 7")
X = (Mode.EXECUTABLE, MODEL)


def parts(what: bytes | tuple[Mode, bytes]) -> tuple[Mode, bytes]:
    return what if isinstance(what, tuple) else (Mode.FILE, what)


def tree(files: Files) -> Tree:
    entries = ((path, *parts(what)) for path, what in files.items())
    return Tree.of(Entry(path, mode, BlobId.of(data)) for path, mode, data in entries)


def found(old: Files, new: Files) -> dict[str, str]:
    texts = {BlobId.of(data): data for files in (old, new) for _, data in map(parts, files.values())}
    pairs = renames(tree(old), tree(new), texts.__getitem__)
    assert renames(tree(new), tree(old), texts.__getitem__) == {two: one for one, two in pairs.items()}
    return pairs


LINES = [b"line %d\n" % number for number in range(10)]


def share(kept: int) -> bytes:
    return b"".join(LINES[:kept]) + b"".join(b"new %d\n" % number for number in range(10 - kept))


@pytest.mark.parametrize(
    ("old", "new", "pairs"),
    [
        ({"a": MODEL}, {"b": MODEL}, {"a": "b"}),
        ({"a": MODEL}, {"a": MODEL, "b": MODEL}, {}),
        ({"a": MODEL}, {"b": X}, {"a": "b"}),
        ({"a": (Mode.LINK, b"x")}, {"b": (Mode.LINK, b"x")}, {}),
        ({"a": MODEL}, {"b": (Mode.LINK, MODEL)}, {}),
        ({"a": MODEL}, {"A": MODEL}, {"a": "A"}),
        ({"a": b"\0bin"}, {"b": b"\0bin"}, {"a": "b"}),
        ({"a": b"\0" + share(10)}, {"b": b"\0" + share(9)}, {}),
        ({"a": share(10)}, {"b": share(5)}, {"a": "b"}),
        ({"a": share(10)}, {"b": share(4)}, {}),
        ({"a": share(10)}, {"b": share(10) + share(1)}, {"a": "b"}),
        ({"a": b"  x\n\ny\nz\n"}, {"b": b"z\n  y\n\tx\n\n"}, {"a": "b"}),
        ({"a": b"x\ny\n"}, {"b": b"x\ny\n"}, {"a": "b"}),
        ({"a": b"x\ny\n"}, {"b": b"x\ny\nz\n"}, {}),
        ({"a": b""}, {"b": b""}, {}),
        ({"a/__init__.py": b""}, {"b/__init__.py": b""}, {"a/__init__.py": "b/__init__.py"}),
        ({"a": share(10)}, {"b": share(6), "c": share(8)}, {"a": "c"}),
        ({"a": share(7), "b": share(10)}, {"c": share(9)}, {"b": "c"}),
        ({"d/a": MODEL}, {"a": MODEL, "d/b": MODEL, "e/f/a": MODEL}, {"d/a": "a"}),
        ({"d/a": MODEL, "d/b": MODEL}, {"e/a": MODEL, "e/b": MODEL}, {"d/a": "e/a", "d/b": "e/b"}),
        ({"o/x/a": MODEL, "o/y/a": MODEL}, {"n/y/a": MODEL, "n/z/a": MODEL}, {"o/y/a": "n/y/a", "o/x/a": "n/z/a"}),
        ({"d/a": MODEL}, {"d/c": MODEL, "d/b": MODEL}, {"d/a": "d/b"}),
        ({"a": MODEL, "b": OTHER}, {"a": OTHER, "b": MODEL}, {"a": "b", "b": "a"}),
        ({"a": MODEL, "b": OTHER}, {"b": MODEL, "c": OTHER}, {"a": "b", "b": "c"}),
        ({"a": MODEL, "b": OTHER}, {"b": MODEL}, {}),
        ({"a": MODEL, "b": OTHER}, {"a": OTHER, "b": TUNED}, {}),
        ({"a": b"x" * LARGEST + share(10)}, {"b": b"x" * LARGEST + share(9)}, {}),
    ],
)
def test_what_is_a_rename(old: Files, new: Files, pairs: dict[str, str]) -> None:
    assert found(old, new) == pairs


def test_too_many_files_are_only_compared_as_a_whole() -> None:
    before = {f"a/{at}": b"".join(b"%d %d\n" % (at, line) for line in range(4)) for at in range(201)}
    after = {path.replace("a/", "b/"): text + b"more\n" for path, text in before.items()}
    assert found(before, after) == {}
    few = dict(list(before.items())[:100])
    assert len(found(few, {path.replace("a/", "b/"): text + b"more\n" for path, text in few.items()})) == 100
    assert len(found(before, {path.replace("a/", "b/"): text for path, text in before.items()})) == 201
