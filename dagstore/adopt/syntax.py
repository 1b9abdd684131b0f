"""How the files of a kind are taken apart, chosen by their name. A new kind of file is a new row here."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from dagstore.adopt import data, python
from dagstore.adopt.source import Parsed, parse
from dagstore.adopt.units import Item, Series, Unit
from dagstore.adopt.versions import reread
from dagstore.lines import split_lines

LINE = Item("line")
LIMIT = 4_000_000
"""Bytes above which a file is only taken apart into lines."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """A language that tree-sitter parses: `read` gives what a file is made of, None if it is not well-formed; `valid`
    says whether it is, and `sound` the same sooner, if all but a few of its top units are those of well-formed files.
    Without a language a file is made of lines.
    """

    language: str
    read: Callable[[Parsed], Series | None]
    valid: Callable[[bytes], bool]
    sound: Callable[[bytes, Sequence[bytes]], bool]


def lines_of(text: bytes) -> Series:
    """The lines of a file."""
    rows = split_lines(text)
    return Series("line", tuple(Unit.of(row, LINE, (at, at)) for at, row in enumerate(rows, start=1)))


PLAIN = Syntax("", lambda file: lines_of(file.source.data), lambda text: True, lambda text, fresh: True)
PYTHON = Syntax("python", python.read, python.valid, python.sound)
JSON = Syntax("json", data.read_json, data.valid_json, lambda text, fresh: data.valid_json(text))
TOML = Syntax("toml", data.read_toml, data.valid_toml, lambda text, fresh: data.valid_toml(text))
YAML = Syntax("yaml", data.read_yaml, data.valid_yaml, lambda text, fresh: data.valid_yaml(text))

BY_SUFFIX = {
    ".py": PYTHON,
    ".pyi": PYTHON,
    ".pyw": PYTHON,
    ".json": JSON,
    ".toml": TOML,
    ".yaml": YAML,
    ".yml": YAML,
}


def syntax_of(path: str) -> Syntax:
    """The syntax of the file at `path`; plain lines unless its suffix is known."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return BY_SUFFIX.get(dot + suffix.lower(), PLAIN) if stem else PLAIN


class Text:
    """One version of a text file, which may be `like` another one; then the lines of its units are not to be asked for.

    It is read as if its last line ended as well; `ended` says whether it does.
    """

    def __init__(self, text: bytes, syntax: Syntax, like: "Text | None" = None) -> None:
        self.data = text
        self.syntax = syntax
        self._like = like
        self.ended = not text or text.endswith(b"\n")
        self.full = text if self.ended else text + b"\n"

    @cached_property
    def series(self) -> Series | None:
        """What it is made of by its syntax, where that can be told."""
        if not self.syntax.language:
            return self.lines
        if len(self.data) > LIMIT or self.data.count(b"\r") != self.data.count(b"\r\n"):
            return None
        near = self._like.series if self._like else None
        return (reread(self.full, near) if near else None) or self.syntax.read(self.parsed)

    @cached_property
    def parsed(self) -> Parsed:
        """To be asked for where there is a language."""
        return parse(self.syntax.language, self.full, self._like.parsed if self._like else None)

    @cached_property
    def lines(self) -> Series:
        return lines_of(self.full)

    @cached_property
    def valid(self) -> bool:
        return self.syntax.valid(self.data)

    @cached_property
    def known(self) -> frozenset[Unit]:
        """The units that it is made of by its syntax."""
        return frozenset(self.series.units if self.series else ())

    @cached_property
    def doubled(self) -> frozenset[str]:
        """Names that it gives to more than one of them."""
        return doubled(self.series.units if self.series else ())


def doubled(units: Iterable[Unit]) -> frozenset[str]:
    """Names of entities that are there more than once; to import something twice does no harm."""
    items = (unit.item for unit in units if not unit.blank)
    counts = Counter(item.name for item in items if item.entity and item.kind != "import")
    return frozenset(name for name, count in counts.items() if name and count > 1)
