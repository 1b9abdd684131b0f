"""Where one side of a composition uses what another side changed: each tried its change without the other's.

Most compositions that are wrong although nothing contradicts are of this kind: a function, class or name is redefined,
renamed or removed by one side, and lines that another side wrote rely on what it was.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dagstore.adopt.syntax import Text
from dagstore.adopt.units import Series, Slots, Unit, Units, entities
from dagstore.ids import NodeId
from dagstore.lines import hunks, split_lines

_NAME = re.compile(rb"[^\W\d]\w*")
_PLAIN = re.compile(rb"^\w+\s*=\s*[-+.\w\"']+\s*(?:#.*)?\s*\Z", re.MULTILINE)
DEFINED = frozenset({"function", "class", "assignment"})


class Side(NamedTuple):
    """What `origin` made of `base`: `text`."""

    origin: NodeId
    base: Text
    text: Text


class Use(NamedTuple):
    """A line that `user` wrote has `name`, which `changer` redefined or took away."""

    name: str
    changer: NodeId
    user: NodeId
    line: bytes


def uses(sides: Sequence[Side]) -> Iterator[Use]:
    """What sides of different origin use of what others changed; several sides may be of one origin."""
    changed = [(side, frozenset(_changed(side))) for side in sides]
    for user, own in changed:
        known = {name for name, _ in own}
        others = [
            (side.origin, {name for name, tuned in names if not tuned} - known)
            for side, names in changed
            if side.origin != user.origin
        ]
        lines = list(_written(user)) if any(names for _, names in others) else []
        for changer, names in others:
            yield from _found(names, changer, user.origin, lines)


def _found(names: set[str], changer: NodeId, user: NodeId, lines: Sequence[bytes]) -> Iterator[Use]:
    for line in lines:
        words = {word.decode() for word in _NAME.findall(line.partition(b"#")[0])}
        yield from (Use(name, changer, user, line) for name in sorted(names & words))


def _written(side: Side) -> Iterator[bytes]:
    """The lines that a side put in or changed."""
    before, after = split_lines(side.base.full), split_lines(side.text.full)
    known = set(before)
    for hunk in hunks(before, after):
        yield from (line for line in hunk.new_lines if line not in known)


def _changed(side: Side) -> Iterator[tuple[str, bool]]:
    """The names of what a side redefined or took away, at the top of the module and of classes.

    True with a constant that has another plain value: whoever uses one expects that.
    """
    if side.base.series and side.text.series:
        yield from _redefined(side.base.series.units, side.text.series.units)


def _redefined(before: Units, after: Units) -> Iterator[tuple[str, bool]]:
    there, then = entities(before), entities(after)
    for name, at in there.items():
        unit, twin = before[at], after[then[name]] if name in then else None
        if unit != twin and unit.kind == "import":
            yield from ((one, False) for one in _bound(unit) - (_bound(twin) if twin is not None else set()))
        elif unit != twin and unit.kind in DEFINED:
            yield name, twin is not None and all(_PLAIN.search(one) for one in (unit, twin))
            if twin is not None and unit.kind == "class":
                yield from _redefined(_inside(unit), _inside(twin))


def _bound(unit: Unit) -> set[str]:
    """The names that an import binds."""
    names = unit.decode("utf-8", "replace").partition("import")[2].split(",")
    return {name.split(" as ")[-1].strip(" ()\n\\").partition(".")[0] for name in names}


def _inside(unit: Unit) -> Units:
    """The statements of a class."""
    parts = unit.parts()
    body = parts.units[-1].parts() if isinstance(parts, Slots) else None
    return body.units if isinstance(body, Series) else ()
