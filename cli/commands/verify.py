"""`dag verify`: measure again, in isolation, and record whether the number came out again."""

from collections.abc import Sequence
from contextlib import closing

import click

from cli import options
from cli.app import App, verb
from cli.main import ExperimentFailed
from dagstore.errors import Refused
from dagstore.reproducing import Verification
from dagstore.verification import Verdict


@verb("verify")
@click.argument("wanted", metavar="NODE|RUN")
@options.allow
@options.agent
def command(app: App, wanted: str, allow: tuple[str, ...], agent: str | None) -> None:
    """Measure a run or a node again, in isolation, and record whether it agrees.

    A run is repeated with its own seed, a node with a new one, against the mean of its runs: in the strongest sandbox
    there is, in a fresh interpreter. Exit code 5 if the number differs or cannot be reproduced.

    \b
    Example:
      dag verify @best
    """
    found = _verify(app, wanted, allow, agent or app.agent)
    app.answer(found, _render)
    if found.verdict in (Verdict.DIFFERS.value, Verdict.NOT_REPRODUCED.value):
        short = str(found.node)[:12]
        raise ExperimentFailed(f"{short} {found.text}", hint=f"dag show {short}", code="not_verified")


def _verify(app: App, wanted: str, allow: Sequence[str], agent: str) -> Verification:
    from cli.measure import NOW, Speaking, make_worker, until_measured
    from trainer.policy import read_grants

    store = app.store()
    original = store.original(wanted)
    before = {run.id for run in store.runs(original.node)}
    ticket = store.queue_again(original, priority=NOW, agent=agent)
    try:
        with closing(make_worker(app, Speaking(app), grants=read_grants(allow, app.directory))) as worker:
            (run,) = until_measured(app, worker, ticket)
    except BaseException:
        store.cancel(ticket.number)
        raise
    if run.id in before:
        raise Refused(f"ticket {ticket.number} was cancelled by somebody else", hint="repeat the command")
    return store.verified(original, run.id, agent=agent)


def _render(found: Verification) -> None:
    from cli.render import line, styled

    color = {Verdict.AGREED.value: "green", Verdict.UNKNOWN.value: "yellow"}.get(found.verdict, "red")
    line(styled(str(found.node)[:12], "bold"), "  ", styled(found.text, color))
