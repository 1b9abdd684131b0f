"""`dag board`: what was said lately."""

from collections.abc import Sequence

import click

from cli.app import App, verb
from cli.listing import headline
from cli.render import ago, line, table
from dagstore.verification import KIND
from dagstore.views import NoteView


@verb("board")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
def command(app: App, limit: int) -> None:
    """Show the latest notes about any node, newest first.

    \b
    Example:
      dag board --limit 50
    """
    notes = app.store(readonly=True).board(limit)
    app.answer({"notes": notes}, lambda _: _render(notes))


def _text(note: NoteView) -> str:
    return headline(note.text) if note.kind == KIND else note.text


def _render(notes: Sequence[NoteView]) -> None:
    if not notes:
        line("nobody said anything")
        return
    rows = [(ago(note.time), str(note.node)[:8], note.kind, note.author, _text(note)) for note in notes]
    table(("when", "node", "kind", "who", "said"), rows)
