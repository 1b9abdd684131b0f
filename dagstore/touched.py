"""What a change of a file touches: the smallest syntactic regions that differ, named as adoptions name them."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dagstore.adopt.cuts import cuts
from dagstore.adopt.moves import moved, reordered
from dagstore.adopt.part import Place
from dagstore.adopt.regions import called
from dagstore.adopt.syntax import Syntax, Text, syntax_of
from dagstore.adopt.units import Parts, Series, Slots, Unit, Units
from dagstore.adopt.versions import numbered
from dagstore.lines import is_text

WHOLE = "*"
"""The region of a file that came, went, or is not taken apart."""
DEEPEST = 40
"""Levels of units within units; what lies deeper is taken as a whole."""
READ = 256
"""Versions that are kept as they were read."""
MANY = 400
"""Entities that changed places; of more, each is removed and added."""
_TOGETHER = frozenset({"assignment", "value", "call", "attribute"})
"""Kinds of units that are one edit if more than one of their slots differ: together they are one expression."""
_INSIDE = (".", ":", "(", "[", "@", " ")
"""What stands between the name of a region and that of one in it."""


_LINES = re.compile(r"\bL\d+-\d+")
_LAST_LINES = re.compile(r"\bL\d+-\d+$")
_KINDS = {
    "argument": re.compile(r"\)$"),
    "item": re.compile(r"\]$"),
    "decorator": re.compile(r"@[^@]*$"),
    "lines": re.compile(r"(^|:)L(\d+-\d+)?$"),
}
_DEFINITION = re.compile(rb"(?:@[^\n]*\n\s*)*(?:async\s+)?(def|class)\b")
_read: dict[tuple[Syntax, bytes], Text] = {}


class Edit(NamedTuple):
    """One region of one path, `before` and `after`: of a value its bytes, of what was added or removed nothing.

    `region` is named as in a decision about it: `DEPTH`, `MLP.forward`, `optimizer(lr)`, `L3-5` (lines of the old
    version, `L8-7` stands between two), `*` for the whole file. Where both are equal it was moved, or has another mode.
    """

    path: str
    region: str
    before: bytes
    after: bytes


def file_edits(path: str, old: bytes | None, new: bytes | None) -> tuple[Edit, ...]:
    """What turns one version of a file into another, in the order of the old one; None is no file.

    Empty if, and only if, both are the same. It never raises, whatever the bytes: what is not well-formed is compared
    by its lines, what is no text as a whole.
    """
    if old == new:
        return ()
    if old is None or new is None or not (is_text(old) and is_text(new)):
        return (Edit(path, WHOLE, old or b"", new or b""),)
    before, after = _versions(old, new, syntax_of(path))
    if before.series is not None and after.series is not None:
        rows = before.series, after.series
    else:
        rows = before.lines, after.lines
    return tuple(_File(path).series("", *rows, 0)) or (_ending(path, before, after),)


def touches(edits: Iterable[Edit], place: str) -> bool:
    """Whether any of them lies in a place: `PATH` (a file or a folder) or `PATH:REGION` (the region or one in it)."""
    colons = (at for at, sign in enumerate(place) if sign == ":")  # a file may have one in its name
    places = [Place(place), *(Place(place[:at], place[at + 1 :]) for at in colons)]
    return any(it.covers(edit.path) and within(edit.region, it.region) for edit in edits for it in places)


def nameless(region: str) -> str:
    """The region without the numbers of lines that it may hold: `Block.forward:L`."""
    return _LINES.sub("L", region)


def same_edit(edit: Edit) -> Edit:
    """The edit by content, equal for nodes that made it at different lines: without blank lines around it, and where
    what was there before tells the place, without its number.
    """
    before, after = edit.before.strip(b"\r\n"), edit.after.strip(b"\r\n")
    region = _LAST_LINES.sub("L", edit.region) if before else edit.region
    return Edit(edit.path, region, before, after)


def kind_of(edit: Edit) -> str:
    """What kind of place an edit is of: `file`, `comment`, `import`, `decorator`, `argument` (or parameter), `item`,
    `function`, `class`, `lines` (what has no name), `key`, `assignment` (at the top of a file) or `statement`.
    """
    if edit.region == WHOLE:
        return "file"
    if is_comment(edit):
        return "comment"
    if edit.region.startswith(("import ", "from ")):
        return "import"
    kind = next((kind for kind, form in _KINDS.items() if form.search(edit.region)), "")
    return kind or _named_kind(edit)


def _named_kind(edit: Edit) -> str:
    definition = _DEFINITION.match((edit.after or edit.before).strip())
    if definition:
        return "class" if definition[1] == b"class" else "function"
    if syntax_of(edit.path).language != "python":
        return "key"
    return "statement" if "." in edit.region else "assignment"


def is_comment(edit: Edit) -> bool:
    """Whether it is about nothing but comments and white space, as far as that can be told of what differs alone."""
    if edit.before == edit.after or syntax_of(edit.path).language not in ("python", "toml", "yaml"):
        return False
    lines = (line.strip() for line in (edit.before + b"\n" + edit.after).split(b"\n"))
    return edit.region != WHOLE and all(not line or line.startswith(b"#") for line in lines)


def within(region: str, outer: str) -> bool:
    return not outer or region == outer or region.startswith(tuple(outer + sign for sign in _INSIDE))


def _versions(old: bytes, new: bytes, syntax: Syntax) -> tuple[Text, Text]:
    """Both versions; the last ones that were read are at hand, since most of them are what others are made from."""
    before = _read.pop((syntax, old), None) or Text(old, syntax)
    _read[syntax, old] = before
    after = Text(new, syntax, before)
    if after.series is not None and after.series.reading:
        known = _read[syntax, new] = Text(new, syntax)
        known.series = numbered(after.series)
    while len(_read) > READ:
        _read.pop(next(iter(_read)), None)
    return before, after


def _ending(path: str, old: Text, new: Text) -> Edit:
    """What is left to differ between versions with the same units: how the last line ends, or what stands around."""
    if old.full != new.full:
        return Edit(path, WHOLE, old.data, new.data)
    last = old.lines.units[-1]
    sides = (last if text.ended else last[:-1] for text in (old, new))
    return Edit(path, f"L{last.lines[0]}-{last.lines[1]}", *sides)


class _File:
    def __init__(self, path: str) -> None:
        self._path = path

    def series(self, region: str, old: Series, new: Series, depth: int) -> Iterator[Edit]:
        """The edits from one series to another, the moved entities of it last."""
        names = moved(old.units, new.units)
        names = names if len(names) <= MANY else frozenset()
        units = reordered(new.units, old.units, names) if names else new.units
        for cut in cuts(old.units, units):
            place = called(region, old, cut.start, cut.end, (cut.name,))
            if cut.end - cut.start == len(cut.new) == 1:
                yield from self._unit(place, old.units[cut.start], cut.new[0], depth + 1)
            else:
                yield self._edit(place, _joined(old, old.units[cut.start : cut.end]), _joined(old, cut.new))
        for name in sorted(names):
            unit = next(unit for unit in old.units if unit.entity == name)
            yield self._edit(f"{region}.{name}" if region else name, unit, unit)

    def _unit(self, region: str, old: Unit, new: Unit, depth: int) -> Iterable[Edit]:
        parts = (old.parts(), new.parts()) if depth < DEEPEST else (None, None)
        # What differs around the parts of a unit is an edit of all of it.
        return tuple(self._parts(region, *parts, depth)) or (self._edit(region, old, new),)

    def _parts(self, region: str, old: Parts, new: Parts, depth: int) -> Iterator[Edit]:
        if old is None or new is None or old.kind != new.kind:
            return
        if isinstance(old, Series) and isinstance(new, Series):
            yield from self.series(region, old, new, depth)
        elif isinstance(old, Slots) and isinstance(new, Slots) and len(old.units) == len(new.units):
            pairs = [pair for pair in zip(old.units, new.units, strict=True) if pair[0] != pair[1]]
            if len(pairs) == 1 or old.kind not in _TOGETHER:
                for one, other in pairs:
                    yield from self._unit(region, one, other, depth + 1)

    def _edit(self, region: str, before: bytes, after: bytes) -> Edit:
        return Edit(self._path, region or WHOLE, bytes(before), bytes(after))


def _joined(series: Series, units: Units) -> bytes:
    return (b"," if series.comma else b"").join(units)
