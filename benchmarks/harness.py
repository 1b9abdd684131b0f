"""What every workload shares: rows with their bars, alternating rounds, and the table that is printed and kept.

A figure of ours is never set against an absolute time: it stands beside a reference that was measured in the same run,
turn by turn, and the ratio counts. A bar that is missed is shown as **missed**; it does not fail the run.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISK = Path("/var/tmp" if Path("/var/tmp").is_dir() else tempfile.gettempdir())
"""Where stores and repositories are made. In memory, as /tmp often is, durable writes would cost nothing."""

TIMES = " \N{MULTIPLICATION SIGN}"
DAG = Path(sys.executable).with_name("dag")

VERSIONED = ("dagstore", "lmdb", "blake3", "msgpack", "backports.zstd", "click", "mlflow", "dvc")


@dataclass(frozen=True, slots=True)
class Bar:
    """What a row must reach: its ratio, or if `absolute` our own figure, is at least or at most `value`.

    With `upto` it is between the two.
    """

    value: float
    at_least: bool = False
    absolute: bool = False
    upto: float | None = None

    def met(self, ours: float | None, ratio: float | None) -> bool:
        figure = ours if self.absolute else ratio
        if figure is None:
            return False
        if self.upto is not None:
            return self.value <= figure <= self.upto
        return figure >= self.value if self.at_least else figure <= self.value

    def text(self, unit: str) -> str:
        of = f" {unit}".rstrip() if self.absolute else TIMES
        if self.upto is not None:
            return f"{self.value:g} to {self.upto:g}{of}"
        return f"{'≥' if self.at_least else '≤'} {self.value:g}{of}"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `ratio` is how many times better or worse, as the row's name says; None without a reference.

    `ours` is None where nothing was measured; the note says why.
    """

    name: str
    ours: float | None
    reference: float | None
    unit: str
    ratio: float | None = None
    bar: Bar | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        return self.bar.met(self.ours, self.ratio) if self.bar else None

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "**missed**"}[self.met]


Timed = Callable[[], float]
"""Does a piece of work and returns the seconds that count; preparing it does not."""


def alternate(works: Mapping[str, Timed], rounds: int) -> dict[str, list[float]]:
    """The seconds of every work in every round. They take turns, and each second round runs backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(works[name]())
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(samples) for name, samples in seconds.items()}


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least that share of them does not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="dag-bench-", dir=DISK) as folder:
        yield Path(folder)


def on_disk(folder: Path) -> int:
    """The bytes of blocks that a directory occupies; sparse parts of files do not count."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


# --- where it ran ---


def machine() -> dict[str, str]:
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": f"{_file_system(DISK)} at {DISK}",
        "load at the start": " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "git": _git_version()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _field(file: str, name: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _file_system(folder: Path) -> str:
    """The type of file system, from the longest mount point that `folder` lies below."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    found = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(found, default=(0, ""))[1]


def _git_version() -> str:
    return subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


# --- the table ---


def figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(results: Mapping[str, Sequence[Row]]) -> str:
    """The rows of all workloads as one Markdown table."""
    head = ("workload", "what", "ours", "reference", "unit", "ratio", "bar", "", "note")
    lines = [f"| {' | '.join(head)} |", "|---|---|---:|---:|---|---:|---:|---|---|"]
    for workload, rows in results.items():
        for row in rows:
            ratio = figure(row.ratio) + TIMES if row.ratio is not None else "-"
            bar = row.bar.text(row.unit) if row.bar else ""
            cells = (row.name, figure(row.ours), figure(row.reference), row.unit, ratio, bar, row.verdict, row.note)
            lines.append(f"| {workload} | {' | '.join(cells)} |")
    return "\n".join(lines)
