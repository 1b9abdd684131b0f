"""What goes on in a store just now: slots, the line, the last results and the best so far. No daemon is asked.

Slots are told by the files that their workers keep in the store's folder, everything else by the store.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cli.listing import headline, status
from cli.render import NOTHING, counted, now, number, seconds, styled
from dagstore import Store
from dagstore.claims import MEASURE, Claim
from dagstore.ids import NodeId
from dagstore.printable import one_line
from dagstore.shown import Rows, Shown
from dagstore.views import RunView
from trainer.slottime import SlotTime
from trainer.status import Status, read_statuses

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

LAST = 5
COLUMNS = ("slot", "node", "elapsed", "of", "says", "message")
ENDED = ("last", "status", "took", "result")
RIGHT = ("elapsed", "of", "took")
CUT = ("says", "message", "result")
"""Columns that give way where the terminal is narrow."""


@dataclass(frozen=True, slots=True)
class SlotView(Shown):
    """A slot. `node` is None and `ticket` 0 while it waits. `said` is the last line with a number in it: untrusted.

    `elapsed` and `budget` in seconds. `told` is False where only the claim is known: another machine's, or one whose
    trainer is gone.
    """

    slot: str
    runner: str
    platform: str
    node: NodeId | None
    short: str
    message: str
    ticket: int
    elapsed: float
    budget: float
    said: str
    told: bool


@dataclass(frozen=True, slots=True)
class Best(Shown):
    id: NodeId
    short: str
    estimate: float | None
    message: str


@dataclass(frozen=True, slots=True)
class Top(Shown):
    """`waiting` tickets are in line besides those in hand; `share` is of the slots' time so far, None if not told."""

    slots: Rows[SlotView]
    waiting: int
    share: float | None
    metric: str | None
    best: Best | None
    runs: Rows[RunView]


def top(store: Store) -> Top:
    """What goes on just now."""
    frontier, statuses = store.frontier(top=1), read_statuses(store.folder / "scratch")
    best = next((Best(row.id, row.short, row.estimate, headline(row.message)) for row in frontier.nodes), None)
    claims = [claim for claim in store.claims() if claim.purpose == MEASURE]
    spent = [SlotTime(1, one.inside, one.around, one.waiting) for one in statuses]
    inside, around = sum(one.inside for one in spent), sum(one.around for one in spent)
    return Top(
        slots=Rows(_slots(store, statuses, claims)),
        waiting=sum(1 for ticket in store.tickets() if not ticket.token),
        share=inside / (inside + around) if inside + around else None,
        metric=frontier.metric,
        best=best,
        runs=Rows(store.runs()[-LAST:]),
    )


def _slots(store: Store, statuses: Sequence[Status], claims: Iterable[Claim]) -> list[SlotView]:
    held = {claim.token: claim for claim in claims}
    told = [_told(store, one, held.pop(one.token, None)) for one in statuses]
    return told + [_claimed(store, claim) for claim in held.values()]


def _told(store: Store, it: Status, claim: Claim | None) -> SlotView:
    """What a worker says of its slot; the node is the claim's, for a file may say anything."""
    if claim is None:
        return SlotView(it.slot, it.runner, it.platform, None, "", "", 0, 0.0, 0.0, "", told=True)
    node = store.node(claim.node)
    elapsed = max(0.0, (now() - it.started) / 1000)
    said = one_line(it.said, 200)
    return SlotView(
        *(it.slot, it.runner, it.platform, claim.node, node.short, headline(node.message)),
        *(claim.ticket, elapsed, it.budget, said),
        told=True,
    )


def _claimed(store: Store, claim: Claim) -> SlotView:
    node, elapsed = store.node(claim.node), max(0.0, (now() - claim.started) / 1000)
    message = headline(node.message)
    return SlotView("", claim.agent, "", claim.node, node.short, message, claim.ticket, elapsed, 0.0, "", told=False)


# --- as text ---


def rows_of(answer: Top) -> list[tuple[str, ...]]:
    """The slots as cells under `COLUMNS`."""
    return [_row(slot) for slot in answer.slots]


def _row(slot: SlotView) -> tuple[str, ...]:
    if slot.node is None:
        return (slot.slot, styled("waits", "dim"), "", "", "", slot.runner)
    name = slot.slot if slot.told else styled("?", "dim")
    said = slot.said if slot.told else styled(f"claimed by {slot.runner}", "dim")
    budget = seconds(slot.budget) if slot.budget else NOTHING
    return (name, styled(slot.short, "bold"), seconds(slot.elapsed), budget, said or NOTHING, slot.message)


def lines_of(answer: Top) -> list[str]:
    """How long the line is, how well slots are used, and the best so far."""
    used = "" if answer.share is None else f", {answer.share:.1%} of slot time in experiments"
    busy = sum(slot.node is not None for slot in answer.slots)
    lines = [f"{busy} of {counted(len(answer.slots), 'slot')} busy, {answer.waiting} in line{used}"]
    best = answer.best
    return lines + ([f"best: {number(best.estimate)}  {best.short}  {one_line(best.message, 80)}"] if best else [])


def result_of(run: RunView, short: str) -> tuple[str, ...]:
    """A run as cells under `ENDED`."""
    value = number(run.value) if run.value is not None else one_line(run.reason, 200)
    return (styled(short, "bold"), status(run.status.value), seconds(run.seconds), value)


def screen(store: Store, answer: Top, *, results: bool = True) -> "RenderableType":
    """The whole as something that rich draws, a line each, cut to the terminal's width."""
    from rich.console import Group

    parts: list[RenderableType] = [_grid(COLUMNS, rows_of(answer))]
    parts += [_cell(styled(text, "dim")) for text in lines_of(answer)]
    if results and answer.runs:
        ended = [result_of(run, store.short(run.node)) for run in reversed(answer.runs)]
        parts += [_cell(""), _grid(ENDED, ended)]
    return Group(*parts)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> "RenderableType":
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, *cells in zip(columns, *rows, strict=True):
        justify: Literal["left", "right"] = "right" if name in RIGHT else "left"
        least = 1 if name in CUT else max(len(cell) for cell in (name, *cells))
        grid.add_column(name, no_wrap=True, overflow="ellipsis", justify=justify, min_width=least)
    for row in rows:
        grid.add_row(*(_cell(cell) for cell in row))
    return grid


def _cell(text: str) -> "Text":
    from rich.text import Text

    return Text(one_line(text, 300), style=getattr(text, "style", ""), no_wrap=True, overflow="ellipsis")
