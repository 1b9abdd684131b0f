"""What people see while work goes on: a line an experiment, and on a terminal a progress bar below them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agent.loop import Attempt
from cli.app import App
from cli.render import number
from dagstore.printable import one_line

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
