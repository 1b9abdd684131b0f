"""`dag blame`: which node brought each line of a file, and why."""

import re
import shutil

import click

from cli import options
from cli.app import App, is_terminal, verb
from cli.render import NOTHING, ago, line, now, styled
from dagstore.printable import one_line, printable
from dagstore.views import Blame, BlameLine

AGENT = 12
"""Columns of an agent's name at most."""
LEAST, MOST = 12, 40
"""Columns of a message: on a terminal as many as the lines of the file leave it, between these two."""
SAID = 3
"""Which column it is."""
GAP = "  "
_LINES = re.compile(r"([0-9]{0,9}),([0-9]{0,9})")


class Lines(click.ParamType[tuple[int, int | None]]):
    """Lines of a file, written FIRST,LAST; what is left out is its first or its last line."""

    name = "lines"

    def convert(
        self, value: str | tuple[int, int | None], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        if isinstance(value, tuple):
            return value
        match = _LINES.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not FIRST,LAST, for instance 10,20", param, ctx)
        first, last = int(match[1] or 1), int(match[2]) if match[2] else None
        if first < 1 or (last is not None and last < first):
            self.fail(f"{value!r} means no lines: they count from 1, and LAST is not before FIRST", param, ctx)
        return first, last


@verb("blame")
@click.argument("place", metavar="NODE:PATH", type=options.Place())
@click.option("-L", "lines", metavar="FIRST,LAST", type=Lines(), default=",", help="Only these lines of the file.")
def command(app: App, place: tuple[str, str], lines: tuple[int, int | None]) -> None:
    """Name for every line of a file the node that brought it, through any number of adoptions, and why.

    Of a line that an adopted node put together, `⇠` names the donors of its words.

    \b
    dag blame @best:train.py
    dag blame @best:train.py -L 10,20
    """
    first, last = lines
    found = app.store(readonly=True).blame(*place, first=first, last=last)
    app.answer(found, _render)
    if not found.lines:
        app.say(f"{found.path} is empty")


def _render(found: Blame) -> None:
    present = now()
    digits = len(str(max((one.number for one in found.lines), default=0)))
    rows = [(*_head(one, present), f"{one.number:>{digits}}") for one in found.lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if rows and is_terminal():
        others = sum(widths) - widths[SAID] + len(GAP) * len(widths)
        longest = max(len(printable(one.text)) for one in found.lines)
        widths[SAID] = _room(widths[SAID], others + longest)
    for one, row in zip(found.lines, rows, strict=True):
        short, *rest = (_fit(cell, width) for cell, width in zip(row, widths, strict=True))
        line(styled(short, "bold"), GAP, styled(GAP.join(rest), "dim"), GAP, one.text)


def _head(one: BlameLine, present: int) -> tuple[str, str, str, str]:
    """What stands before a line, safe to show: short id, agent, age, message."""
    age = ago(one.time, present) if one.time else NOTHING
    donors = "".join(f"⇠ {str(id)[:8]} " for id in one.origins)
    return one.short, one_line(one.agent, AGENT) or NOTHING, age, one_line(donors + one.message, MOST)


def _room(wanted: int, others: int) -> int:
    """The columns of a terminal that messages get: as many as are left, but not fewer than LEAST."""
    return min(wanted, max(LEAST, shutil.get_terminal_size().columns - others))


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
