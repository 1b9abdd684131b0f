"""Odd, huge and hostile files: whatever two donors make of one, adopting both ends in a tree and a record.

Through a store, gates included, in both orders; the donors are the versions that two edits make of a base.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dagstore.testing.builders import make_child, make_store

Edit = Callable[[bytes], bytes]


def replacing(old: bytes, new: bytes) -> Edit:
    return lambda data: data.replace(old, new)


def jumbled(seed: int) -> Edit:
    """A remark behind each of 500 lines."""

    def edit(data: bytes) -> bytes:
        random, lines = Random(seed), data.split(b"\n")
        for _ in range(500):
            lines[random.randrange(len(lines) - 1)] += b"  # %d" % random.randrange(9)
        return b"\n".join(lines)

    return edit


LONG = b"".join(b"def f%d(a, b=%d):\n    x = a * b\n    return x + %d\n\n\n" % (at, at, at) for at in range(10_000))
DEEP = 50_000

CASES: dict[str, tuple[str, bytes, Edit, Edit]] = {
    "50,000 lines": ("a.py", LONG, replacing(b"b=77)", b"b=1)"), replacing(b"b=78)", b"b=2)")),
    "50,000 lines in many places": ("a.py", LONG, jumbled(1), jumbled(2)),
    "50,000 lines of text": ("a.txt", LONG, jumbled(1), jumbled(2)),
    "parentheses": (
        "a.py",
        b"x = " + b"(" * DEEP + b"1" + b")" * DEEP + b"\n",
        replacing(b"1", b"2"),
        replacing(b"1", b"3"),
    ),
    "brackets": ("a.json", b"[" * DEEP + b"1, 2" + b"]" * DEEP, replacing(b"1", b"3"), replacing(b"2", b"4")),
    "brackets in YAML": ("a.yaml", b"[" * DEEP + b"1, 2" + b"]" * DEEP, replacing(b"1", b"3"), replacing(b"2", b"4")),
    "one line of 5 MB": ("a.txt", b"word " * 1_000_000, lambda data: b"x" + data, lambda data: data + b"y"),
    "a list of 300,000": (
        "a.py",
        b"x = [" + b", ".join(b"%d" % at for at in range(300_000)) + b"]\n",
        replacing(b" 99,", b" 98,"),
        replacing(b" 9999,", b" 98,"),
    ),
    "NUL": ("a.py", b"x = 1\0\ny = 2\n", replacing(b"1", b"3"), replacing(b"2", b"4")),
    "Latin-1": (
        "a.py",
        b'# coding: latin-1\nx = "\xe9"\ny = 1\n',
        replacing(b"1\n", b"2\n"),
        replacing(b"x =", b"x = 1,"),
    ),
    "no known encoding": ("a.py", b'x = "\xe9"\ny = 1\n', replacing(b"1\n", b"2\n"), replacing(b"x =", b"x = 1,")),
    "CRLF": (
        "a.py",
        b"x = f(a,\r\n  b=1)\r\ny = 1\r\n",
        replacing(b"b=1", b"b=3"),
        replacing(b"b=1", b"b=1,\r\n  c=2"),
    ),
    "CRLF in one": ("a.py", b"x = f(a,\n  b=1)\ny = 1\n", replacing(b"\n", b"\r\n"), replacing(b"b=1", b"b=1,\n  c=2")),
    "lone CR": ("a.py", b"x = 1\ry = 2\rz = 3\r", replacing(b"1", b"4"), replacing(b"3", b"5")),
    "byte order mark": ("a.py", b"\xef\xbb\xbfx = 1\ny = 2\n", replacing(b"= 1", b"= 3"), replacing(b"= 2", b"= 4")),
    "form feed": ("a.py", b"x = 1\n\x0c\ny = 2\n", replacing(b"= 1", b"= 3"), replacing(b"= 2", b"= 4")),
    "tabs in one": ("a.py", b"if x:\n\ty = 1\n\tz = 2\n", replacing(b"y = 1", b"y = 3"), replacing(b"\t", b"    ")),
    "no final newline": ("a.py", b"x = 1\ny = 2", replacing(b"y = 2", b"y = 2\n"), replacing(b"y = 2", b"y = 3")),
    "syntax error in one": ("a.py", b"x = 1\ny = 2\n", replacing(b"x = 1", b"x = = 3"), replacing(b"= 2", b"= 4")),
    "syntax error in all": ("a.py", b"x = = 1\n\ny = 2\n", replacing(b"= 1", b"= 3"), replacing(b"y = 2", b"y = 4")),
    "emptied by one": ("a.py", b"x = 1\ny = 2\n", lambda data: b"", replacing(b"= 2", b"= 4")),
    "conflict markers": ("a.py", b"x = 1\n", lambda data: b"<<<<<<<\n" + data, lambda data: data + b">>>>>>>\n"),
    "surrogates and controls": (
        "a.txt",
        b"\xed\xa0\x80\x1b[31m\n" * 9,
        replacing(b"31", b"32"),
        replacing(b"\x80", b"\x81"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_ends_in_a_tree_and_a_record(name: str, tmp_path: Path) -> None:
    path, base, one, other = CASES[name]
    with make_store(tmp_path, {path: base, "prepare.py": "DATA = 1\n"}) as store:
        donors = [make_child(store, "@seed", {path: edit(base)}) for edit in (one, other)]
        made = store.adopt(*donors)
        assert store.adopt(*reversed(donors), dry_run=True).node == made.node
        assert store.cat(made.node, path) or not base
        (record,) = store.adoptions(made.node)
        assert record.decisions == made.decisions != ()
        assert {origin for one in made.decisions for side in (one, *one.sides) for origin in side.origins} & set(donors)
