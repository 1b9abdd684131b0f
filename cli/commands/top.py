"""`dag top`: what goes on just now."""

import time
from typing import TYPE_CHECKING

import click

from cli.app import App, is_terminal, verb

if TYPE_CHECKING:
    from cli.top import Top
    from dagstore import Store

REFRESH_SECONDS = 0.5


@verb("top")
@click.option("--once", is_flag=True, help="Say it once and end; that is usual where nobody watches.")
def command(app: App, once: bool) -> None:
    """Show what the trainers of this store do, how long the line is, the last results and the best so far.

    Works from any terminal, while trainers run or not. Ctrl-C ends it.

    \b
    Example:
      dag top --once
    """
    from cli.top import top

    store = app.store(readonly=True)
    if once or app.as_json or not is_terminal():
        app.answer(top(store), lambda answer: _render(store, answer))
    else:
        _watch(app)


def _render(store: "Store", answer: "Top") -> None:
    from cli.render import line, table
    from cli.top import COLUMNS, ENDED, RIGHT, lines_of, result_of, rows_of, screen

    if is_terminal():
        from rich.console import Console

        Console().print(screen(store, answer))
        return
    if answer.slots:
        table(COLUMNS, rows_of(answer), right=RIGHT)
    for text in lines_of(answer):
        line(text)
    if answer.runs:
        table(ENDED, [result_of(run, store.short(run.node)) for run in reversed(answer.runs)], right=RIGHT)


def _watch(app: App) -> None:
    """Draw anew until interrupted, on a screen of its own."""
    from rich.console import Console
    from rich.live import Live

    from cli.top import screen, top

    store = app.store()
    try:
        with Live(console=Console(), screen=True, auto_refresh=False) as shown:
            while True:
                shown.update(screen(store, top(store)), refresh=True)
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return
