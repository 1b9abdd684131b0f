"""What an experiment reports, read from text that nobody vouches for."""

import json
import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.metrics import MAX_FILE, MAX_METRICS, METRICS_FILE, STEPS_FILE, Metrics, collect

FINAL = b"""step 10 | loss: 3.1
---
val_bpb:          0.997900
training_seconds: 300.1
peak_vram_mb:     45060.2
depth:            8
"""


def values(log: bytes) -> dict[str, float]:
    return collect(log, None, None).values


def from_file(folder: Path, text: str | bytes) -> Metrics:
    path = folder / "metrics.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return collect(b"", path, None)


def from_steps(folder: Path, text: str) -> Metrics:
    path = folder / "steps.jsonl"
    path.write_text(text)
    return collect(b"", None, path)


def test_the_block_that_ends_a_script() -> None:
    expected = {"val_bpb": 0.9979, "training_seconds": 300.1, "peak_vram_mb": 45060.2, "depth": 8.0}
    assert values(FINAL) == expected
    assert list(values(FINAL)) == list(expected)
    assert values(FINAL + b"\nUserWarning: something\n  warn(x)\n") == expected


def test_only_the_last_block_counts() -> None:
    assert values(b"old: 1\nnot a metric\nval: 2\n\nval: 3\n") == {"val": 3.0}
    assert values(b"val: 2\ndevice: cuda\n\nseconds: 3\n") == {"val": 2.0, "seconds": 3.0}
    assert values(b"val: 2\nnot a metric\n") == {"val": 2.0}
    assert values(b"val: 2\nval: 3\n") == {"val": 3.0}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a:1", 1.0),
        (" a : 1e-5 ", 1e-5),
        ("a: -.5", -0.5),
        ("a: 5.", 5.0),
        ("a: +1E3", 1000.0),
        ("a: -0.0", 0.0),
        ("a: 1\r", 1.0),
        ("10%\r20%\ra: 1", 1.0),
        ("a: 1\ra: 2\r\r", 2.0),
    ],
)
def test_forms_of_a_line(line: str, expected: float) -> None:
    found = values(line.encode())
    assert found == {"a": expected}
    assert math.copysign(1, found["a"]) == math.copysign(1, expected)


@pytest.mark.parametrize(
    "line",
    [
        "a: 1 s",
        "a: 1_000",
        "a: 0x10",
        "a: ",
        "a 1",
        "1a: 1",
        "a b: 1",
        "ä: 1",
        "a: \u0661",
        "a: 1\rgone",
        "x" * 65 + ": 1",
    ],
)
def test_what_is_no_metric(line: str) -> None:
    assert collect(line.encode(), None, None) == Metrics({}, {})


@pytest.mark.parametrize("text", ["nan", "NaN", "-inf", "Infinity", "1e999"])
def test_what_is_not_finite_is_rejected_by_name(text: str) -> None:
    found = collect(f"val_bpb: {text}\ndepth: 8\n".encode(), None, None)
    assert found.values == {"depth": 8.0}
    assert found.rejected == {"val_bpb": str(float(text))}


def test_a_long_log_costs_no_more_than_its_end() -> None:
    log = b"loss: 1.0\n" * 6_400_000 + b"---\nval_bpb: 0.5\n"
    started = time.perf_counter()
    assert values(log) == {"val_bpb": 0.5}
    assert time.perf_counter() - started < 0.5
    assert values(b"cut_me: 1\n" * 10_000) == {"cut_me": 1.0}


def test_a_line_cut_by_the_window_names_no_other_metric() -> None:
    log = b"a" * 100 + b"val: 1\n" + b"b: 2\n" * ((1 << 16) // 5 - 1)
    for shift in range(12):
        assert values(log + b"\n" * shift).keys() <= {"b"}


def test_the_file_holds_one_object_of_numbers(tmp_path: Path) -> None:
    found = from_file(tmp_path, '{"a": 1, "b": -0.0, "c": 1e-3, "a": 2}')
    assert found == Metrics({"a": 2.0, "b": 0.0, "c": 0.001}, {})
    assert math.copysign(1, found.values["b"]) == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("true", "true"),
        ("null", "null"),
        ('"0.9"', "'0.9'"),
        ("{}", "an object"),
        ("[1]", "a list"),
        ("NaN", "nan"),
        ("-Infinity", "-inf"),
        ("1e999", "inf"),
        ("1" + "0" * 400, "an integer beyond every float"),
    ],
)
def test_what_is_no_number_is_rejected(tmp_path: Path, value: str, why: str) -> None:
    assert from_file(tmp_path, f'{{"a": {value}, "b": 1}}') == Metrics({"b": 1.0}, {"a": why})


