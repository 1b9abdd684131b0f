"""What Slurm knows of our jobs, asked with `squeue`, which needs no accounting: many clusters have none."""

import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from dagstore.errors import Unavailable
from dagstore.model import Ended, Status
from trainer.engines.core import Gone

OVER = frozenset(
    (
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"),
        *("OUT_OF_MEMORY", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL", "SPECIAL_EXIT"),
    )
)
"""States that a job does not leave; all others are on the way."""
WAITING = frozenset(("PENDING", "CONFIGURING"))
_SECONDS = 20.0


class Job(NamedTuple):
    """A job: `id`, `state` and `name`."""

    id: str
    state: str
    name: str


def list_jobs() -> list[Job]:
    """This user's jobs, those included that ended some minutes ago. `Unavailable` if Slurm does not answer."""
    said = ask("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%j")
    return list(parse_jobs(said))


def parse_jobs(text: str) -> Iterable[Job]:
    for line in text.splitlines():
        id, bar, rest = line.strip().partition("|")
        state, bar, name = rest.partition("|")
        if bar and id.isdigit():
            yield Job(id, state, name)


def cancel_jobs(ids: Iterable[str]) -> None:
    """End them, wherever they are; those that are over are passed over."""
    listed = list(ids)
    if listed:
        ask("scancel", "--quiet", *listed)


def count_cpus() -> int:
    """The CPUs of the nodes that work, of all partitions."""
    counts = (line.split("/") for line in ask("sinfo", "--noheader", "--format=%C").splitlines())
    return sum(int(count[0]) + int(count[1]) for count in counts if len(count) == 4 and count[0].strip().isdigit())


def gone_of(state: str) -> Gone:
    """What it means that a job left no result: a lost trainer, but for memory, which the experiment took.

    A job that ran out of time did so long after its experiment should have ended, so it hung where it ran.
    """
    if state == "OUT_OF_MEMORY":
        return Gone("its job took more memory than Slurm gave it", Status.OOM, Ended.HOST_MEMORY)
    return Gone(f"its Slurm job ended without a result: {state or 'Slurm does not know it any more'}")


def ask(*argv: str) -> str:
    """What a command of Slurm says; `Unavailable` if that fails."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()
        raise Unavailable(f"{argv[0]}: {said}", hint="`sinfo` and `scontrol ping` show how Slurm is") from None
    except FileNotFoundError:
        raise Unavailable(
            f"{argv[0]} is not installed here", hint="start it on a machine that submits to Slurm"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]}: {error}", hint="`sinfo` and `scontrol ping` show how Slurm is") from None
    return done.stdout.decode("utf-8", "replace")
