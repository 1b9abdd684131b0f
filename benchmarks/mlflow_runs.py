"""Run by the Python that has MLflow: how long `search_runs` takes for the top runs by metric, in SQLite.

python mlflow_runs.py FOLDER TOP ROUNDS SIZE … prints one JSON object: the version, and seconds of every round by size.
"""

import json
import sys
import time
import uuid
from pathlib import Path
from random import Random

import mlflow  # type: ignore[import-not-found]
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag  # type: ignore[import-not-found]
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # type: ignore[import-not-found]

STARTED = 1_700_000_000_000
MODELS = (SqlRun, SqlParam, SqlTag, SqlMetric, SqlLatestMetric)


def main() -> None:
    folder, top, rounds, *sizes = sys.argv[1:]
    found = {size: _seconds(Path(folder) / f"{size}.db", int(size), int(top), int(rounds)) for size in sizes}
    json.dump({"version": mlflow.__version__, "seconds": found}, sys.stdout)


def _seconds(file: Path, size: int, top: int, rounds: int) -> list[float]:
    store = SqlAlchemyStore(f"sqlite:///{file}", str(file.with_suffix(".artifacts")))
    experiment = store.create_experiment("bench")
    _log(store, experiment, size)
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        found = store.search_runs([experiment], "", 1, max_results=top, order_by=["metrics.val_bpb ASC"])
        seconds.append(time.perf_counter() - start)
        values = [run.data.metrics["val_bpb"] for run in found]
        if len(values) != top or values != sorted(values):
            raise RuntimeError(f"search_runs returned {values}")
    return seconds[1:]


def _log(store: SqlAlchemyStore, experiment: str, size: int) -> None:
    """Runs with one parameter and one metric, as its client logs them, written to its tables in bulk."""
    random = Random(size)
    rows: dict[type, list[dict[str, object]]] = {
        SqlRun: [],
        SqlParam: [],
        SqlTag: [],
        SqlMetric: [],
        SqlLatestMetric: [],
    }
    for number in range(size):
        run = uuid.UUID(int=random.getrandbits(128)).hex
        rows[SqlRun].append(_run(run, experiment, number))
        rows[SqlParam].append({"run_uuid": run, "key": "MATRIX_LR", "value": f"{random.random():.12f}"})
        rows[SqlTag].append({"run_uuid": run, "key": "mlflow.runName", "value": f"rate {number}"})
        metric = {"run_uuid": run, "key": "val_bpb", "value": random.gauss(1.0, 0.01), "timestamp": STARTED, "step": 0}
        rows[SqlMetric].append(metric | {"is_nan": False})
        rows[SqlLatestMetric].append(metric | {"is_nan": False})
    with store.ManagedSessionMaker() as session:
        for model, values in rows.items():
            session.bulk_insert_mappings(model, values)


def _run(run: str, experiment: str, number: int) -> dict[str, object]:
    return {
        "run_uuid": run,
        "name": f"rate {number}",
        "source_type": "LOCAL",
        "source_name": "",
        "entry_point_name": "",
        "user_id": "bench",
        "status": "FINISHED",
        "start_time": STARTED + number,
        "end_time": STARTED + number + 300_000,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": "",
        "experiment_id": int(experiment),
    }


if __name__ == "__main__":
    main()
