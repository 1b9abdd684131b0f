"""The Slurm engine: an order is a job, submitted by submitit, and speaks with its driver through its box.

The box lies in a folder that all nodes see, the store's unless another one is named; the experiment itself runs in a
scratch folder of its node. Results are read from the box, never from what submitit pickles. A job is never requeued:
its experiment may have begun, and the queue counts. It ends when its lease is not renewed or its box is gone, and a
successor cancels it by its name.
"""

import contextlib
import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagstore import Charter
from dagstore.errors import BadInput, Unavailable
from dagstore.model import Ended, Status
from trainer.engines.box import Box
from trainer.engines.core import WORDS, Cargo, Flight, Gone, Needs, Parcel
from trainer.engines.host import attend
from trainer.engines.slurm_jobs import OVER, WAITING, cancel_jobs, count_cpus, gone_of, list_jobs
from trainer.output import Follower
from trainer.scratch import remove

if TYPE_CHECKING:
    import submitit

LOOK = 1.0
"""Seconds between two questions to Slurm, for all jobs together."""
SETTLE = 5.0
"""Seconds that a result may take to appear on a shared file system after its job has ended, and the job to end after
its result has appeared: one whose folder goes before it does counts as failed in Slurm's books."""
WIDTHS = 60.0
"""Seconds for which the size of the cluster is taken to stay as it is."""
MARGIN = 300.0
"""Seconds of a job besides its experiment's: then the node hangs."""
OVERHEAD_MB = 512
MOST = 256
"""Experiments in Slurm's queue at a time, however large the cluster is."""


