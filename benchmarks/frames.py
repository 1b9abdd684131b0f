"""Runs as a data frame, against pandas reading the same table out of SQLite and out of a CSV file.

The million has one metric a run. What a trainer records of a run (nine metrics, an environment, a log) is measured at
fewer runs, and stands for itself. What a first call reads from disk and imports is read and imported before.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pandas
from filled import BATCH, filled
from harness import Bar, Row, alternate, medians, scratch, timed
from project import make_project

import dagstore
from dagstore import Status
from dagstore.charter import make_protocol
from dagstore.model import Run, Tree

MILLION = 1_000_000
SECONDS = Bar(5.0, absolute=True)
METRICS = (
    *("val_bpb", "training_seconds", "total_seconds", "peak_vram_mb", "mfu_percent"),
    *("total_tokens_m", "num_steps", "num_params_m", "depth"),
)
ENVIRONMENT = {"python": "3.12.7", "torch": "2.9.1", "cuda": "12.8", "driver": "570.86", "lock": "9f3c52d1" * 8}


def rows(*, quick: bool) -> list[Row]:
    size, full, rounds = (100_000, 10_000, 3) if quick else (MILLION, 50_000, 5)
    with scratch() as folder:
        store = filled(size)
        runs = store.runs()[:size]
        found = [*_against(f"{size:,} runs to a frame", runs.to_frame, folder / "runs", rounds, SECONDS)]
        nodes = store.nodes()[: size // 10]
        seconds = timed(nodes.to_frame)
        found.append(Row(f"{len(nodes):,} nodes to a frame", seconds, None, "s", note="once"))
        store.close()
        with _recorded(folder, full) as store:
            name = f"{full:,} runs with 9 metrics, environment and log"
            found += _against(name, store.runs().to_frame, folder / "full", rounds, None)
    return found


def _against(name: str, ours: Callable[[], Any], file: Path, rounds: int, bar: Bar | None) -> list[Row]:
    frame = ours()
    table, text = _database(frame, file.with_suffix(".db")), file.with_suffix(".csv")
    frame.to_csv(text, index=False)
    works = {
        "ours": lambda: timed(ours),
        "sql": lambda: timed(lambda: pandas.read_sql("SELECT * FROM runs", table)),
        "csv": lambda: timed(lambda: pandas.read_csv(text)),
    }
    del frame
    seconds = medians(alternate(works, rounds))
    table.close()
    mine = seconds["ours"]

    def row(other: str, what: str, bar: Bar | None = None) -> Row:
        return Row(f"{name} / {what}", mine, seconds[other], "s", mine / seconds[other], bar, "smaller is better")

    return [row("sql", "pandas.read_sql, SQLite", bar), row("csv", "pandas.read_csv")]


def _database(frame: "pandas.DataFrame", file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    plain = frame.astype({name: object for name in frame if isinstance(frame[name].dtype, pandas.CategoricalDtype)})
    plain.to_sql("runs", connection, index=False)
    return connection


def _recorded(folder: Path, count: int) -> dagstore.Store:
    """A store with so many runs of its seed node, each with all that a trainer records."""
    project, random = make_project(folder / "project"), Random(count)
    dagstore.init(project)
    store = dagstore.open(project)
    protocol = make_protocol(store.charter(), Tree(store.files("@seed")), "")
    node = store.resolve("@seed")
    for start in range(0, count, BATCH):
        with store._write() as txn:
            for number in range(start, min(start + BATCH, count)):
                log = f"step {number}: {random.random()}\n".encode() * 20
                store._record_run(txn, _run(node, number, random), protocol, {"log": log})
    return store


def _run(node: dagstore.NodeId, number: int, random: Random) -> Run:
    return Run(
        node=node,
        protocol=dagstore.ProtocolId(bytes(32)),  # the store enters the id of the protocol that it is given
        platform="NVIDIA H100 80GB HBM3 x1",
        status=Status.OK,
        metrics={name: random.gauss(1.0, 0.01) for name in METRICS},
        started=1_700_000_000_000 + number * 300_000,
        seconds=300.0 + random.random(),
        runner="gpu-7",
        seed=number,
        exit_code=0,
        environment=ENVIRONMENT,
    )
