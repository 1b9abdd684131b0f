"""`dag effects`: what every distinct edit is worth, and which pairs of edits interact."""

from collections.abc import Sequence

import click

from cli.app import App, verb
from cli.commands.frontier import known_noise
from cli.picture import plot_option, save_picture
from cli.render import counted, line, number, styled, table
from dagstore.accounting import NODES
from dagstore.effects import Effect, Effects, Interaction

EDITS = ("effect", "90 % interval", "nodes", "alone", "edit")
PAIRS = ("more than the sum", "90 % interval", "nodes", "edits")
SHOWN = 40
"""Characters of what was there before, and of what is there now."""


@verb("effects")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many edits are shown.")
@click.option(
    "--nodes",
    type=click.IntRange(min=0),
    default=NODES,
    show_default=True,
    help="How many measured nodes, the newest, are looked at.",
)
@plot_option("the edits and their intervals")
def command(app: App, top: int, nodes: int, plot: str | None) -> None:
    """Say what every distinct edit is worth over all nodes that have it, and which pairs of edits interact.

    \b
    dag effects --top 10
    """
    store = app.store(readonly=True)
    if plot:
        saved = save_picture(app.path(plot), lambda: store.plot.effects(store.effects(nodes=nodes), top=top))
        app.answer(saved, lambda answer: line(answer["plot"]))
        return
    app.answer(store.effects(nodes=nodes), lambda effects: _render(effects, top))


def _render(effects: Effects, top: int) -> None:
    if not effects.nodes:
        line("no node was measured beside its primary parent yet, so no edit can be said to do anything")
        return
    line(styled(str(effects.metric), "bold"), f" on {effects.platform}, positive is better")
    line(known_noise(effects.noise))
    if effects.assumed:
        line(f"an sd of {number(effects.sd)} is assumed, as wide as the gains are: dag run --repeat tells")
    looked = f"{counted(len(effects.edits), 'edit')} of {counted(effects.nodes, 'node')}, {effects.repeated} in several"
    line(looked + (f"; {effects.outside} older nodes were not looked at: --nodes" if effects.outside else ""))
    _edits(effects.edits, top)
    line()
    if not effects.tested:
        line("no two edits occur together and each without the other, so none can be said to interact")
        return
    line(_tested(effects))
    rows = [_pair(effects.edits, pair) for pair in effects.pairs[:top]]
    if rows:
        table(PAIRS, rows, right=PAIRS[:1])


def _edits(rows: Sequence[Effect], top: int) -> None:
    """The best and, if not all fit, the worst."""
    best, worst = (rows, ()) if len(rows) <= top else (rows[: top - top // 4], rows[len(rows) - top // 4 :])
    table(EDITS, [_effect(row) for row in best], right=EDITS[:1] + EDITS[2:4])
    if worst:
        line(styled(f"… and the last {len(worst)} of {len(rows)}", "dim"))
        table(EDITS, [_effect(row) for row in worst], right=EDITS[:1] + EDITS[2:4])


def _tested(effects: Effects) -> str:
    of = f" of {effects.testable}" if effects.testable > effects.tested else ""
    asked = f"{counted(effects.tested, 'pair')}{of} of edits tested for interaction"
    return f"{asked}: {len(effects.pairs)} told, where chance alone tells {effects.by_chance:.1f}"


def _effect(row: Effect) -> tuple[str, ...]:
    interval = f"{row.low:+.4g} to {row.high:+.4g}"
    return (f"{row.effect:+.6g}", interval, str(row.n), str(row.alone), edit_in_words(row))


def _pair(rows: Sequence[Effect], pair: Interaction) -> tuple[str, ...]:
    interval = f"{pair.low:+.4g} to {pair.high:+.4g}"
    edits = " with ".join(edit_in_words(rows[at]) for at in (pair.one, pair.other))
    return (f"{pair.interaction:+.6g}", interval, str(pair.both), edits)


def edit_in_words(row: Effect) -> str:
    """Where an edit is, and what it makes of what."""
    before, after = (_short(data) for data in (row.before, row.after))
    change = f"{before} -> {after}" if before and after else f"+ {after}" if after else f"- {before}"
    return f"{row.path}: {row.region}  {change}"


def _short(data: bytes) -> str:
    text = " ".join(data[: 4 * SHOWN].decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