class SlurmEngine:
    """The Slurm cluster that this machine submits to."""

    name = "slurm"

    def __init__(self, needs: Needs) -> None:
        self._ask = _checked(needs)
        self._shared = _folder(needs.shared) if needs.shared else None
        self._jobs = Jobs()
        self._width, self._looked = 0, -math.inf

    @property
    def cpus(self) -> int:
        """How many cores an experiment has to itself: Slurm says so to the job, where it confines that."""
        return int(self._ask["cpus-per-task"]) if self._ask["cpus-per-task"].isdigit() else 0

    def width(self) -> int:
        if time.monotonic() > self._looked + WIDTHS:
            self._width = max(1, min(MOST, count_cpus() // max(1, self.cpus)))
            self._looked = time.monotonic()
        return self._width

    def submit(self, cargo: Cargo) -> Flight:
        name = job_name(cargo.order.store, cargo.order.token)
        place = self._shared / name if self._shared else cargo.home
        box = Box(place / "box")
        box.fill(cargo.order, cargo.read)
        box.renew(0)
        executor = _executor(place, name, cargo.charter, self._ask)
        return SlurmFlight(box, _submit(executor, box, cargo.ttl), self._jobs, cargo)

    def tidy(self, uuid: str, held: Collection[int]) -> None:
        names = {job_name(uuid, token) for token in held}
        mine = [job for job in list_jobs() if job.name.startswith(job_name(uuid, "")) and job.state not in OVER]
        cancel_jobs(job.id for job in mine if job.name not in names)
        for place in self._shared.glob(job_name(uuid, "*")) if self._shared else ():
            if place.name not in names:
                remove(place)

    def close(self) -> None: ...


class Jobs:
    """The states of all jobs, asked at most once a second."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._asked = -math.inf

    def state(self, id: str, since: float) -> str | None:
        """The job's state as asked after `since`, by the monotonic clock; empty if Slurm does not know it, None if
        nobody was asked yet or Slurm does not answer.
        """
        if time.monotonic() > self._asked + LOOK:
            with contextlib.suppress(Unavailable):  # a controller may be away for minutes, and jobs run on
                asked = time.monotonic()
                self._states = {job.id: job.state for job in list_jobs()}
                self._asked = asked
        return self._states.get(id, "") if self._asked > since else None


class SlurmFlight:
    """One job."""

    def __init__(self, box: Box, id: str, jobs: Jobs, cargo: Cargo) -> None:
        self._box = box
        self._id = id
        self._jobs = jobs
        self._limit = cargo.charter.log_limit
        self._follower = Follower(box.folder)
        self._began = time.monotonic()
        self._period = cargo.ttl / 6
        self._beats = 0
        self._ended: float | None = None
        self._asked: float | None = None

    def poll(self) -> Parcel | Gone | None:
        self._renew()
        state = self._jobs.state(self._id, self._began)
        header, is_over = self._box.header(), state == "" or state in OVER
        if (header or is_over) and self._ended is None:
            self._ended = time.monotonic()
        settled = self._ended is not None and time.monotonic() > self._ended + SETTLE
        if header:
            return self._parcel(header) if is_over or settled else None
        if not is_over:
            return self._withdrawn() if self._still_waits() else None
        if failure := self._box.failure():
            return Gone(failure, Status.INFRA)
        return gone_of(state or "") if settled else None

    def _parcel(self, header: bytes) -> Parcel | Gone:
        try:
            return Parcel(header, self._box.artifacts(header, self._limit))
        except BadInput as error:
            return Gone(f"what came back is not to be believed: {error.message}", Status.INFRA)

    def _still_waits(self) -> bool:
        """Whether it had not begun after it was told to end: it then begins no more, for it looks at that first."""
        return self._asked is not None and self._jobs.state(self._id, self._asked) in WAITING

    def _withdrawn(self) -> Gone:
        self.drop()
        return Gone("stopped on request before it began", Status.CANCELLED, Ended.STOPPED)

    def _renew(self) -> None:
        beats = int((time.monotonic() - self._began) / self._period)
        if beats > self._beats:
            self._beats = beats
            with contextlib.suppress(OSError):  # a full disk costs the job its lease, not the driver its work
                self._box.renew(beats)

    def output(self) -> bytes:
        return b"".join(self._follower.more())

    def halt(self) -> None:
        self._box.halt()
        self._asked = time.monotonic()

    def drop(self) -> None:
        self._follower.close()
        state = self._jobs.state(self._id, -math.inf)
        if state not in OVER and not self._box.header():
            cancel_jobs([self._id])
        remove(self._box.folder.parent)


def job_name(uuid: str, token: int | str) -> str:
    """What a job is known by in Slurm's queue."""
    return f"dag-{uuid}-{token}"


def minutes(charter: Charter) -> int:
    """How long a job may take, rounded up: budget and grace, the evaluation's grace, and a margin."""
    return math.ceil((charter.budget + 2 * charter.grace + MARGIN) / 60)


def _executor(place: Path, name: str, charter: Charter, ask: dict[str, str]) -> "submitit.SlurmExecutor":
    import submitit

    try:
        executor = submitit.SlurmExecutor(place / "submitit", max_num_timeout=0)
    except RuntimeError as error:
        raise Unavailable(str(error), hint="start it on a machine that submits to Slurm") from None
    memory = {"mem": f"{(charter.memory >> 20) + OVERHEAD_MB}M"} if charter.memory else {}
    more: dict[str, Any] = {"no-requeue": True, "chdir": str(place), **memory, **ask}
    executor.update_parameters(
        job_name=name,
        time=minutes(charter),
        setup=["export PYTHONSAFEPATH=1"],
        use_srun=False,
        additional_parameters=more,
    )
    return executor


def _submit(executor: "submitit.SlurmExecutor", box: Box, ttl: float) -> str:
    """The number of the job that performs the order in a box; `Unavailable` if Slurm does not take it."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        return str(executor.submit(attend, str(box.folder), WORDS, ttl).job_id)
    except (FailedJobError, FailedSubmissionError) as error:
        remove(box.folder.parent)
        said = next((line for line in str(error).splitlines() if "error:" in line), str(error)).strip()
        raise Unavailable(f"Slurm does not take the job: {said}", hint="mend --ask; `sinfo` shows partitions") from None


def _folder(path: Path) -> Path:
    if not path.is_dir() or not str(path).isprintable():
        raise BadInput(f"--shared {str(path)!r}: no folder that a job can be given", hint="name one that all nodes see")
    return path.resolve()


def _checked(needs: Needs) -> dict[str, str]:
    """The options of `sbatch` that were asked for, by their long names."""
    if needs.per_gpu:
        raise BadInput("--per-gpu: Slurm gives whole GPUs", hint="say what a job gets: --ask gpus-per-node=1")
    ask = {"cpus-per-task": "1"} | {name.replace("_", "-"): value for name, value in needs.ask.items()}
    for name, value in ask.items():
        if not value.isprintable() or not name.replace("-", "").isalnum():
            raise BadInput(f"--ask {name}={value!r}: no option of sbatch", hint="say one such as partition=gpu")
    return ask
