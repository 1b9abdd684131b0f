"""`dag claims`: who works on what."""

from collections.abc import Sequence

from cli.app import App, verb
from cli.render import ago, line, now, styled, table
from dagstore.claims import Claim


@verb("claims")
def command(app: App) -> None:
    """List who works on what and until when, oldest first.

    \b
    Example:
      dag claims --json
    """
    claims = app.store(readonly=True).claims()
    app.answer({"claims": claims}, lambda _: _render(claims))


def _render(claims: Sequence[Claim]) -> None:
    if not claims:
        line("nobody claims anything")
        return
    rows = [
        (str(claim.token), str(claim.node)[:8], claim.purpose, ago(claim.started), _until(claim), claim.agent)
        for claim in claims
    ]
    table(("token", "node", "to", "since", "until", "agent"), rows, right=("token",))


def _until(claim: Claim) -> str:
    return styled("overdue", "yellow") if claim.deadline <= now() else ago(claim.deadline)
