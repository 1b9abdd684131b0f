"""What people see while work goes on: a line an experiment, and on a terminal a progress bar below them."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from agent.loop import Attempt
from cli.app import App
from cli.measure import outcome
from cli.render import counted, number
from dagstore.charter import Charter
from dagstore.printable import one_line
from dagstore.tickets import Ticket
from dagstore.views import RunView
from trainer.worker import Silent

if TYPE_CHECKING:
    from rich.progress import Progress


class Live:
    """Lines on stderr; on a terminal they scroll above one progress bar."""

    def __init__(self, app: App, bar: "Progress | None") -> None:
        self._app = app
        self._bar = bar
        self._task: Any = None

    def line(self, text: str, style: str = "") -> None:
        if self._bar is not None:
            self._bar.console.print(text, style=style, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
        else:
            self._app.say(text)

    def begin(self, text: str, total: float | None) -> None:
        """Start the bar anew; `total` None for work without a known end."""
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(text, total=total)

    def advance(self, done: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)


@contextmanager
def live(app: App) -> Iterator[Live]:
    """A place to show progress: rich on a terminal, plain lines elsewhere, nothing with `--json`."""
    if app.as_json or not sys.stderr.isatty():
        yield Live(app, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Live(app, bar)


class Training(Silent):
    """Shows a trainer at work."""

    def __init__(self, app: App, shown: Live) -> None:
        self._app = app
        self._live = shown
        self._since = 0.0
        self._drawn = 0.0

    def begin(self, ticket: Ticket, charter: Charter) -> None:
        self._since = time.monotonic()
        self._live.begin(f"{str(ticket.node)[:8]} {one_line(charter.command, 40)}", charter.budget)

    def output(self, chunk: bytes) -> None:
        now = time.monotonic()
        if now - self._drawn > 0.1:
            self._drawn = now
            self._live.advance(now - self._since)

    def end(self, run: RunView) -> None:
        style = "" if run.status.value == "ok" else "red"
        node = self._app.store().node(run.node)
        self._live.line(f"{node.short}  {one_line(outcome(run), 60)}  {one_line(node.message, 80)}", style)

    def summary(self, runs: Iterable[RunView]) -> None:
        """The answer in text: how many ended how."""
        counts: dict[str, int] = {}
        for run in runs:
            counts[run.status.value] = counts.get(run.status.value, 0) + 1
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing was in line"
        click.echo(f"{counted(sum(counts.values()), 'run')}: {told}")


@contextmanager
def watch_training(app: App) -> Iterator[Training]:
    with live(app) as shown:
        yield Training(app, shown)


def attempt_line(app: App, count: int, attempt: Attempt) -> tuple[str, str]:
    """One attempt of an agent as a line, and its style."""
    store = app.store()
    parents = "+".join(store.short(parent) for parent in attempt.parents)
    node = store.short(attempt.node) if attempt.node else "-" * 8
    result = attempt.outcome
    if attempt.run is not None:
        value = attempt.run.value
        result = number(value) if value is not None else attempt.run.status.value
    best = "  best so far" if attempt.best else ""
    style = "bold green" if attempt.best else "" if attempt.run and attempt.run.value is not None else "yellow"
    who, why = one_line(attempt.agent, 40), one_line(attempt.why, 90)
    return f"{count:>4}  {who}  {parents} → {node}  {result:>9}  {why}{best}", style
