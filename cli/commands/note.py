"""`dag note`: says something about a node."""

import click

from cli import options
from cli.app import App, verb
from cli.render import line, styled
from dagstore.views import NoteView


@verb("note")
@click.argument("node")
@click.argument("text")
@options.agent
def command(app: App, node: str, text: str, agent: str | None) -> None:
    """Say something about a node, for good; everybody sees it on the board.

    \b
    Example:
      dag note @best "diverges with other seeds: do not build on it"
    """
    app.answer(app.store().note(node, text, agent=agent or app.agent), _render)


def _render(note: NoteView) -> None:
    line("noted on ", styled(str(note.node)[:8], "bold"), f" as {note.author}")
