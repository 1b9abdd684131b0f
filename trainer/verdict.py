"""Says in the contract's words how an experiment ended: a status, a word and a line of reason for people. Pure."""

import errno
import re
import signal
from collections.abc import Sequence
from typing import NamedTuple

from dagstore.model import Ended, Status
from dagstore.printable import printable
from trainer.ending import Ending
from trainer.metrics import METRICS_FILE, NOT_FINITE, STEPS_FILE, Metrics

SETUP_FAILED = "cannot start in a sandbox: "
MAX_REASON = 300
_CRASH_TAIL = 1 << 14

_COMMAND_ERRORS = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ENOEXEC,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.E2BIG,
        errno.ENAMETOOLONG,
    }
)
"""Why a command does not start on any machine; all other reasons are this machine's."""

_OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError|(?:^|[\s.])_?(?:Array)?MemoryError(?::|\s|$)"
    r"|can(?:'|no)t allocate memory|RESOURCE_EXHAUSTED: Out of memory|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_DEVICE_MEMORY = re.compile(r"CUDA|OutOfMemoryError|CU(?:BLAS|DNN)|HIP|RESOURCE_EXHAUSTED", re.IGNORECASE)
_DEVICE_LOST = re.compile(
    r"GPU is lost|fallen off the bus|uncorrectable (?:NVLink|ECC)|uncorrectable ECC error|system not yet initialized"
    r"|device\(s\) is/are busy or unavailable|hipErrorECCNotCorrectable|driver/library version mismatch",
    re.IGNORECASE,
)
"""What programs say when the device or its driver is broken. A failed assertion on the device, an illegal access and a
failed launch are the experiment's own: their cause is nearly always its code."""
_NO_SPACE = re.compile(r"No space left on device|\[Errno 28\]|database or disk is full")
_CONFINING = re.compile(rb"\A(?:bwrap|unshare|prlimit|confine): (?!execvp )[^\n]*")
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure)(?::.*)?")


class Verdict(NamedTuple):
    """How it ended: `reason` is one printable line of at most 300 characters, empty for `ok`."""

    status: Status
    reason: str
    ending: Ended


def judge(ending: Ending, metrics: Metrics, metric: str, tampered: Sequence[str]) -> Verdict:
    """The verdict on an experiment whose numbers count themselves.

    `metric` is the charter's; `tampered` are the locked paths that changed. What made the number worthless comes
    before what went wrong with it: cancelled, infra, tampered, pruned, timeout, too much of something, oom, crashed,
    invalid.
    """
    return _plain(_cut_short(ending, tampered) or _ended(ending, metrics) or _measured(metrics, metric))


def judge_evaluated(ending: Ending, tampered: Sequence[str]) -> Verdict | None:
    """The verdict on an experiment that another command is to evaluate; None if it ended well."""
    found = _cut_short(ending, tampered) or _ended(ending, Metrics())
    return _plain(found) if found else None


def judge_evaluation(ending: Ending, metrics: Metrics, metric: str) -> Verdict:
    """The verdict that an evaluation is: a fault of the machine is one, all else that fails it is the experiment's."""
    found = judge(ending, metrics, metric, ())
    if found.status in (Status.OK, Status.INFRA, Status.CANCELLED):
        return found
    return _plain(Verdict(Status.INVALID, f"the evaluation failed: {found.reason}", Ended.EVALUATION_FAILED))


def _plain(verdict: Verdict) -> Verdict:
    return verdict._replace(reason=shortened(verdict.reason))


def shortened(text: str) -> str:
    """The text as one printable line of at most 300 characters."""
    reason = " ".join(printable(text).split())
    return reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "…"


def _cut_short(ending: Ending, tampered: Sequence[str]) -> Verdict | None:
    if ending.cancelled:
        return Verdict(Status.CANCELLED, f"stopped on request after {ending.seconds:.1f} s", Ended.STOPPED)
    if ending.failure:
        status = Status.CRASHED if ending.errno in _COMMAND_ERRORS else Status.INFRA
        return Verdict(status, f"cannot start {ending.failure}", ending.blamed or Ended.NOT_STARTED)
    unconfined = _CONFINING.match(ending.log) if ending.confined and ending.exit_code else None
    if unconfined:
        said = unconfined[0].decode("utf-8", "replace")
        return Verdict(Status.INFRA, SETUP_FAILED + said, Ended.NO_SANDBOX)
    if tampered:
        changed = f"locked files were changed: {', '.join(sorted(tampered))}"
        return Verdict(Status.TAMPERED, changed, Ended.EVALUATOR_CHANGED)
    return _stopped(ending)


def _stopped(ending: Ending) -> Verdict | None:
    """None if it was not ended by its trainer."""
    if ending.pruned:
        return Verdict(Status.PRUNED, ending.pruned, Ended.PRUNED)
    if ending.timed_out:
        late = f"stopped after {ending.seconds:.1f} s, when budget and grace were used up"
        return Verdict(Status.TIMEOUT, late, Ended.TIME_LIMIT)
    return _EXCESSES.get(ending.excess)


