"""Runs one experiment: what it asks of the machine, the commands of its charter, and how that ended."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from dagstore import BadInput
from dagstore.curves import Curves
from dagstore.model import Ended
from trainer.ending import Ending
from trainer.evaluation import Evaluation, evaluated, evaluation_room, hidden_outside, withhold
from trainer.fingerprint import FingerprintFailed, Fingerprints, asking
from trainer.gauge import Device, Limits
from trainer.job import Files, Job, lock_files, tampered
from trainer.launch import Command
from trainer.machine import environment, find_python, resolve
from trainer.metrics import Metrics
from trainer.nursery import Nursery, Ready
from trainer.process import execute
from trainer.pruner import Pruner
from trainer.sandbox import Sandbox
from trainer.slots import MEMORY, SHARE
from trainer.surroundings import NoDataError, NoSandboxError, Room, Surroundings, room_of
from trainer.verdict import judge_evaluated
from trainer.vram import device_memory, shared_memory


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an experiment ended, when it began (ms), under which fingerprint and in which environment.

    `evaluation` is how its evaluation ended, None if there was none to make. `curves` are what was seen while it ran.
    """

    ending: Ending
    started: int
    fingerprint: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    curves: Curves | None = None


class Trials:
    """Runs experiments in the environment `environ`; `root` is the project's folder, whose `.venv` comes first.

    `sandbox` confines them, as far as their charter lets it; `pruner` follows them, and ends those that are hopeless.
    `told` are further variables of the contract, which `environ` cannot set: they begin with `DAG_`.
    """

    def __init__(
        self,
        root: Path,
        environ: Mapping[str, str],
        sandbox: Sandbox,
        pruner: Pruner,
        told: Mapping[str, str] | None = None,
    ) -> None:
        self._pruner = pruner
        self._surroundings = Surroundings(root, environ, sandbox)
        self._search_path = _search_path(root, environ)
        self._told = told or {}
        self._fingerprints = Fingerprints()
        self._device = _device(environ.get("CUDA_VISIBLE_DEVICES"), self._told)
        self._nursery = Nursery()

    def close(self) -> None:
        """Ends what was kept for the next experiment."""
        self._nursery.close()

    def ready(self, files: Files) -> Ready | None:
        """A child that stands by in the cell of an experiment with these files, whoever will claim it; None if it can
        have none. What keeps it from running is said when it is run.
        """
        if not files.charter.preload:
            return None
        with contextlib.suppress(BadInput, NoSandboxError, NoDataError, OSError):
            withhold(files)
            command = self._unclaimed(files, files.charter.command, room_of(files))
            return self._nursery.ready(command, files.charter.preload)
        return None

    def run(
        self,
        job: Job,
        halt: threading.Event,
        on_output: Callable[[bytes], None],
        on_start: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """The experiment's outcome; also one that could not begin has one. `on_start` is called once it has begun."""
        started = int(time.time() * 1000)
        try:
            withhold(job)
            room = room_of(job)
            command = self._command(job, job.charter.command, room)
            fingerprint = self._fingerprint(job, room, halt)
        except BadInput as error:
            said = f"what the charter says: {error.message}; {error.hint}"
            return Outcome(Ending(failure=said, errno=errno.EINVAL), started)
        except NoSandboxError as error:
            return Outcome(Ending(failure=str(error), blamed=Ended.NO_SANDBOX), started)
        except (NoDataError, OSError) as error:
            return Outcome(Ending(failure=f"here: {error}"), started)
        except FingerprintFailed as error:
            return Outcome(error.ending, started)
        start = self._nursery.start(command, job.charter.preload, halt, job.standby)
        with closing(self._pruner.follow(job, fingerprint)) as follower:
            ending = execute(
                command,
                stop=halt,
                on_output=on_output,
                on_start=lambda _: on_start(),
                launch=start,
                follow=follower.look,
            )
        evaluation = self._evaluate(job, ending, halt)
        if evaluation and evaluation.ending.cancelled:
            ending = replace(ending, cancelled=True)
        facts = {**self._facts(job, command), **start.facts}
        return Outcome(ending, started, fingerprint, facts, evaluation, follower.curves)

    def _evaluate(self, job: Job, ending: Ending, halt: threading.Event) -> Evaluation | None:
        """The numbers that count, of an experiment that ended well; None if its own do, or it did not."""
        if not job.charter.evaluate or judge_evaluated(ending, list(tampered(job))):
            return None
        try:
            room = evaluation_room(job, hidden_outside(job))
            command = self._command(job, job.charter.evaluate, room)
        except BadInput as error:
            said = f"what the charter says: {error.message}; {error.hint}"
            return Evaluation(Ending(failure=said, errno=errno.EINVAL), Metrics())
        except OSError as error:
            return Evaluation(Ending(failure=f"the evaluation: {error}"), Metrics())
        within = replace(command, budget=job.charter.grace, grace=0.0, ready=None)
        start = self._nursery.start(within, job.charter.preload, halt)
        return evaluated(execute(within, stop=halt, launch=start), room)

    def _facts(self, job: Job, command: Command) -> dict[str, str]:
        """What of the environment is recorded."""
        confined = {"sandbox": command.cell.level.value} if command.cell else {}
        return {**environment(find_python(command.argv, self._search_path)), **lock_files(job.tree), **confined}

    def _fingerprint(self, job: Job, room: Room, halt: threading.Event) -> str:
        known = self._fingerprints.known(job)
        if known is not None:
            return known
        command = asking(self._command(job, job.charter.fingerprint, room))
        return self._fingerprints.learn(job, execute(command, stop=halt))

    def _command(self, job: Job, line: str, room: Room) -> Command:
        command = self._unclaimed(job, line, room)
        return replace(command, env={**command.env, "DAG_SEED": str(job.taken.ticket.seed)}, mark=job.mark)

    def _unclaimed(self, files: Files, line: str, room: Room) -> Command:
        """The command without what its claim adds to it."""
        argv = resolve(line, self._search_path)
        python = find_python(argv, self._search_path)
        return Command(
            argv=argv,
            cwd=room.work,
            env=self._variables(files, room),
            budget=files.charter.budget,
            grace=files.charter.grace,
            log_limit=files.charter.log_limit,
            mark="",
            cell=self._surroundings.cell(files.charter, room, python, self._search_path),
            limits=Limits(files.charter.memory, files.charter.disk),
            folder=files.home,
            ready=files.ready,
            device=self._device,
        )

    def _variables(self, files: Files, room: Room) -> dict[str, str]:
        """The experiment's environment: what it may have of the trainer's, and the contract's."""
        own = self._surroundings.variables(files.charter, room, self._search_path)
        seen = self._surroundings.seen(files.charter, room)
        return {**own, **self._told} | {
            "DAG_NODE": str(files.node),
            "DAG_BUDGET": f"{files.charter.budget:.15g}",
            "DAG_METRICS": str(seen.out / "metrics.json"),
            "DAG_STEPS": str(seen.out / "steps.jsonl"),
            "DAG_READY": str(seen.out / "ready"),
            "DAG_OUT": str(seen.outputs),
        }


def _device(visible: str | None, told: Mapping[str, str]) -> Device:
    """What measures the memory of the slot's devices; where others share them, what the experiment's processes take."""
    return shared_memory(visible, int(told.get(MEMORY, 0))) if SHARE in told else device_memory(visible)


def _search_path(root: Path, environ: Mapping[str, str]) -> str:
    """Where programs are looked up: the project's own virtual environment first, then the trainer's PATH."""
    own = root / ".venv" / "bin"
    rest = environ.get("PATH", os.defpath)
    return f"{own}{os.pathsep}{rest}" if own.is_dir() else rest
