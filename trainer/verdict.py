"""Says in the contract's words how an experiment ended: a status, and one line of reason for people. Pure."""

import errno
import re
import signal
from collections.abc import Sequence

from dagstore.model import Status
from dagstore.printable import printable
from trainer.metrics import METRICS_FILE, STEPS_FILE, Metrics
from trainer.process import Ending

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
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure)(?::.*)?")


def judge(ending: Ending, metrics: Metrics, metric: str, tampered: Sequence[str]) -> tuple[Status, str]:
    """The status, and its reason: one printable line of at most 300 characters, empty for `ok`.

    `metric` is the charter's; `tampered` are the locked paths that changed. What made the number worthless comes
    before what went wrong with it: cancelled, infra, tampered, timeout, oom, crashed, invalid.
    """
    status, reason = _cut_short(ending, tampered) or _ended(ending, metrics, metric)
    reason = " ".join(printable(reason).split())
    return status, reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "…"


def _cut_short(ending: Ending, tampered: Sequence[str]) -> tuple[Status, str] | None:
    if ending.cancelled:
        return Status.CANCELLED, f"stopped on request after {ending.seconds:.1f} s"
    if ending.failure:
        blamed = Status.CRASHED if ending.errno in _COMMAND_ERRORS else Status.INFRA
        return blamed, f"cannot start {ending.failure}"
    if tampered:
        return Status.TAMPERED, f"locked files were changed: {', '.join(sorted(tampered))}"
    if ending.timed_out:
        return Status.TIMEOUT, f"stopped after {ending.seconds:.1f} s, when budget and grace were used up"
    return None


def _ended(ending: Ending, metrics: Metrics, metric: str) -> tuple[Status, str]:
    if ending.exit_code is None and ending.signal is None:
        return Status.INFRA, "its exit status was lost"
    if ending.exit_code != 0 or ending.oom_killed:
        return _crash(ending)
    return _measured(metrics, metric)


def _crash(ending: Ending) -> tuple[Status, str]:
    lines = [line for line in _lines(ending.log[-_CRASH_TAIL:]) if line.strip()]
    how = _how(ending)
    if ending.oom_killed:
        return Status.OOM, f"{how}: the machine ran out of memory"
    short = next((line for line in reversed(lines) if _OUT_OF_MEMORY.search(line)), "")
    last = short or _last_words(lines)
    return Status.OOM if short else Status.CRASHED, f"{how}: {last.strip()}" if last else how


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


def _measured(metrics: Metrics, metric: str) -> tuple[Status, str]:
    if metric in metrics.values:
        return Status.OK, ""
    if metric in metrics.rejected:
        return Status.INVALID, f"{metric} is {metrics.rejected[metric]}"
    files = [f"; {name}: {why}" for name in (METRICS_FILE, STEPS_FILE) if (why := metrics.rejected.get(name))]
    return Status.INVALID, f"{metric} was not reported{''.join(files)}"


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
