"""Child processes of a test: they run a script, are talked to over pipes, and end as the test expects."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATIENCE = 60
"""Seconds after which a child that should have ended counts as stuck."""

COMMON = """
import os, sys
from pathlib import Path
import dagstore

def say(*words):
    print(*words, flush=True)

def expect(kind, work):
    try:
        work()
    except kind as error:
        say(type(error).__name__, error.code, bool(error.hint), str(error).replace("\\n", " "))
    else:
        say("nothing was raised")

def seal(store, files, ref="@seed", agent=""):
    workspace = Path(store.spawn(ref, agent=agent).workspace)
    for path, data in files.items():
        (workspace / path).write_bytes(data)
    return store.seal(workspace)

root = sys.argv[1]
"""


def start(
    script: str, root: Path | str, *arguments: object, before: Sequence[str] = (), **options: Any
) -> "subprocess.Popen[str]":
    """Python in a process of its own that runs `script` after `COMMON`; `before` is a command that starts it."""
    words = [*before, sys.executable, "-P", "-c", COMMON + script, *map(str, (root, *arguments))]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)


def finish(process: "subprocess.Popen[str]", given: str = "") -> list[str]:
    """The lines that the child said; it must have ended well and without complaint."""
    said, complaints = _end(process, given)
    assert (process.returncode, complaints) == (0, ""), f"{process.returncode}: {complaints}"
    return said.splitlines()


def run(script: str, root: Path | str, *arguments: object, **options: Any) -> list[str]:
    """Start and finish."""
    return finish(start(script, root, *arguments, **options))


def killed(process: "subprocess.Popen[str]") -> list[str]:
    """The whole lines that a child said before it died; it must have died by SIGKILL."""
    said, complaints = _end(process)
    assert process.returncode == -signal.SIGKILL, f"{process.returncode}: {complaints}"
    return [line.removesuffix("\n") for line in said.splitlines(keepends=True) if line.endswith("\n")]


def _end(process: "subprocess.Popen[str]", given: str = "") -> tuple[str, str]:
    """What a child still says and complains of; `communicate` would lose what `hear` has read ahead."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(given)
        process.stdin.close()
    with process.stdout, process.stderr:
        said, complaints = process.stdout.read(), process.stderr.read()
    process.wait(PATIENCE)
    return said, complaints


def kill(process: "subprocess.Popen[str]") -> list[str]:
    """Kill a child; the whole lines that it said and nobody had read yet."""
    process.kill()
    return killed(process)


def tell(process: "subprocess.Popen[str]", line: str = "go") -> None:
    """Give the child a line to read."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: "subprocess.Popen[str]") -> str:
    """The next line that the child says; fails with its complaints if it said none."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line.removesuffix("\n")


def obey_modes() -> None:
    """To be called before a child runs: gives up what lets root write anywhere.

    That is CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER.
    """
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2, 3):
            if libc.prctl(24, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "cannot drop a capability")
