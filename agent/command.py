"""A proposer that is any program: `claude -p …`, `codex exec …`, a shell script of five lines.

The program starts in the workspace, with nothing on stdin and three more variables in its environment:

    DAG_BRIEF      a file to read: goal, metric, frontier, lineage, notes
    DAG_WHY        a file it may write: the hypothesis; without it, its last line on stdout is taken
    DAG_WORKSPACE  the workspace, which is also its working directory

It edits files and exits with 0. It and all that it started in its process group are ended when it exits, runs out of
time, prints too much, or the loop stops. Limits: a descendant that makes a session of its own escapes that, and
nothing here is a sandbox.
"""

import os
import shlex
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agent.proposer import ProposalFailed, Task
from dagstore.errors import BadInput
from dagstore.printable import one_line

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0
MAX_OUTPUT_BYTES = 256 << 20
MAX_READ_BYTES = 64 << 10
NO_REASON = "(no reason given)"


def parse_command(text: str) -> tuple[str, ...]:
    """The arguments that a shell would see in `text`, nothing expanded; `BadInput` if there are none."""
    try:
        arguments = tuple(shlex.split(text))
    except ValueError as error:
        raise BadInput(f"command {text!r} cannot be split: {error}", hint="close the quotation") from error
    if not arguments or not arguments[0] or "\0" in text:
        raise BadInput(f"command {text!r} names no program", hint="say for instance 'claude -p \"improve train.py\"'")
    return arguments


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a program ended: why it was cut short (or nothing), its exit code, and the ends of what it printed."""

    cut: str
    code: int
    stdout: str
    stderr: str


class CommandProposer:
    """Proposes what a program does to the workspace. Keeps nothing between proposals."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], timeout: float, *, grace: float = GRACE_SECONDS
    ) -> None:
        """`argv` is never joined to a shell string; `env` is the whole environment.

        After `timeout` seconds the program is asked to end, and `grace` seconds later it is made to.
        """
        if not argv:
            raise BadInput("the command of the proposer is empty", hint="name a program")
        self._argv = tuple(argv)
        self._env = dict(env)
        self._timeout = timeout
        self._grace = grace

    @property
    def name(self) -> str:
        return one_line(Path(self._argv[0]).name)

    def propose(self, task: Task) -> str:
        """What the program wrote to `$DAG_WHY`, else its last line on stdout: one printable line of at most 200.

        Raises `ProposalFailed` if it cannot be started, exits with another code than 0, takes longer than the
        timeout, or the loop stops. The brief and the reason live outside the workspace and are gone afterwards.
        """
        with tempfile.TemporaryDirectory(prefix="dag-propose-", ignore_cleanup_errors=True) as folder:
            brief, why = Path(folder, "brief.md"), Path(folder, "why")
            brief.write_text(task.brief, encoding="utf-8", errors="backslashreplace")
            workspace = task.workspace.absolute()
            names = {"DAG_BRIEF": str(brief), "DAG_WHY": str(why), "DAG_WORKSPACE": str(workspace)}
            outcome = self._run(workspace, self._env | names, task.stop)
            self._check(outcome)
            return one_line(_read_why(why)) or _last_line(outcome.stdout) or NO_REASON

    def _run(self, workspace: Path, env: Mapping[str, str], stop: Callable[[], bool]) -> _Outcome:
        # Files, not pipes: nobody needs to drain them, and a grandchild that keeps one open blocks nobody.
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            with self._started(workspace, env, stdout, stderr) as process:
                cut = self._watch(process, (stdout, stderr), stop)
            return _Outcome(cut, process.returncode, _tail(stdout), _tail(stderr))

    @contextmanager
    def _started(
        self, workspace: Path, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The running program; on the way out its whole group is ended, whatever happened."""
        try:
            process = subprocess.Popen(
                self._argv,
                cwd=workspace,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ProposalFailed(f"cannot start {one_line(self._argv[0])}: {one_line(str(error))}") from error
        try:
            yield process
        finally:
            _end(process, self._grace)

    def _watch(self, process: subprocess.Popen[bytes], outputs: Sequence[IO[bytes]], stop: Callable[[], bool]) -> str:
        """Empty once the program has exited by itself, else why it has to be ended."""
        deadline = time.monotonic() + self._timeout
        while True:
            left = deadline - time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, min(POLL_SECONDS, left)))
                return ""
            if stop():
                return "was stopped with the loop"
            if left <= 0:
                return f"took longer than {self._timeout:g} s"
            if any(os.fstat(output.fileno()).st_size > MAX_OUTPUT_BYTES for output in outputs):
                return f"printed more than {MAX_OUTPUT_BYTES >> 20} MiB"

    def _check(self, outcome: _Outcome) -> None:
        if outcome.cut:
            raise ProposalFailed(f"{self.name} {outcome.cut}")
        if outcome.code:
            ended = f"exited with {outcome.code}" if outcome.code > 0 else f"was ended by signal {-outcome.code}"
            last = _last_line(outcome.stderr) or _last_line(outcome.stdout) or "(no output)"
            raise ProposalFailed(f"{self.name} {ended}: {last}")


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Ends the group of the program: at once what outlived it, with a grace to tidy up if it still runs."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and (process.poll() is None or _signal(process, 0)):
            time.sleep(POLL_SECONDS / 5)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether anything of the program's group was there to be signalled; the group's id is the program's."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return False
    return True


def _tail(output: IO[bytes]) -> str:
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), MAX_READ_BYTES, max(0, size - MAX_READ_BYTES)).decode("utf-8", "replace")


def _read_why(path: Path) -> str:
    """The start of what the program left at `path`; empty unless it is a regular file."""
    try:
        # Neither may a link lead elsewhere nor a fifo keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, MAX_READ_BYTES).decode("utf-8", "replace") if regular else ""
    finally:
        os.close(descriptor)


def _last_line(text: str) -> str:
    return next(filter(None, map(one_line, reversed(text.splitlines()))), "")
