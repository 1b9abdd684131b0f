"""What was measured last, workload by workload: a file each in `results/`, and the page RESULTS.md made of them all."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import Bar, Row, table

HERE = Path(__file__).parent
INTRODUCTION = """# Results

Written by `python benchmarks/run.py`, which replaces the workloads that it ran in full. Times are medians over
alternating rounds; compare ratios, not times. A ratio is ours against the reference in the sense of the bar beside it.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A workload's rows and where they come from: `commit` (`+` if there were changes beside it), `date`, machine.

    `seconds` is what it took, 0 if that was not kept.
    """

    workload: str
    commit: str
    date: str
    seconds: float
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    rows: Sequence[Row]


def save(measured: Measured, folder: Path = HERE) -> None:
    """Replaces what was kept of that workload."""
    path = folder / "results" / f"{measured.workload}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(measured), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def publish(order: Sequence[str], folder: Path = HERE) -> None:
    """Makes RESULTS.md of what is kept of these workloads, in their order."""
    paths = [folder / "results" / f"{name}.json" for name in order]
    kept = [_read(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]
    text = "\n".join([INTRODUCTION, *(line for one in kept for line in _section(one))])
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")


def commit() -> str:
    """The commit that is measured, with `+` if the working tree differs from it in what is measured."""
    name = _git("rev-parse", "--short=8", "HEAD")
    changed = _git(
        "status", "--porcelain", "--", ":/", ":(top,exclude)benchmarks/results", ":(top,exclude)benchmarks/RESULTS.md"
    )
    return name + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _read(document: dict[str, Any]) -> Measured:
    rows = [Row(**row | {"bar": Bar(**row["bar"]) if row["bar"] else None}) for row in document.pop("rows")]
    return Measured(rows=rows, **document)


def _section(it: Measured) -> Iterator[str]:
    yield f"## {it.workload}\n"
    yield table({it.workload: it.rows}) + "\n"
    took = f", {it.seconds:.0f} s" if it.seconds else ""
    yield f"{it.date} at {it.commit}{took}. {_facts(it.machine)}. {_facts(it.versions)}.\n"


def _facts(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in ("", "not installed"))