_EXCESSES = {
    "memory": Verdict(Status.OOM, "stopped: it took more than the charter's memory", Ended.MEMORY_LIMIT),
    "device": Verdict(Status.OOM, "stopped: it took more than its share of the device's memory", Ended.DEVICE_MEMORY),
    "disk": Verdict(Status.CRASHED, "stopped: it wrote more than the charter's disk", Ended.DISK_LIMIT),
    "processes": Verdict(Status.CRASHED, "stopped: it started too many processes", Ended.PROCESS_LIMIT),
}


def _ended(ending: Ending, metrics: Metrics) -> Verdict | None:
    """None if it ended by itself and well."""
    if ending.exit_code is None and ending.signal is None:
        return Verdict(Status.INFRA, "its exit status was lost", Ended.STATUS_LOST)
    if ending.exit_code != 0 or ending.oom_killed:
        return _crash(ending, metrics)
    return None


def _crash(ending: Ending, metrics: Metrics) -> Verdict:
    lines = [line for line in _lines(ending.log[-_CRASH_TAIL:]) if line.strip()]
    how = _how(ending)
    if ending.oom_killed:
        return Verdict(Status.OOM, f"{how}: the machine ran out of memory", Ended.HOST_MEMORY)
    short = next((line for line in reversed(lines) if _OUT_OF_MEMORY.search(line)), "")
    last = short or _last_words(lines)
    reason = f"{how}: {last.strip()}" if last else how
    if short:
        return Verdict(Status.OOM, reason, Ended.DEVICE_MEMORY if _DEVICE_MEMORY.search(short) else Ended.HOST_MEMORY)
    return _fault(ending, reason) or Verdict(Status.CRASHED, *_own_fault(ending, reason, metrics))


def _fault(ending: Ending, reason: str) -> Verdict | None:
    """A fault of the machine. A full disk counts as one only where it is full, whatever the experiment says."""
    if ending.disk_full and _NO_SPACE.search(reason):
        return Verdict(Status.INFRA, reason, Ended.DISK_FULL)
    return Verdict(Status.INFRA, reason, Ended.DEVICE_LOST) if _DEVICE_LOST.search(reason) else None


def _own_fault(ending: Ending, reason: str, metrics: Metrics) -> tuple[str, Ended]:
    if ending.signal is not None:
        return reason, Ended.SIGNAL
    lost = next((name for name, said in metrics.rejected.items() if said in NOT_FINITE), None)
    if lost is not None:
        return f"{reason}; {lost} is {metrics.rejected[lost]}", Ended.NOT_FINITE
    return reason, Ended.EXIT_CODE


def _how(ending: Ending) -> str:
    if ending.signal is None:
        return f"exit code {ending.exit_code}"
    try:
        return f"killed by {signal.Signals(ending.signal).name}"
    except ValueError:
        return f"killed by signal {ending.signal}"


def _last_words(lines: list[str]) -> str:
    """The exception that ended the last traceback, else the last line that looks like one, else the last line."""
    for at in reversed(range(len(lines))):
        if lines[at].strip() == _TRACEBACK:
            ends = [line for line in lines[at + 1 :] if not line.startswith((" ", "\t"))]
            if ends:
                return ends[0]
    exceptions = [line for line in lines if _EXCEPTION.fullmatch(line.strip())]
    return (exceptions or lines or [""])[-1]


def _measured(metrics: Metrics, metric: str) -> Verdict:
    if metric in metrics.values:
        return Verdict(Status.OK, "", Ended.FINISHED)
    said = metrics.rejected.get(metric)
    if said is not None:
        word = Ended.NOT_FINITE if said in NOT_FINITE else Ended.NO_METRIC
        return Verdict(Status.INVALID, f"{metric} is {said}", word)
    files = [f"; {name}: {why}" for name in (METRICS_FILE, STEPS_FILE) if (why := metrics.rejected.get(name))]
    return Verdict(Status.INVALID, f"{metric} was not reported{''.join(files)}", Ended.NO_METRIC)


def tail(log: bytes, limit: int = 2000) -> str:
    """The end of a log, at most `limit` characters, printable: for people, terminals and prompts."""
    text = printable("\n".join(_lines(log[-16 * limit :])).strip("\n"))
    if len(text) <= limit:
        return text
    cut = text[len(text) - limit + 1 :]
    return "…" + cut


def _lines(log: bytes) -> list[str]:
    """Lines as a terminal would leave them: what a carriage return overwrote is gone."""
    lines = log.decode("utf-8", "backslashreplace").split("\n")
    return [line.rstrip("\r").rpartition("\r")[2] for line in lines]
