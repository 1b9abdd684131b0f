"""`dag agent`: let agents propose experiments."""

import contextlib
import math
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Self

import click

from cli import options
from cli.app import App, verb
from cli.main import INTERRUPTED, OK
from cli.render import counted
from dagstore.errors import Unavailable
from dagstore.printable import printable

if TYPE_CHECKING:
    from agent.loop import Agent, Attempt
    from agent.proposer import Proposer

POLL_SECONDS = 0.2


@verb("agent")
@click.option("--command", "program", metavar="CMD", help="Propose with this program; without it, tune constants.")
@click.option("--agents", "-n", type=click.IntRange(1, 64), default=1, show_default=True, help="How many at once.")
@click.option("--experiments", type=click.IntRange(1), help="Stop after this many attempts in all.")
@click.option("--for", "duration", metavar="DURATION", help="Stop after this long, for instance 8h.")
@click.option("--seed", type=int, help="Of chance; without it every start differs.")
@click.option("--adopt-rate", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Share of adoptions.")
@click.option("--name", default="", help="What the agents call themselves; they are numbered.")
@click.option("--timeout", default="15m", show_default=True, help="How long a program may think.")
@click.option("--train", is_flag=True, help="Measure here too: start a trainer beside the agents.")
@options.allow
def command(
    app: App,
    program: str | None,
    agents: int,
    experiments: int | None,
    duration: str | None,
    seed: int | None,
    adopt_rate: float,
    name: str,
    timeout: str,
    train: bool,
    allow: tuple[str, ...],
) -> None:
    """Let agents propose experiments: choose a parent or ancestors to adopt, edit, seal, queue, wait, note.

    The program is started in a workspace, with what is known so far in the file that $DAG_BRIEF names; what it changed
    is the proposal. Ctrl-C stops; nothing is lost.

    \b
    Examples:
      dag agent --agents 2 --experiments 12 --train
      dag agent --command 'claude -p "Read $DAG_BRIEF, then improve train.py"'
    """
    from cli.live import attempt_line, live
    from dagstore.quantities import parse_duration
    from trainer.policy import read_grants

    read_grants(allow, app.directory)  # what is wrong with them is said now
    store = app.store()
    seconds = parse_duration(duration) if duration else None
    make = _proposer(program, timeout)
    stop = threading.Event()
    interrupted = _stop_on_signals(stop)
    store.queue(["@seed"], agent=app.agent)
    attempts: list[Attempt] = []
    with live(app) as shown, trainer(app, stop, allow) if train else contextlib.nullcontext():
        shown.begin("experiments", experiments)
        with Team(app, _names(name, program, agents), stop, experiments) as team:
            team.start(make, seed, adopt_rate)
            for attempt in team.results(seconds):
                attempts.append(attempt)
                shown.line(*attempt_line(app, len(attempts), attempt))
                shown.advance(len(attempts))
    app.answer({"attempts": attempts}, lambda answer: _summary(answer["attempts"]))
    if interrupted.is_set():
        raise KeyboardInterrupt


class Team:
    """Agents in threads of this process, sharing one count of attempts; leaving the block stops and awaits them."""

    def __init__(self, app: App, names: list[str], stop: threading.Event, attempts: int | None) -> None:
        self._app = app
        self._names = names
        self._stop = stop
        self._left = attempts
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._results: queue.Queue[Attempt | BaseException | None] = queue.Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:  # the store must not be closed under them
            thread.join()

    def start(self, make: "Callable[[], Proposer]", seed: int | None, adopt_rate: float) -> None:
        from agent.loop import Agent

        store = self._app.store()
        for place, name in enumerate(self._names):
            rng = random.Random(None if seed is None else f"{seed}/{place}")
            agent = Agent(store, make(), name=name, rng=rng, adopt_rate=adopt_rate, stop=self._stop)
            thread = threading.Thread(target=self._work, args=(agent,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def results(self, seconds: float | None) -> "Iterator[Attempt]":
        """Attempts as they end; returns when every agent is done. An agent's error stops all and is raised."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        running = len(self._threads)
        failure: BaseException | None = None
        while running:
            if time.monotonic() >= end:
                self._stop.set()
            try:
                result = self._results.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                failure = failure or result
                self._stop.set()
            else:
                yield result
        if failure is not None:
            raise failure

    def _work(self, agent: "Agent") -> None:
        try:
            while not self._stop.is_set() and self._claim_one():
                self._results.put(agent.attempt())
        except BaseException as error:
            self._results.put(error)
        finally:
            self._results.put(None)

    def _claim_one(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0


@contextlib.contextmanager
def trainer(app: App, stop: threading.Event, allow: Sequence[str]) -> Iterator[None]:
    """A trainer in a process of its own, ended with the block; what it had in hand goes back in line.

    If it ends before, `stop` is set, for nothing would be measured any more. If this process is killed, the trainer
    notices by its stdin.
    """
    words = [
        sys.executable,
        "-P",
        "-c",
        "from cli.main import main; main()",
        "-C",
        str(app.directory),
        "train",
        "--while-stdin",
    ]
    words += [f"--allow={word}" for word in allow]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)

        def await_end() -> None:
            process.wait()
            stop.set()

        watch = threading.Thread(target=await_end, daemon=True)
        watch.start()
        try:
            yield
        finally:
            early = process.poll() is not None
            assert process.stdin is not None
            process.stdin.close()
            watch.join()
        if early or process.returncode not in (OK, INTERRUPTED):
            log.seek(0)
            said = printable(log.read().decode("utf-8", "replace")).strip()
            raise Unavailable(f"the trainer failed: {said[-500:]}", hint="start it by hand with `dag train`")


def _names(name: str, program: str | None, agents: int) -> list[str]:
    base = name or os.environ.get("DAG_AGENT") or (_program_name(program) if program else "tuner")
    return [base] if agents == 1 else [f"{base}-{place}" for place in range(1, agents + 1)]


def _program_name(program: str) -> str:
    from agent.command import parse_command

    return os.path.basename(parse_command(program)[0])


def _proposer(program: str | None, timeout: str) -> "Callable[[], Proposer]":
    """Makes proposers; what is wrong with the arguments is said now."""
    if program is None:
        from agent.tuner import Tuner

        return Tuner
    from agent.command import CommandProposer, parse_command
    from dagstore.quantities import parse_duration

    argv, seconds = parse_command(program), parse_duration(timeout)
    return lambda: CommandProposer(argv, dict(os.environ), seconds)


def _stop_on_signals(stop: threading.Event) -> threading.Event:
    interrupted = threading.Event()

    def ask_to_stop(*_: object) -> None:
        interrupted.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    return interrupted


def _summary(attempts: "list[Attempt]") -> None:
    counts: dict[str, int] = {}
    for attempt in attempts:
        counts[attempt.outcome] = counts.get(attempt.outcome, 0) + 1
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "none"
    click.echo(f"{counted(len(attempts), 'attempt')}: {told}")
