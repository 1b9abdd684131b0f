"""Runs one experiment: what it asks of the machine, the commands of its charter, and how that ended."""

import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dagstore import BadInput, Charter
from trainer.fingerprint import FingerprintFailed, Fingerprints, asking
from trainer.job import Job, lock_files
from trainer.launch import Command
from trainer.machine import environment, find_python, resolve
from trainer.process import Ending, execute


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an experiment ended, when it began (ms), under which fingerprint and in which environment."""

    ending: Ending
    started: int
    fingerprint: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class Trials:
    """Runs experiments in the environment `environ`; `root` is the project's folder, whose `.venv` comes first."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._environ = environ
        self._fingerprints = Fingerprints()

    def run(self, job: Job, halt: threading.Event, on_output: Callable[[bytes], None]) -> Outcome:
        """The experiment's outcome; also one that could not begin has one."""
        started = int(time.time() * 1000)
        search_path = _search_path(self._root, self._environ)
        try:
            _check_sandbox(job.charter)
            command = self._command(job, job.charter.command, search_path)
            fingerprint = self._fingerprint(job, search_path, halt)
        except BadInput as error:
            said = f"what the charter says: {error.message}; {error.hint}"
            return Outcome(Ending(failure=said, errno=errno.EINVAL), started)
        except FingerprintFailed as error:
            return Outcome(error.ending, started)
        facts = {**environment(find_python(command.argv, search_path)), **lock_files(job.tree)}
        ending = execute(command, stop=halt, on_output=on_output)
        return Outcome(ending, started, fingerprint, facts)

    def _fingerprint(self, job: Job, search_path: str, halt: threading.Event) -> str:
        known = self._fingerprints.known(job)
        if known is not None:
            return known
        command = asking(self._command(job, job.charter.fingerprint, search_path))
        return self._fingerprints.learn(job, execute(command, stop=halt))

    def _command(self, job: Job, line: str, search_path: str) -> Command:
        return Command(
            argv=resolve(line, search_path),
            cwd=job.work,
            env=self._variables(job, search_path),
            budget=job.charter.budget,
            grace=job.charter.grace,
            log_limit=job.charter.log_limit,
            mark=job.mark,
        )

    def _variables(self, job: Job, search_path: str) -> dict[str, str]:
        """The experiment's environment: the trainer's own, without what speaks of other work, and the contract's."""
        own = {name: value for name, value in self._environ.items() if not name.startswith("DAG_")}
        return own | {
            "PATH": search_path,
            "UV_PROJECT_ENVIRONMENT": str(self._root / ".venv"),  # else `uv run` makes one for every experiment
            "PYTHONUNBUFFERED": "1",  # what was printed before a kill must be in the log
            "DAG_NODE": str(job.claim.node),
            "DAG_SEED": str(job.taken.ticket.number),
            "DAG_BUDGET": f"{job.charter.budget:.15g}",
            "DAG_METRICS": str(job.metrics),
            "DAG_STEPS": str(job.steps),
        }


def _check_sandbox(charter: Charter) -> None:
    """What requires a sandbox must not run without one."""
    if charter.sandbox == "required":
        raise BadInput('sandbox = "required", and this trainer has none', hint='only "auto" and "none" run for now')


def _search_path(root: Path, environ: Mapping[str, str]) -> str:
    """Where programs are looked up: the project's own virtual environment first, then the trainer's PATH."""
    own = root / ".venv" / "bin"
    rest = environ.get("PATH", os.defpath)
    return f"{own}{os.pathsep}{rest}" if own.is_dir() else rest
