"""Whole processes, start to end: `dag frontier` against merely importing the libraries that it needs."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filled import fill
from harness import DAG, Bar, Row, alternate, medians, scratch, timed

IMPORTS = [sys.executable, "-c", "import click, lmdb, msgpack, blake3"]
BAR = Bar(1.5)
# An installed wheel is compiled once; a checkout must be allowed to keep its bytecode to compare.
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def rows(*, quick: bool) -> list[Row]:
    with scratch() as folder:
        fill(folder / "project", 1_000).close()
        ask = [str(DAG), "-C", str(folder / "project"), "frontier"]
        works = {
            "frontier": lambda: _process(ask),
            "json": lambda: _process([*ask, "--json"]),
            "imports": lambda: _process(IMPORTS),
            "bare": lambda: _process([sys.executable, "-c", "pass"]),
        }
        alternate(works, 2)
        found = {name: seconds * 1e3 for name, seconds in medians(alternate(works, 21 if quick else 51)).items()}
    return [
        _row("dag frontier / importing click, lmdb, msgpack, blake3", found["frontier"], found["imports"], BAR),
        _row("dag frontier --json / importing the same", found["json"], found["imports"], BAR),
        _row("dag frontier / an empty python", found["frontier"], found["bare"]),
    ]


def _row(name: str, ours: float, reference: float, bar: Bar | None = None) -> Row:
    return Row(name, ours, reference, "ms", ours / reference, bar, "smaller is better")


def _process(words: Sequence[str | Path]) -> float:
    return timed(lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=True, env=ENVIRON))
