"""A version read with the help of another one is what it is when it is read alone."""

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.adopt.syntax import PYTHON, Text
from dagstore.adopt.units import Parts, Series, Unit
from dagstore.testing.cases import read_cases

CASES = list(read_cases(Path(__file__).parent / "data" / "adopt_cases.txt"))
PYTHONS = [case for case in CASES if case.path.endswith(".py")]
ROWS = [
    "x = 1",
    "if x > 0 and x < 10 and x != 5:",
    "    y = 2",
    "    # of y",
    "else:",
    "# a comment at the margin",
    "",
    "def longer_than_an_anchor(a, b, c):",
    "    return a + b + c  # all of them",
    "@decorator(with_arguments=True)",
    "some_name = another_name + 12345",
    'TEXT = """one',
    'two"""',
    "call(first_argument, second_argument,",
    "     third_argument)",
    "total = first + \\",
    "    second",
]


def shape(unit: Unit) -> object:
    """A unit and all that it is made of, without lines."""
    return bytes(unit), unit.item, unit.blank, shape_of(unit.parts())


def shape_of(parts: Parts) -> object:
    if parts is None:
        return None
    frame = (parts.opening, parts.closing, parts.trailing) if isinstance(parts, Series) else ()
    return parts.kind, frame, [shape(unit) for unit in parts.units]


def check(one: bytes, other: bytes) -> None:
    alone, helped = Text(other, PYTHON), Text(other, PYTHON, Text(one, PYTHON))
    assert shape_of(helped.series) == shape_of(alone.series)


@pytest.mark.parametrize("case", PYTHONS, ids=[case.name for case in PYTHONS])
def test_versions_of_a_case(case) -> None:
    for one, other in permutations((case.base, case.a, case.b, case.wanted), 2):
        check(one, other)


@given(st.lists(st.sampled_from(ROWS), max_size=20), st.data())
def test_any_rows(rows: list[str], data: st.DataObject) -> None:
    changed = list(rows)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        fresh = data.draw(st.lists(st.sampled_from(ROWS), max_size=3))
        changed[at : at + data.draw(st.integers(0, 3))] = fresh
    one, other = ("".join(row + "\n" for row in some).encode() for some in (rows, changed))
    check(one, other)
