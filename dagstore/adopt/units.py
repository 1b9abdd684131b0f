"""Files taken apart: units, and the two ways in which one is made of others.

A unit is a piece of a file that may be taken, left or replaced as one. What it is called and what it is made of is
worked out when somebody asks, since most units of a file are the same in all versions.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

SPACE = "space"
"""The kind of what only people read: comments and white space."""
MARK = b"\0"
OPENING, CLOSING = MARK + b"(", MARK + b")"
"""How units begin that are what stands before and behind a block, where its statements stand in the row around it."""


class Slots(NamedTuple):
    """A fixed number of units, each with a role; one after the other they are the whole."""

    kind: str
    units: "tuple[Unit, ...]"


class Reading(NamedTuple):
    """How bytes are read as units of a series.

    `units` takes whole rows and the line on which they begin, `shifted` takes rows from one indentation to another.
    Both give None for what they cannot read.
    """

    units: "Callable[[bytes, int], Units | None]"
    shifted: Callable[[bytes, bytes, bytes], bytes | None]


class Series(NamedTuple):
    """Any number of units between `opening` and `closing`.

    With `comma`, one stands between any two of them, and with `trailing` also after the last. A series of rows that
    may be indented has a `reading`.
    """

    kind: str
    units: "tuple[Unit, ...]"
    opening: bytes = b""
    closing: bytes = b""
    comma: bool = False
    trailing: bool = False
    reading: Reading | None = None


Parts = Slots | Series | None


class Item(NamedTuple):
    """What a unit is: its kind in its language, and what it is called among its siblings.

    An entity is found by its name wherever it stands among them. `order` is where it has to stand among others that
    are added at one place. `guard` is a condition that it asks; if it `leaves` then, nothing behind it is reached.
    """

    kind: str = ""
    name: str = ""
    entity: bool = False
    order: int = 0
    guard: str = ""
    leaves: bool = False


PLAIN = Item()
BLANK = Item(SPACE)
"""What stands between units of a file and is none of them."""


def whole() -> Parts:
    """What a unit is made of that is not taken apart."""
    return None


class Unit(bytes):
    """The bytes of a piece of a file. Two are equal if their bytes are.

    `lines` are its first and its last line in the file, from 1 on. Where commas stand between units, `gap` is what
    stands before this one and is no part of it (None: it begins a line of its own), and the comma goes before the last
    `tail` bytes.
    """

    _item: Item | Callable[[], Item]
    lines: tuple[int, int]
    parts: Callable[[], Parts]
    gap: bytes | None
    tail: int

    @classmethod
    def of(
        cls,
        data: bytes,
        item: Item | Callable[[], Item] = PLAIN,
        lines: tuple[int, int] = (0, 0),
        parts: Callable[[], Parts] = whole,
        gap: bytes | None = b"",
        tail: int = 0,
    ) -> "Unit":
        unit = cls(data)
        unit._item, unit.lines, unit.parts, unit.gap, unit.tail = item, lines, parts, gap, tail
        return unit

    @property
    def item(self) -> Item:
        if not isinstance(self._item, Item):
            self._item = self._item()
        return self._item

    @property
    def blank(self) -> bool:
        return self._item is BLANK

    @property
    def kind(self) -> str:
        return self.item.kind

    @property
    def entity(self) -> str:
        """Its name if it is an entity, else nothing."""
        item = self.item
        return item.name if item.entity else ""

    def saying(self, data: bytes, tail: int = 0) -> "Unit":
        """Other bytes in its place; they are not taken apart again."""
        return Unit.of(data, self._item, self.lines, whole, self.gap, tail)

    def down(self, by: int) -> "Unit":
        """The same so many lines further down."""
        made, before = self.parts.args if isinstance(self.parts, partial) else (self.parts, 0)
        first, last = self.lines
        parts = partial(_down, made, before + by)  # one step, however often it is moved
        return Unit.of(self, self._item, (first + by, last + by), parts, self.gap, self.tail)


def _down(parts: Callable[[], Parts], by: int) -> Parts:
    made = parts()
    return made and made._replace(units=tuple(unit.down(by) for unit in made.units))


Units = tuple[Unit, ...]


def firm(units: Units) -> Units:
    """What is not blank."""
    return tuple(unit for unit in units if not unit.blank)


def first_item(units: Units) -> Item:
    """What the first of them that is not blank is."""
    return next((unit.item for unit in units if not unit.blank), PLAIN)


def rivals(one: Units, other: Units) -> bool:
    """Whether both begin with one condition, and what to do then is not the same and cannot be done both."""
    first, second = first_item(one), first_item(other)
    return first.guard == second.guard != "" and (first.leaves or second.leaves) and one != other


def outside(added: Sequence[tuple[Hashable, int, Units]]) -> Callable[[Hashable, int], int]:
    """Where additions go among those of others at one place, such that these stay out of the blocks around it.

    -1 is before the others, 1 behind them. Additions are given by place and number, and asked about in the same way.
    """
    ends = {place: number for place, number, units in added if _closes(units)}
    begins = {place: number for place, number, units in reversed(added) if units and units[-1].startswith(OPENING)}

    def side(place: Hashable, number: int) -> int:
        return -1 if number <= ends.get(place, -1) else int(number >= begins.get(place, number + 1))

    return side


def _closes(units: Units) -> bool:
    marks = [unit for unit in units if unit.startswith((OPENING, CLOSING))]
    return bool(marks) and marks[0].startswith(CLOSING)


def entities(units: Iterable[Unit]) -> dict[str, int]:
    """Where the entities are, by name; without those that are there more than once."""
    return unique((unit.entity, number) for number, unit in enumerate(units))


def unique(named: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The numbers by name, where a name is there just once."""
    found: dict[str, int] = {}
    twice = {""}
    for name, number in named:
        if found.setdefault(name, number) != number:
            twice.add(name)
    return {name: number for name, number in found.items() if name not in twice}


def rising(numbers: Sequence[int]) -> set[int]:
    """The positions of a longest rising run of distinct numbers (patience sorting)."""
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, number in enumerate(numbers):
        pile = bisect_left(tops, number)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [number]
        ends[pile : pile + 1] = [at]
    found: set[int] = set()
    at = ends[-1] if ends else -1
    while at >= 0:
        found.add(at)
        at = before[at]
    return found
