"""How answers look to people: colour and fitted tables on a terminal, plain aligned text everywhere else.

Every text passes `printable` here, so a caller may hand over what agents and experiments wrote.
"""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cli.app import is_terminal
from dagstore.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

NOTHING = "-"
"""Stands where there is no value; an empty cell would read like a mistake."""


class Styled(str):
    """Text with a rich style that only a terminal shows; it counts as its plain text everywhere."""

    __slots__ = ("style",)
    style: str


def styled(text: str, style: str) -> Styled:
    """`text` that `line` and `table` show in a rich style (`bold`, `dim`, `red` …) on a terminal."""
    made = Styled(text)
    made.style = style
    return made


def line(*parts: str) -> None:
    """Print one answer line made of parts, each of which may be `styled`; a terminal gets it wrapped to its width."""
    if is_terminal():
        _console().print(_rich(parts), overflow="fold")
    else:
        click.echo("".join(printable(part) for part in parts))


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", right: Collection[str] = ()
) -> None:
    """Print rows under their column names, with the columns named in `right` aligned right.

    On a terminal it fits the width: the last column wraps, then the others are cut. Elsewhere nothing is cut.
    """
    if is_terminal():
        _rich_table(columns, rows, title, right)
    else:
        _plain_table(columns, rows, title, right)


def number(x: float | None) -> str:
    """Six significant digits, or a dash."""
    return NOTHING if x is None else f"{x:.6g}"


def seconds(s: float) -> str:
    """A duration in its two largest units: `0.42 s`, `12.3 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`."""
    if s < 60:
        return f"{s:.2f} s" if s < 1 else f"{s:.3g} s"
    whole = round(s)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def ago(ms: int, now_ms: int | None = None) -> str:
    """How long before now a time in ms since the epoch was: `3 min ago`, or `in 3 min` for one to come."""
    past = (now() if now_ms is None else now_ms) - ms
    if abs(past) < 2000:
        return "just now"
    amount = _coarse(abs(past) // 1000)
    return f"{amount} ago" if past > 0 else f"in {amount}"


def now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def _coarse(whole: int) -> str:
    sizes = ((86400, "d"), (3600, "h"), (60, "min"))
    return next((f"{whole // size} {unit}" for size, unit in sizes if whole >= size), f"{whole} s")


def counted(count: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: float) -> str:
    """A number of bytes: `512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, right: Collection[str]) -> None:
    lines = [tuple(columns), *(tuple(_cell(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
        for row in lines
    )
    for text in ([title] if title else []) + [row.rstrip() for row in aligned]:
        click.echo(printable(text))


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, right: Collection[str]) -> None:
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        last = name == columns[-1]
        shown.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=not last,
            overflow="fold" if last else "ellipsis",
        )
    for row in rows:
        shown.add_row(*(_rich([_cell(cell)]) for cell in row))
    _console().print(shown)


def _cell(text: str) -> str:
    """One printable line, still styled if it was."""
    clean = " ".join(printable(text).splitlines()).expandtabs(1)
    return styled(clean, text.style) if isinstance(text, Styled) else clean


def _rich(parts: Sequence[str]) -> "Text":
    from rich.text import Text

    return Text.assemble(*((printable(part), getattr(part, "style", "")) for part in parts))


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, to be called with steps done and in all; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield show
