"""`dag diff`: what changed between two nodes."""

import os

import click

from cli.app import App, is_terminal, verb
from dagstore.printable import printable
from dagstore.views import Diff, plain

COLOURS = {"@": "cyan", "+": "green", "-": "red"}
WORDS = {"mode": "mode changed", "added": "added, empty", "deleted": "deleted, was empty", "modified": "changed"}
"""Where there is no text to compare."""


@verb("diff")
@click.argument("old", metavar="A")
@click.argument("new", metavar="[B]", required=False)
def command(app: App, old: str, new: str | None) -> None:
    """Show what changed from A to B, or in A from its primary parent, as a unified diff.

    \b
    dag diff @best
    dag diff @seed @best | patch -p1
    """
    found = app.store(readonly=True).diff(old, new)
    if app.as_json:
        counts = {"insertions": found.insertions, "deletions": found.deletions}
        app.answer({**plain(found), **counts}, lambda _: None)
        return
    _render(found)
    if found.lost:
        app.say(f"nothing to compare: the code of {' and '.join(str(id)[:8] for id in found.lost)} is lost")
    elif not found.files:
        app.say("no difference")


def _render(diff: Diff) -> None:
    """A terminal gets colour and no control characters; a pipe gets the diff as it is, for a patch must be exact."""
    for file in diff.files:
        text = file.text or f"{file.path}: {WORDS[file.change]}\n"
        click.echo(_coloured(printable(text)) if is_terminal() else text, nl=False)


def _coloured(text: str) -> str:
    if os.environ.get("NO_COLOR"):
        return text
    lines = text.split("\n")
    heads = [click.style(line, bold=True) for line in lines[:2]]
    return "\n".join(heads + [click.style(line, fg=COLOURS.get(line[:1])) for line in lines[2:]])
