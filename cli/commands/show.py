"""`dag show`: everything known about one node."""

from collections.abc import Sequence
from typing import Any

import click

from cli.app import App, verb
from cli.commands.adopt import findings
from cli.listing import headline, status
from cli.picture import plot_option, save_picture
from cli.render import NOTHING, ago, line, number, seconds, styled, table
from dagstore.errors import NotFound
from dagstore.reproducing import Verification
from dagstore.store import Store
from dagstore.views import AdoptionView, Aliases, NodeView, NoteView, RunView
from trainer.verdict import tail

LOG_LINES = 15
RUNS = 20
"""How many of the last runs are shown as text; JSON has all."""
ALIASES = 3
CONTRADICTED = "not before somebody resolves what is open, in a child"


@verb("show")
@click.argument("node")
@plot_option("what its runs reported step by step")
def command(app: App, node: str, plot: str | None) -> None:
    """Show a node: what it changes, what was said of it, what it measured, and why it failed.

    \b
    dag show @last
    """
    store = app.store(readonly=True)
    if plot:
        saved = save_picture(app.path(plot), lambda: store.plot.curves(node))
        app.answer(saved, lambda answer: line(answer["plot"]))
        return
    found = store.node(node)
    answer = {
        **{name: getattr(found, name) for name in found.__dataclass_fields__},
        "runs": store.runs(found.id),
        "notes": store.notes(found.id),
        "verifications": store.verifications(found.id),
        "adoptions": store.adoptions(found.id),
        "diff": _diff(store, found),
        "claims": [claim for claim in store.claims() if claim.node == found.id],
        "children": len(store.children(found.id)),
        "lost": store.lost(found.id),
        "aliases": store.aliases(found.id),
    }
    app.answer(answer, lambda answer: _render(store, found, answer))


def _diff(store: Store, node: NodeView) -> dict[str, int]:
    """Counts against the primary parent; a root is all insertions."""
    diff = store.diff(node.id)
    return {"files": len(diff.files), "insertions": diff.insertions, "deletions": diff.deletions}


def _render(store: Store, node: NodeView, answer: dict[str, Any]) -> None:
    for name, value in _facts(store, node, answer):
        line(styled(f"{name:<11}", "dim"), value)
    verified = {it.id for it in answer["verifications"]}
    _notes([note for note in answer["notes"] if note.id not in verified])
    _adoptions(store, answer["adoptions"])
    _runs(answer["runs"])
    _verifications(answer["verifications"])
    if answer["runs"] and answer["runs"][-1].status.value != "ok":
        _failure(store, answer["runs"][-1])


def _facts(store: Store, node: NodeView, answer: dict[str, Any]) -> list[tuple[str, str]]:
    claims = [f"{claim.agent or 'nobody'} ({claim.purpose})" for claim in answer["claims"]]
    facts = (
        ("node", styled(str(node.id), "bold")),
        ("names", ", ".join(node.names)),
        ("known as", _aliases(answer["aliases"])),
        ("primary", store.short(node.primary) if node.primary else ""),
        ("adopted", ", ".join(store.short(id) for id in node.adopted)),
        ("children", str(answer["children"])),
        ("by", f"{node.agent or 'nobody'}, {ago(node.time)}" if node.time else ""),
        ("changes", _changes(**answer["diff"]) if answer["lost"] is None else ""),
        ("code", f"lost: it came from {answer['lost'].source} without any" if answer["lost"] else ""),
        ("measured", _measured(node)),
        ("in", _environment(answer["runs"])),
        ("claimed by", ", ".join(claims)),
    )
    return [(name, value) for name, value in facts if value]


def _aliases(aliases: Aliases) -> str:
    more = aliases.count - len(aliases.first[:ALIASES])
    return ", ".join(map(str, aliases.first[:ALIASES])) + (f" and {more} more" if more else "")


def _environment(runs: Sequence[RunView]) -> str:
    """What is known of the environment of the last run that says."""
    last = next((run for run in reversed(runs) if run.environment), None)
    return f"{last.environment_id}: " + ", ".join(map(" ".join, last.environment.items())) if last else ""


def _changes(files: int, insertions: int, deletions: int) -> str:
    return f"{files} file{'' if files == 1 else 's'} (+{insertions} -{deletions})"


def _measured(node: NodeView) -> str:
    if node.estimate is None:
        return {"new": "not yet", "contradicted": CONTRADICTED}.get(node.status) or status(node.status)
    if node.low is None or node.high is None:
        return f"{number(node.estimate)} (nothing was measured twice, so its noise is unknown)"
    return f"{number(node.estimate)} (90 %: {number(node.low)} to {number(node.high)})"


def _notes(notes: Sequence[NoteView]) -> None:
    for note in notes:
        line()
        line(styled(f"{note.kind} by {note.author or 'nobody'}, {ago(note.time)}", "dim"))
        line(note.text or "(without words)")


def _adoptions(store: Store, adoptions: Sequence[AdoptionView]) -> None:
    for adoption in adoptions:
        line()
        line(styled(f"composed onto {store.short(adoption.onto)} by {adoption.author}, {ago(adoption.time)}", "dim"))
        rows = [
            (
                f"{decision.path}: {decision.region}",
                styled(f"{decision.engine}, contradiction", "yellow") if decision.contradiction else decision.engine,
                ", ".join(store.short(id) for id in decision.origins),
            )
            for decision in adoption.decisions
        ]
        table(("region", "decided by", "as in"), rows)
        findings(adoption.findings)


def _verifications(found: Sequence[Verification]) -> None:
    for it in found:
        line()
        line(styled(f"verified by {it.author or 'nobody'}, {ago(it.time)}, with run {it.by[:8]}", "dim"))
        line(it.text)


def _runs(runs: Sequence[RunView]) -> None:
    if not runs:
        return
    line()
    if len(runs) > RUNS:
        line(styled(f"{len(runs)} runs, of which the last {RUNS} are", "dim"))
    columns = ("run", "status", "value", "seconds", "age", "seed", "platform", "protocol", "environment", "reason")
    table(columns, [_run(run) for run in runs[-RUNS:]], right=("value", "seed"))


def _run(run: RunView) -> tuple[str, ...]:
    value = f"{run.metric} {number(run.value)}" if run.value is not None else "-"
    took, age = (seconds(run.seconds) if run.seconds else NOTHING, ago(run.started) if run.started else NOTHING)
    seed = NOTHING if run.seed is None else str(run.seed)
    where = (run.platform, str(run.protocol)[:8], run.environment_id or NOTHING)
    return (str(run.id)[:8], status(run.status.value), value, took, age, seed, *where, headline(run.reason) or NOTHING)


def _failure(store: Store, run: RunView) -> None:
    line()
    code = "" if run.exit_code is None else f" (exit code {run.exit_code})"
    line(styled(f"the last run {run.status.value}{code}", "bold"), f": {run.reason}" if run.reason else "")
    for text in _log(store, run).splitlines()[-LOG_LINES:]:
        line(styled("  | ", "dim"), text)


def _log(store: Store, run: RunView) -> str:
    """The end of the run's log, or why there is none any more."""
    log = run.artifacts.get("log")
    try:
        return tail(store.blob(log)) if log is not None else ""
    except NotFound as error:
        return f"({error.message})"
