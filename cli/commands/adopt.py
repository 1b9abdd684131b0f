"""`dag adopt`: composes the changes of nodes."""

from collections.abc import Sequence
from dataclasses import replace

import click

from cli import options
from cli.app import App, verb
from cli.commands.seal import changes, measured
from cli.render import line, styled, table
from dagstore.model import OPEN, Decision, GateFinding, Side
from dagstore.views import Adopted, Rows

_SHOWN = 200
_GATES = {
    "parses": "does not parse",
    "undefined": "undefined name",
    "duplicate": "defined twice",
    "uses": "uses what another changed",
    "lost": "lost from a donor",
    "locked": "locked path",
}


@verb("adopt")
@click.argument("nodes", metavar="A B [C …]", nargs=-1, required=True)
@options.why
@options.agent
@options.primary
@click.option("--prefer", metavar="best|primary|NODE", default="best", help="Who wins where they disagree.")
@options.own
@options.only
@click.option("--strict", is_flag=True, help="Leave contradictions open; a child of the node has to resolve them.")
@click.option("--plan", "--dry-run", "dry_run", is_flag=True, help="Only say what would be recorded.")
@click.option("--run", "run", is_flag=True, help="Measure the result right away.")
def command(
    app: App,
    nodes: tuple[str, ...],
    why: str,
    agent: str | None,
    primary: str | None,
    prefer: str,
    own: bool,
    only: tuple[str, ...],
    strict: bool,
    dry_run: bool,
    run: bool,
) -> None:
    """Compose the changes of several nodes into one; it never blocks, in any order.

    \b
    Example:
      dag adopt 3f9c 81ab @best -m "three gains that touch different places" --run
      dag adopt 3f9c 81ab --own --only train.py:MLP --plan
    """
    if dry_run and run:
        raise click.UsageError("--plan records nothing that --run could measure")
    made = app.store().adopt(
        *nodes,
        primary=primary,
        why=why,
        agent=agent or app.agent,
        prefer=prefer,
        own=own,
        only=only,
        strict=strict,
        dry_run=dry_run,
    )
    if run:
        _measure(app, made)
        return
    app.answer(made, _render)
    if made.open and made.recorded:
        app.say(f"next: dag spawn {made.short}, resolve what is open, dag seal")
    elif not made.runs and made.recorded:
        app.say(f"next: dag run {made.short}    or: dag queue {made.short}")


def _measure(app: App, made: Adopted) -> None:
    """Answer with every run of the node, those made now included; `ExperimentFailed` if one of these is not ok."""
    from cli.measure import check_ok, run_now

    app.say(f"{made.node} is recorded and being measured")
    done = run_now(app, [str(made.node)], None)
    known = {run.id for run in made.runs}
    runs = Rows((*made.runs, *(run for run in done if run.id not in known)))
    app.answer(replace(made, runs=runs), _render)
    check_ok(done)


def _render(made: Adopted) -> None:
    line(styled(made.short, "bold"), "  ", _standing(made))
    if made.node != made.onto:
        line(f"onto {str(made.onto)[:8]}, {changes(made.diff)}")
    rows = [(_path(one), one.region, _engine(one), _origins(one.origins)) for one in made.decisions]
    if rows:
        table(("path", "region", "decided by", "from"), rows)
    for decision in made.decisions:
        if decision.contradiction:
            _contradiction(decision)
    findings(made.findings)
    for run in made.runs:
        line(measured(run))


def findings(found: Sequence[GateFinding]) -> None:
    """What the gates found, a line each."""
    for one in found:
        where = f"{one.path}:{one.line}" if one.line else one.path
        whose = f"  ({_origins(one.origins)})" if one.origins else ""
        line(styled(f"{_GATES.get(one.gate, one.gate)} ", "yellow"), f"{where}  {one.text}{whose}")


def _standing(made: Adopted) -> str:
    if made.node == made.onto:
        return "is what comes of it: the others bring nothing that it takes"
    return "not recorded (dry run)" if not made.recorded else "known already" if made.known else "recorded"


def _contradiction(decision: Decision) -> None:
    word, taken = ("open", "for now") if decision.engine == OPEN else ("contradiction", "taken")
    line(styled(f"{word} ", "yellow"), f"in {_path(decision)} {decision.region}, all sides are kept:")
    for side in decision.sides:
        mark = taken if set(side.origins) & set(decision.origins) else " " * len(taken)
        line(f"  {mark}  {_origins(side.origins)}  {_excerpt(side)}")


def _excerpt(side: Side) -> str:
    text = " ".join(side.text.decode("utf-8", "replace").split())
    return text[: _SHOWN - 1] + "…" if len(text) > _SHOWN else text


def _path(decision: Decision) -> str:
    return decision.path or "(everything)"


def _engine(decision: Decision) -> str:
    return styled(decision.engine, "yellow") if decision.contradiction else decision.engine


def _origins(ids: Sequence[object]) -> str:
    return " ".join(str(id)[:8] for id in ids)
