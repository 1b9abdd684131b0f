"""What people see while `dag train` works: a line an experiment, and on a terminal the slots below them."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.app import App
from cli.measure import outcome
from cli.render import counted, line, seconds
from cli.training import Drained
from dagstore.errors import DagError
from dagstore.printable import one_line
from dagstore.views import RunView
from trainer.slottime import SlotTime
from trainer.worker import Silent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

REFRESH = 4
"""Times a second."""


class Lines(Silent):
    """A line on stderr for every experiment that has ended."""

    def __init__(self, app: App) -> None:
        self._app = app

    def end(self, run: RunView) -> None:
        node = self._app.store().node(run.node)
        text = f"{node.short}  {one_line(outcome(run), 60)}  {one_line(node.message, 80)}"
        self._show(text, "" if run.status.value == "ok" else "red")

    def pass_by(self, what: str, hint: str) -> None:
        self._show(f"passed by: nodes that ask for {one_line(what, 300)}", "yellow")
        self._show(f"  → {one_line(hint, 500)}", "yellow")

    def _show(self, text: str, _style: str) -> None:
        self._app.say(text)


class Above(Lines):
    """The same lines, which scroll above what is drawn on a console."""

    def __init__(self, app: App, console: "Console") -> None:
        super().__init__(app)
        self._console = console

    def _show(self, text: str, style: str) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)


@contextmanager
def watch_training(app: App) -> Iterator[Lines]:
    """On a terminal, the slots are drawn there as long as this lasts, without a daemon and without flicker."""
    if app.as_json or not sys.stderr.isatty():
        yield Lines(app)
        return
    from rich.console import Console
    from rich.live import Live

    from cli.top import screen, top

    store = app.store()

    def draw() -> "RenderableType":
        try:
            return screen(store, top(store), results=False)
        except DagError as error:
            return one_line(str(error))

    console = Console(stderr=True)
    with Live(get_renderable=draw, console=console, refresh_per_second=REFRESH, transient=True):
        yield Above(app, console)


def summary(done: Drained) -> None:
    """The answer in text: how many ended how, and where the slots' time went."""
    counts = Counter(run.status.value for run in done.runs)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing was there to measure"
    line(f"{counted(sum(counts.values()), 'run')}: {told}")
    if done.runs:
        line(_used(done.slot_time))


def _used(time: SlotTime) -> str:
    share = f"{time.share:.1%}" if time.share is not None else "-"
    waiting = f"; {seconds(time.waiting)} without anything to take" if time.waiting >= 1 else ""
    return f"{counted(time.slots, 'slot')}: {share} of {seconds(time.inside + time.around)} in experiments{waiting}"
