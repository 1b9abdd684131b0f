"""`dag train`: work off the queue."""

import os
import signal
import sys
import threading
from types import FrameType

import click

from cli.app import App, verb


@verb("train")
@click.option("--until-idle", is_flag=True, help="Stop when the queue is empty.")
@click.option("--for", "duration", metavar="DURATION", help="Begin nothing after this long, for instance 8h.")
@click.option("--while-stdin", is_flag=True, hidden=True, help="Stop when stdin ends, as it does with its owner.")
def command(app: App, until_idle: bool, duration: str | None, while_stdin: bool) -> None:
    """Measure what is in line, one experiment after the other, until told to stop.

    Ctrl-C ends the experiment in hand and puts it back in line; nothing is lost.

    \b
    Example:
      dag train --for 8h
    """
    from cli.live import watch_training
    from cli.measure import make_worker
    from dagstore.quantities import parse_duration

    seconds = parse_duration(duration) if duration else None
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    if while_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
    with watch_training(app) as live:
        runs = list(make_worker(app, live).work(until_idle=until_idle, seconds=seconds, stop=stop))
    app.answer({"runs": runs}, lambda answer: live.summary(answer["runs"]))
    if stop.is_set():
        raise KeyboardInterrupt


def _stop_at_end_of_stdin(stop: threading.Event) -> None:
    # Unbuffered: a thread inside a buffered read would disturb the interpreter's shutdown.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
