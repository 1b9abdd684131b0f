"""What the places of a file are called, and which rung of the ladder reaches them."""

from collections.abc import Iterable, Sequence

from dagstore.adopt.units import Series, Unit

_RUNGS = {
    "argument": "argument",
    "parameter": "parameter",
    "item": "item",
    "tuple": "item",
    "key": "key",
    "name": "import",
    "decorator": "decorator",
    "line": "lines",
    "word": "words",
    "assignment": "assignment",
    "import": "import",
    "function": "entity",
    "class": "entity",
    "clause": "entity",
}

_FORMS = {
    "argument": "({nth})",
    "parameter": "({nth})",
    "item": "[{nth}]",
    "tuple": "[{nth}]",
    "name": " {name}",
    "decorator": "@{name}",
    "word": "",
    "document": "",
}
"""What is put behind the region that a series of a kind is in; others are followed by a name or by lines."""


def rung_of(kind: str, units: Sequence[Unit], *, deep: bool) -> str:
    """The rung for units in a series of that kind, or for the slots of that kind."""
    if kind != "statement":
        return _RUNGS.get(kind, "")
    said = _RUNGS.get(units[0].kind, "") if units else ""
    return said or ("entity" if deep else "lines")


def called(parent: str, row: Series, start: int, end: int, names: Iterable[str]) -> str:
    """The name of the units `start:end` of a series in the region `parent`; `names` are those of what is done there."""
    told = set(names)
    name = told.pop() if len(told) == 1 else ""
    if not name and end - start == 1:
        name = row.units[start].item.name
    if row.kind in _FORMS:
        nth = start + (row.kind in ("argument", "parameter"))
        return parent + _FORMS[row.kind].format(name=name, nth=name or f"#{nth}").rstrip()
    glue, where = (".", name) if name else (":", _lines(row.units, start, end))
    return f"{parent}{glue}{where}" if parent else where


def _lines(units: Sequence[Unit], start: int, end: int) -> str:
    # An insertion ends before it starts: `L8-7` stands between lines 7 and 8.
    if start < end:
        return f"L{units[start].lines[0]}-{units[end - 1].lines[1]}"
    first = units[start].lines[0] if start < len(units) else units[-1].lines[1] + 1 if units else 1
    return f"L{first}-{first - 1}"
