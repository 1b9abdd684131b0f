"""`dag logs`: what an experiment printed, also while it runs."""

import codecs
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cli.app import App, verb
from dagstore import BadInput, NotFound, Store
from dagstore.claims import Standing
from dagstore.model import Status
from dagstore.printable import printable
from dagstore.tickets import Ticket
from dagstore.views import RunView

POLL_SECONDS = 0.1


@verb("logs")
@click.argument("wanted", metavar="RUN|NODE|TICKET")
@click.option("--follow", is_flag=True, help="Go on with what a running experiment prints, until it ends.")
def command(app: App, wanted: str, follow: bool) -> None:
    """Write what an experiment printed: of a run, of the one in hand for a ticket or node, else of its last run.

    Control characters are escaped. Of a long log the first and the last part are kept.

    \b
    Example:
      dag logs @last --follow
    """
    if follow and app.as_json:
        raise click.UsageError("--follow writes text as it comes, so it cannot answer with one JSON document")
    store = app.store(readonly=True)
    ticket = _in_hand(store, wanted)
    if ticket is None:
        app.answer(_recorded(store, _run(store, wanted)), _render)
    elif follow:
        _follow(app, store, ticket)
    else:
        app.answer(_running(store, ticket), _render)


def _in_hand(store: Store, wanted: str) -> Ticket | None:
    """The ticket that is being measured, by its number or its node."""
    held = [ticket for ticket in store.tickets() if ticket.token]
    numbered = next((ticket for ticket in held if str(ticket.number) == wanted), None)
    if numbered is not None or not held:
        return numbered
    try:
        node = store.resolve(wanted)
    except (NotFound, BadInput):
        return None
    return next((ticket for ticket in held if ticket.node == node), None)


def _run(store: Store, wanted: str) -> RunView:
    """The run of that id, else the last one of the node; `NotFound` if it has none."""
    try:
        return store.run(wanted)
    except (NotFound, BadInput):
        runs = store.runs(wanted)
    if not runs:
        raise NotFound(f"{wanted} was not measured yet", hint=f"measure it with `dag run {wanted}`")
    return runs[-1]


def _recorded(store: Store, run: RunView) -> dict[str, Any]:
    if "log" not in run.artifacts:
        why = "its trainer vanished" if run.status is Status.LOST else "it has none"
        raise NotFound(f"run {str(run.id)[:12]} has no log: {why}", hint="`dag show NODE` lists the runs of a node")
    log = store.blob(run.artifacts["log"])
    return {"run": run.id, "node": run.node, "ticket": run.seed, "status": run.status, "log": _text(log)}


def _running(store: Store, ticket: Ticket) -> dict[str, Any]:
    from trainer.output import output_so_far

    log = output_so_far(_home(store, ticket))
    return {"run": None, "node": ticket.node, "ticket": ticket.number, "status": "running", "log": _text(log)}


def _render(answer: dict[str, Any]) -> None:
    log = _shown(answer["log"])
    click.echo(log, nl=bool(log) and not log.endswith("\n"))


def _follow(app: App, store: Store, ticket: Ticket) -> None:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    for chunk in _chunks(store, ticket):
        click.echo(_shown(decode(chunk)), nl=False)
    ended = [run for run in store.runs(ticket.node) if run.seed == ticket.seed][-1:]
    app.say(f"ended: {ended[0].status.value}" if ended else "ended without a run, and may be in line again")


def _chunks(store: Store, ticket: Ticket) -> Iterator[bytes]:
    """The output so far and what comes, until the experiment is recorded or given up."""
    from trainer.output import Follower

    claim = next((claim for claim in store.claims() if claim.token == ticket.token), None)
    follower = Follower(_home(store, ticket))
    yield follower.begin()
    while claim is not None and store.standing(claim) is not Standing.LOST:
        time.sleep(POLL_SECONDS)
        yield from follower.more()
    yield from follower.more()
    follower.close()


def _home(store: Store, ticket: Ticket) -> Path:
    return store.folder / "scratch" / str(ticket.token)


def _text(log: bytes) -> str:
    return log.decode("utf-8", "replace")


def _shown(text: str) -> str:
    """As a terminal may have it: what a carriage return would overwrite stands on lines of its own."""
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"))
