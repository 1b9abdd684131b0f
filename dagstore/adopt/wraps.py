"""Statements that somebody put into a block, or took out of one, while somebody else edits them.

Such a block is opened in every row that has it: what stands before its statements is a unit, what stands behind them
another one, and they stand between the two as if they had always been in that row. So to wrap statements is to add two
units, and edits of what is wrapped are edits like any other. In the end the block is closed again.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from dagstore.adopt.cuts import ALIKE, WORD, differences
from dagstore.adopt.row import Placed
from dagstore.adopt.units import CLOSING, MARK, OPENING, Item, Reading, Series, Unit, Units, firm, unique
from dagstore.ids import NodeId

_SUBSTANCE = re.compile(rb"\w\W+\w")
"""What is said in more than one word."""
DEEP = 8
"""Blocks within blocks that are looked into."""
MOST = 64
"""Wraps in one row; where there are more, everything was rewritten."""
Rows = tuple[NodeId, Series, Series]
Key = tuple[bytes, bytes]
"""What stands before and behind a block in its unit."""
Side = tuple[Units, Units]
"""A row before and after."""


class _Block(NamedTuple):
    before: bytes
    series: Series
    behind: bytes

    @property
    def key(self) -> Key:
        return self.before, self.behind


class _Wrap(NamedTuple):
    """Statements in a row, and the unit that has them in a block."""

    key: Key
    plain: Units
    unit: Unit

    def rivals(self, other: "_Wrap") -> bool:
        """Whether nobody can say which of the two is the outer one, or whether both were meant."""
        if set(self.plain).isdisjoint(other.plain):
            return False
        if self.key == other.key:
            return self.plain != other.plain
        head, others = _words((self.key[0],)), _words((other.key[0],))
        return self.plain == other.plain or 2 * (head & others).total() >= ALIKE * (head.total() + others.total())


def opened(ours: Series, versions: Sequence[Rows]) -> tuple[Series, list[Rows]] | None:
    """The rows with the blocks opened that hold what others edit where there is no such block; None without any."""
    if ours.reading is None:
        return None
    keys = _keys([(base.units, new.units) for _, base, new in versions], ours.units)
    if not keys:
        return None
    mine = _opened(ours, keys, ours.reading)
    rows = [
        (origin, _opened(base, keys, ours.reading), _opened(new, keys, ours.reading)) for origin, base, new in versions
    ]
    whole = [(origin, base, new) for origin, base, new in rows if base and new]
    return (mine, whole) if mine and len(whole) == len(rows) else None


def closed(placed: Sequence[Placed], reading: Reading) -> list[Placed] | None:
    """The same with the blocks closed; None if they are not whole."""
    out: list[list[Placed]] = [[]]
    begun: list[Unit] = []
    for one in placed:
        if one.unit.startswith(OPENING):
            begun.append(one.unit)
            out.append([])
        elif one.unit.startswith(CLOSING):
            units = _closed(begun.pop(), out.pop(), one.unit, reading) if begun else None
            if units is None:
                return None
            out[-1] += [Placed(unit, -1) for unit in units]
        else:
            out[-1].append(one)
    return None if begun else out[0]


# --- which blocks ---


def _keys(sides: Sequence[Side], ours: Units) -> set[Key]:
    """The blocks to open: what they hold, or they themselves, somebody else has changed."""
    bases = dict.fromkeys(base for base, _ in sides)
    sides = [side for side in (*sides, *((base, ours) for base in bases)) if side[0] != side[1]]
    if len(sides) < 2:
        return set()
    found = [(number, *wrapped) for number, side in enumerate(sides) for wrapped in _wraps(*side)]
    if not 0 < len(found) <= MOST:
        return set()
    solid = [(firm(old), firm(new)) for old, new in sides]
    return {
        wrap.key
        for number, wrap, whole, gone in found
        if _edited([side for at, side in enumerate(solid) if at != number], whole, gone)
        and not any(wrap.rivals(other) for at, other, *_ in found if at != number)
    }


def _wraps(old: Units, new: Units) -> Iterator[tuple[_Wrap, Units, Units]]:
    """What was wrapped or unwrapped, with the units before and after."""
    for hunk in differences(old, new):
        was, now = firm(old[hunk.start : hunk.end]), firm(hunk.new_lines)  # type: ignore[arg-type]
        if was and now:
            for wrap in _around(was, now):
                yield wrap, wrap.plain, (wrap.unit,)
            for wrap in _around(now, was):
                yield wrap, (wrap.unit,), wrap.plain


def _edited(others: Iterable[Side], whole: Units, gone: Units) -> bool:
    """Whether other sides change these units, not into those, and none of them puts something else in their place."""
    words = _words(whole)
    changed = [(words & _words(left)).total() for side in others if (left := _left(side, whole, gone)) is not None]
    return bool(changed) and min(changed) >= ALIKE * words.total()


def _left(side: Side, whole: Units, gone: Units) -> Units | None:
    """What a side made of units that stand together in its old row; None if they are still there, or as those."""
    old, new = side
    at = _place(old, whole)
    if at is None or _place(new, whole) is not None or _place(new, gone) is not None:
        return None
    left: list[Unit] = list(whole)
    for hunk in reversed(differences(old, new)):
        if hunk.start < at + len(whole) and at < hunk.end:
            left[max(0, hunk.start - at) : hunk.end - at] = hunk.new_lines  # type: ignore[assignment]
    return tuple(left)


def _place(row: Units, piece: Units) -> int | None:
    length = len(piece)
    return next((at for at in range(len(row) - length + 1) if row[at : at + length] == piece), None)


def _words(units: Iterable[bytes]) -> Counter[bytes]:
    return Counter(WORD.findall(b"".join(units)))


def _around(plain: Units, wrapped: Units) -> Iterator[_Wrap]:
    """The wraps between statements of one hunk: each at one place in one block, and in all most of them."""
    names = {unit.entity for unit in plain} - {""}
    heads = {unit.strip().partition(b"\n")[0] for unit in plain}
    likely = [unit for unit in wrapped if unit.entity not in names and _mentions(unit, heads)]
    if not likely:
        return
    numbers = unique((_said(unit), number) for number, unit in enumerate(plain))  # type: ignore[misc]
    found = [(unit, block, _held(block, numbers)) for unit in likely for block in _blocks(unit)]  # type: ignore[arg-type]
    held = [number for _, _, some in found for number in some]
    weights = [len(_said(unit)) for unit in plain]
    if len(set(held)) < len(held) or 2 * sum(weights[number] for number in held) < sum(weights):
        return
    blocks = Counter(id(unit) for unit, _, some in found if some)
    for unit, block, some in found:
        if some and blocks[id(unit)] == 1 and some == sorted(some) and any(_SUBSTANCE.search(plain[n]) for n in some):
            yield _Wrap(block.key, plain[some[0] : some[-1] + 1], unit)


def _mentions(unit: Unit, heads: Set[bytes]) -> bool:
    """Whether one of the rows inside of a unit is the first one of a statement."""
    return any(row.strip() in heads for row in unit.strip().split(b"\n")[1:])


def _held(block: _Block, numbers: dict[bytes, int]) -> list[int]:
    return [numbers[said] for unit in firm(block.series.units) if (said := _said(unit)) in numbers]


def _said(unit: Unit) -> bytes:
    """A unit however it is indented."""
    return b"\n".join(line.strip() for line in unit.strip().split(b"\n"))


def _blocks(unit: Unit, before: bytes = b"", behind: bytes = b"", depth: int = 0) -> Iterator[_Block]:
    """The series of statements inside of a unit, at any depth."""
    parts = unit.parts() if depth < 2 * DEEP else None
    if parts is None or parts.kind == "simple" or (isinstance(parts, Series) and parts.comma):
        return
    if isinstance(parts, Series) and parts.reading and firm(parts.units):
        yield _Block(before, parts, behind)
    at = 0
    for part in parts.units:
        start, at = at, at + len(part)
        if part.count(b"\n") > isinstance(parts, Series):  # a statement of one row holds none
            yield from _blocks(part, before + unit[:start], unit[at:] + behind, depth + 1)


# --- opening and closing ---


def _opened(row: Series, keys: Set[Key], reading: Reading) -> Series | None:
    """None if a block cannot be opened, or another one begins where one ends: what is added there had no place."""
    out: list[Unit] = []
    for unit in row.units:
        likely = any(unit.startswith(before) and unit.endswith(behind) for before, behind in keys)
        blocks = [block for block in _blocks(unit) if block.key in keys] if likely else []
        units = _laid(unit, blocks[0], reading) if len(blocks) == 1 else None
        if blocks and units is None:
            return None
        out += units or (unit,)
    solid = [unit for unit in out if not unit.blank]
    touch = any(one.startswith(CLOSING) and other.startswith(OPENING) for one, other in pairwise(solid))
    return None if touch else row._replace(units=tuple(out))


def _laid(unit: Unit, block: _Block, reading: Reading) -> Units | None:
    inner = _indentation(firm(block.series.units)[0])
    text = reading.shifted(unit[len(block.before) : len(unit) - len(block.behind)], inner, _indentation(unit))
    line = block.series.units[0].lines[0]
    units = None if text is None else reading.units(text, line)
    if units is None:
        return None
    name = MARK.join((inner, block.before, b""))
    last = unit.lines[1]
    opening = Unit.of(OPENING + name, Item("opening"), (unit.lines[0], max(unit.lines[0], line - 1)))
    return (opening, *units, Unit.of(CLOSING + name + block.behind, Item("closing"), (last, last)))


def _closed(opening: Unit, inner: Sequence[Placed], closing: Unit, reading: Reading) -> Units | None:
    name = opening[len(OPENING) :]
    if not closing.startswith(CLOSING + name) or not firm(tuple(one.unit for one in inner)):
        return None
    indented, before, _ = name.split(MARK)
    text = reading.shifted(b"".join(one.unit for one in inner), _indentation(before), indented)
    return None if text is None else reading.units(before + text + closing[len(CLOSING + name) :], opening.lines[0])


def _indentation(data: bytes) -> bytes:
    return data[: len(data) - len(data.lstrip(b" \t"))]
