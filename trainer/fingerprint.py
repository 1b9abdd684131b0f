"""What the charter's `fingerprint` command prints: the version of data that is no part of the tree."""

import errno
from dataclasses import replace

from dagstore.model import Entry
from trainer.ending import Ending
from trainer.job import Job
from trainer.process import Command
from trainer.verdict import tail

SECONDS = 120.0
MAX_BYTES = 4096


class FingerprintFailed(Exception):
    """Nothing can be said about what a run would be comparable with; `ending` is what becomes of the run."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.failure)
        self.ending = ending


class Fingerprints:
    """Remembers the answer for each command and set of locked files: both together decide it on one machine."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[Entry, ...]], str] = {}

    def known(self, job: Job) -> str | None:
        """The fingerprint if it needs no asking: the charter has none (empty), or it was answered before."""
        return self._known.get(_key(job)) if job.charter.fingerprint else ""

    def learn(self, job: Job, ending: Ending) -> str:
        """The stripped output of the command that ended so; `FingerprintFailed` if that is no answer."""
        text = ending.log.decode("utf-8", "replace").strip()
        if ending.cancelled or ending.exit_code != 0 or ending.timed_out or not text:
            raise FingerprintFailed(_failed(job.charter.fingerprint, ending))
        self._known[_key(job)] = text
        return text


def asking(command: Command) -> Command:
    """The command within the limits of a fingerprint."""
    return replace(command, budget=SECONDS, grace=0.0, log_limit=MAX_BYTES)


def _key(job: Job) -> tuple[str, tuple[Entry, ...]]:
    locked = tuple(entry for entry in job.tree if job.charter.is_locked(entry.path))
    return job.charter.fingerprint, locked


def _failed(command: str, ending: Ending) -> Ending:
    """The ending of a run that could not begin; a fault of the machine and a request to stop stay what they are."""
    if ending.cancelled:
        return ending
    last = tail(ending.log, 200).splitlines()[-1:]
    said = ending.failure or ": ".join([_how(ending), *last])
    blamed = ending.errno if ending.failure else errno.EINVAL
    return replace(ending, failure=f"without the fingerprint of {command!r}: {said}", errno=blamed, timed_out=False)


def _how(ending: Ending) -> str:
    if ending.timed_out:
        return f"it took longer than {SECONDS:g} s"
    return "it printed nothing" if ending.exit_code == 0 else f"exit code {ending.exit_code}"
