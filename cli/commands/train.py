"""`dag train`: work off the queue."""

import os
import signal
import sys
import threading
from types import FrameType

import click

from cli import options
from cli.app import App, verb


@verb("train")
@click.option("--until-idle", is_flag=True, help="Stop when the queue is empty.")
@click.option("--for", "duration", metavar="DURATION", help="Begin nothing after this long, for instance 8h.")
@click.option("--slots", metavar="N", type=click.IntRange(1, 1024), help="So many experiments at a time; one a GPU.")
@click.option("--per-gpu", metavar="K", type=click.IntRange(1, 64), help="So many experiments on each GPU.")
@options.allow
@options.max_budget
@options.where
@click.option("--while-stdin", is_flag=True, hidden=True, help="Stop when stdin ends, as it does with its owner.")
def command(
    app: App,
    until_idle: bool,
    duration: str | None,
    slots: int | None,
    per_gpu: int | None,
    allow: tuple[str, ...],
    max_budget: float | None,
    engine: str,
    ask: tuple[str, ...],
    shared: str | None,
    while_stdin: bool,
) -> None:
    """Measure what is in line, one experiment in each slot at a time, until told to stop.

    There is a slot for each visible GPU, or one on the CPU; on a cluster, as many as it has room for. Ctrl-C ends the
    experiments in hand and puts them back in line; nothing is lost. What asks of this machine what neither the
    project's dag.toml nor --allow grants is passed by.

    \b
    Example:
      dag train --for 8h
      dag train --per-gpu 2 --until-idle
      dag train --engine slurm --ask partition=gpu --ask gpus-per-node=1
    """
    from cli.engines import Place, drain_elsewhere
    from cli.measure import make_slots
    from cli.training import drain
    from cli.watch import summary, watch_training
    from dagstore.quantities import parse_duration
    from trainer.policy import read_grants

    grants = read_grants(allow, app.directory, max_budget)
    seconds = parse_duration(duration) if duration else None
    stop = _stop_when_asked(while_stdin=while_stdin)
    place = Place(engine, ask, app.path(shared) if shared else None, slots, per_gpu)
    here = make_slots(slots, per_gpu) if place.is_here else ()
    with watch_training(app) as shown:
        if place.is_here:
            done = drain(app, here, shown, grants, until_idle=until_idle, seconds=seconds, stop=stop)
        else:
            done = drain_elsewhere(app, place, shown, grants, until_idle=until_idle, seconds=seconds, stop=stop)
    app.answer(done.plain(), lambda _: summary(done))
    if stop.is_set():
        raise KeyboardInterrupt


def _stop_when_asked(*, while_stdin: bool) -> threading.Event:
    """An event that is set by Ctrl-C, SIGTERM, or the end of stdin if that counts."""
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    if while_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
    return stop


def _stop_at_end_of_stdin(stop: threading.Event) -> None:
    # Unbuffered: a thread inside a buffered read would disturb the interpreter's shutdown.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