@pytest.mark.parametrize(
    "text",
    ["[1]", "1", "null", "{", "{}{}", "\x00", b"\xff{}", "[" * 200_000, '{"a":' * 200_000, '{"a": ' + "9" * 5000],
)
def test_a_malformed_file_is_rejected_whole(tmp_path: Path, text: str | bytes) -> None:
    assert from_file(tmp_path, text) == Metrics({}, {METRICS_FILE: "not one JSON object"})


def test_names_from_outside_are_printable_and_short(tmp_path: Path) -> None:
    rejected = from_file(tmp_path, json.dumps({"\x1b[31m": 1, "\u202e": 1, "": 1, "n" * 10_000: 1})).rejected
    assert set(rejected.values()) == {"not a metric's name"}
    assert all(name.isprintable() and len(name) <= 80 for name in rejected)
    assert all(why.isprintable() for why in from_file(tmp_path, json.dumps({"a": "\x1b\u202e"})).rejected.values())


def test_a_file_that_is_missing_or_empty_says_nothing(tmp_path: Path) -> None:
    assert collect(b"", tmp_path / "no", tmp_path / "no") == Metrics({}, {})
    assert from_file(tmp_path, "") == Metrics({}, {})


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text('{"a": 1}')
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, why in (("link", "a symbolic link"), ("fifo", "not a regular file"), ("folder", "not a regular file")):
        path = tmp_path / name
        assert collect(b"", path, path) == Metrics({}, {METRICS_FILE: why, STEPS_FILE: why})


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    text = '{"a": 1' + " " * MAX_FILE + "}"
    assert from_file(tmp_path, text) == Metrics({}, {METRICS_FILE: f"longer than {MAX_FILE} bytes"})


def test_steps_keep_the_last_value(tmp_path: Path) -> None:
    lines = ['{"step": 1, "loss": 3, "val": 2}', "junk", "[1]", '{"step": 2, "loss": 2}', '{"loss": NaN}']
    assert from_steps(tmp_path, "\n".join(lines)) == Metrics({"step": 2.0, "val": 2.0}, {"loss": "nan"})
    assert from_steps(tmp_path, '{"loss": NaN}\n{"lo') == Metrics({}, {"loss": "nan"})
    assert from_steps(tmp_path, "{" * 100_000) == Metrics({}, {})


def test_of_long_steps_the_end_is_read(tmp_path: Path) -> None:
    text = '{"early": 1}\n' + '{"loss": 1.5}\n' * (MAX_FILE // 14) + '{"loss": 1.25}\n'
    assert from_steps(tmp_path, text) == Metrics({"loss": 1.25}, {})


def test_the_file_comes_before_the_block_and_the_block_before_steps(tmp_path: Path) -> None:
    metrics, steps = tmp_path / "m", tmp_path / "s"
    metrics.write_text('{"a": 1, "n": NaN}')
    steps.write_text('{"a": 3, "b": 3, "c": 3, "n": 3}')
    found = collect(b"a: 2\nb: 2\nn: 2", metrics, steps)
    assert found == Metrics({"a": 1.0, "b": 2.0, "c": 3.0}, {"n": "nan"})


def test_there_are_not_too_many(tmp_path: Path) -> None:
    found = from_file(tmp_path, json.dumps({f"m{number}": number for number in range(1000)}))
    assert list(found.values) == [f"m{number}" for number in range(MAX_METRICS)]
    assert len(found.rejected) == MAX_METRICS


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}", fullmatch=True), st.floats(), max_size=20))
def test_every_float_comes_back_as_written(metrics: dict[str, float]) -> None:
    log = "noise\n" + "".join(f"{name}: {value!r}\n" for name, value in metrics.items()) + "more noise\n"
    found = collect(log.encode(), None, None)
    assert found.values == {name: value for name, value in metrics.items() if math.isfinite(value)}
    assert found.rejected.keys() == metrics.keys() - found.values.keys()


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    found = collect(data, None, None)
    assert all(math.isfinite(value) for value in found.values.values())
