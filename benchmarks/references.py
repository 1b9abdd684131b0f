"""git, pygit2 and MLflow as the benchmarks use them: without anybody's settings, and absent without a failure.

pygit2 is imported where it is installed beside dagstore (`pip install pygit2`). MLflow gets an environment of its own
in the cache, because it brings 50 packages along. Neither is a dependency of dagstore.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

CACHE = Path(__file__).parent / ".cache"
"""What takes minutes to build, ignored by git. It may be deleted at any time."""

REF = "refs/heads/main"
NOT_INSTALLED = "not installed"
MLFLOW = ("mlflow-skinny==3.17.2", "sqlalchemy", "alembic")
FIRST_SECOND = 1_700_000_000


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache; `make` fills it if it is not there."""
    folder, partial = CACHE / name, CACHE / f"{name}.partial"
    if not folder.exists():
        print(f"  making {folder.name} in {CACHE} …", file=sys.stderr, flush=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(folder)
    return folder


# --- git ---


def git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    """What the command prints; `CalledProcessError` if it fails."""
    found = subprocess.run(
        ["git", *words], cwd=folder, env=environment(), input=stdin, stdout=subprocess.PIPE, check=True
    )
    return found.stdout


def environment() -> dict[str, str]:
    """Nobody's own configuration of git."""
    who = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return who | {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def commit_command(
    mark: int,
    parents: Sequence[str],
    *,
    message: bytes = b"",
    files: Mapping[str, bytes] | None = None,
    second: int | None = None,
) -> bytes:
    """A commit in the language of `git fast-import`, with whole files.

    Parents are marks (":7") or names. It is dated `second` seconds, `mark` if not given, after a fixed start.
    """
    when = FIRST_SECOND + (mark if second is None else second)
    lines = [f"commit {REF}\nmark :{mark}\ncommitter bench <bench> {when} +0000\n".encode(), _data(message)]
    lines += [f"{'merge' if at else 'from'} {parent}\n".encode() for at, parent in enumerate(parents)]
    for path, content in (files or {}).items():
        lines += [f"M 100644 inline {path}\n".encode(), _data(content)]
    return b"".join([*lines, b"\n"])


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def fast_import(folder: Path, commands: Iterable[bytes], marks: Path) -> None:
    """Imports the commands, durably, and writes which mark became which commit; default settings of git."""
    words = ["git", "fast-import", "--quiet", "--force", f"--export-marks={marks.absolute()}"]
    with subprocess.Popen(words, cwd=folder, env=environment(), stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.writelines(commands)
        process.stdin.close()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, words)


def fast_import_file(folder: Path, commands: Path) -> None:
    """The same for commands that stand in a file, which git reads by itself."""
    with commands.open("rb") as file:
        words = ["git", "fast-import", "--quiet", "--force"]
        subprocess.run(words, cwd=folder, env=environment(), stdin=file, check=True)


def commits_of(marks: Path) -> list[str]:
    """The ids that `fast_import` gave, in the order of the marks."""
    pairs = (line.split() for line in marks.read_text(encoding="ascii").splitlines())
    return [commit for _, commit in sorted((int(mark[1:]), commit) for mark, commit in pairs)]


# --- pygit2 and MLflow ---


def pygit2() -> ModuleType | None:
    try:
        return importlib.import_module("pygit2")
    except ImportError:
        return None


def pygit2_version() -> str:
    """As a note of a row says it."""
    module = pygit2()
    return f"pygit2 {module.__version__ if module else NOT_INSTALLED}"


def mlflow_search(folder: Path, sizes: Sequence[int], *, top: int, rounds: int) -> dict[str, Any] | None:
    """`{"version": …, "seconds": {size: [seconds of a round, …]}}`; None where MLflow cannot be installed."""
    try:
        python = cached(f"mlflow-{MLFLOW[0].rpartition('=')[2]}", _install_mlflow) / "bin" / "python"
    except (OSError, subprocess.CalledProcessError):
        return None
    script = Path(__file__).with_name("mlflow_runs.py")
    words = [str(python), str(script), str(folder), str(top), str(rounds), *map(str, sizes)]
    found = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def _install_mlflow(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, stdout=sys.stderr)
    # The environment is renamed once it is whole, so nothing but its `python` is called.
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *MLFLOW], check=True, stdout=sys.stderr)
