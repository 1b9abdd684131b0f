"""Columns as data frames. pandas is loaded when a frame is asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagstore.census import environment_id
from dagstore.model import Protocol
from dagstore.tabular import RunColumns, Sparse, Words

if TYPE_CHECKING:
    import pandas


def run_frame(runs: RunColumns, protocols: Sequence[Protocol]) -> "pandas.DataFrame":
    """One row a run; `protocols` are those of the runs, by code. Columns are the fields of `RunView`.

    Ids are 64 hex digits. What takes few values is categorical, whole numbers that may be missing are `Int64`. What a
    run does not report is missing.
    """
    import pandas

    count = len(runs)
    columns: dict[str, Any] = {
        "id": runs.id,
        "node": runs.node,
        "status": _categories(runs.status),
        "value": _values(runs, protocols),
        **{f"metrics.{name}": _floats(metric, count) for name, metric in runs.metrics.items()},
        "seconds": _numbers(runs.seconds),
        "platform": _categories(runs.platform),
        "protocol": _categories(runs.protocol, bytes.hex),
        "metric": _renamed(runs.protocol, [protocol.metric for protocol in protocols]),
        "seed": _whole(runs.seed),
        "runner": _categories(runs.runner),
        "started": _whole(runs.started),
        "exit_code": _whole(runs.exit_code),
        "reason": _categories(runs.reason),
        "ending": _categories(runs.ending),
        **_environment(runs.environment),
        **{f"artifacts.{name}": _texts(artifact, count) for name, artifact in runs.artifacts.items()},
    }
    return pandas.DataFrame(columns)


def node_frame(columns: Mapping[str, Sequence[Any]]) -> "pandas.DataFrame":
    """One row a node; ids become text, lists of them too."""
    import pandas

    shown = {name: _shown(name, values) for name, values in columns.items()}
    return pandas.DataFrame(shown)


def _shown(name: str, values: Sequence[Any]) -> Any:
    import pandas

    if name in ("id", "tree", "primary"):
        return [value and value.hex() for value in values]
    if name == "adopted":
        return [[id.hex() for id in ids] for ids in values]
    if name == "names":
        return [list(names) for names in values]
    if name in ("status", "agent"):
        return pandas.Categorical(values)
    if name in ("estimate", "low", "high"):
        return _measured(values)
    return values


def _measured(values: Sequence[float | None]) -> Any:
    import numpy

    return numpy.array(values, dtype=float)  # None becomes NaN


def _values(runs: RunColumns, protocols: Sequence[Protocol]) -> Any:
    """Of each run its protocol's metric, where it ended `ok`."""
    import numpy

    found = numpy.full(len(runs), numpy.nan)
    of, ok = _numbers(runs.protocol.codes), _is(runs.status, "ok")
    for name, metric in runs.metrics.items():
        meant = numpy.array([protocol.metric == name for protocol in protocols])
        rows = _numbers(metric.rows)
        counted = meant[of[rows]] & ok[rows]
        found[rows[counted]] = _numbers(metric.values)[counted]
    return found


def _is(words: Words, word: str) -> Any:
    import numpy

    return numpy.array([value == word for value in words.values()])[_numbers(words.codes)]


def _numbers(column: Any) -> Any:
    import numpy

    return numpy.array(column)


def _floats(column: Sparse, count: int) -> Any:
    import numpy

    found = numpy.full(count, numpy.nan)
    found[_numbers(column.rows)] = column.values
    return found


def _texts(column: Sparse, count: int) -> Any:
    found: list[str | None] = [None] * count
    for row, id in zip(column.rows, column.values, strict=True):
        found[row] = id.hex()
    return found


def _categories(words: Words, show: Callable[[Any], Any] = str) -> Any:
    return _renamed(words, [show(value) for value in words.values()])


def _renamed(words: Words, names: Sequence[Any]) -> Any:
    """The column with `names` in place of its values; some may be the same, and None is a missing one."""
    import numpy
    import pandas

    distinct = list(dict.fromkeys(name for name in names if name is not None))
    places = {name: at for at, name in enumerate(distinct)} | {None: -1}
    to = numpy.array([places[name] for name in names], dtype=numpy.int32)
    codes = to[_numbers(words.codes)] if len(words) else to
    return pandas.Categorical.from_codes(codes, distinct)


def _environment(words: Words) -> dict[str, Any]:
    each = [dict(pairs) for pairs in words.values()]
    names = sorted({name for one in each for name in one})
    facts = {f"environment.{name}": _renamed(words, [one.get(name) for one in each]) for name in names}
    return {**facts, "environment_id": _renamed(words, [environment_id(one) for one in each])}


def _whole(column: Sequence[int | None]) -> Any:
    """`Int64`, or as they are if one does not fit."""
    import numpy
    import pandas

    try:
        values = numpy.array([0 if value is None else value for value in column], dtype="int64")
    except OverflowError:
        return numpy.array(column, dtype=object)
    return pandas.arrays.IntegerArray(values, numpy.array([value is None for value in column], dtype=bool))
