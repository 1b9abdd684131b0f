"""Plurals as data frames: the same as reading each record, by the column."""

import pandas
import pytest

import dagstore
from dagstore import Damaged
from dagstore.model import Status
from dagstore.shown import flat_rows
from dagstore.testing.builders import make_child, make_store, measure


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as store:
        yield store


def fill(store):
    """Nodes and runs of every kind that a frame may have to show."""
    first = make_child(store, "@seed", {"train.py": "LR = 2\n"}, why="double it", agent="ann")
    second = make_child(store, "@seed", {"train.py": "LR = 1\n", "more.py": "x = 1\n"}, why="less\nand more")
    both = store.adopt(first, second, agent="bob").node
    measure(store, "@seed", 1.0)
    measure(store, first, 0.9, metrics={"peak_mb": 3.0})
    measure(store, first, 0.8, seed=1, metrics={"peak_mb": 5.0, "seconds": 7.0}, log=b"said much\n" * 40)
    measure(store, second, None, Status.CRASHED, platform="NVIDIA H100 80GB HBM3")
    measure(store, second, 2.0, platform="NVIDIA H100 80GB HBM3", fingerprint="other")
    store.name("best", first)
    store.name("first", first)
    return first, second, both


def same(frame, records):
    """Whether a frame shows what each of the records shows, absent values aside."""
    expected = pandas.DataFrame(flat_rows(records))
    assert set(frame) <= set(expected) | {"value"}
    for name in expected:
        pairs = (
            zip(frame[name], expected[name], strict=True) if name in frame else ((None, one) for one in expected[name])
        )
        assert all(one == other or (missing(one) and missing(other)) for one, other in pairs), name
    return True


def missing(value):
    return not isinstance(value, list) and pandas.isna(value)


def test_a_frame_of_runs_shows_what_every_run_shows(store):
    fill(store)
    frame = store.runs().to_frame()
    assert same(frame, list(store.runs()))
    assert len(frame) == len(store.runs()) == 5
    assert [str(frame[name].dtype) for name in ("status", "platform", "protocol", "runner")] == ["category"] * 4
    assert str(frame["seed"].dtype) == "Int64"
    assert frame["metrics.peak_mb"].isna().sum() == 3


def test_a_frame_of_nodes_shows_what_every_node_shows(store):
    first, *_ = fill(store)
    assert same(store.nodes().to_frame(), list(store.nodes()))
    assert same(store.nodes(newest_first=True).to_frame(), list(store.nodes(newest_first=True)))
    assert same(store.children("@seed").to_frame(), list(store.children("@seed")))
    assert list(store.nodes().to_frame().set_index("id").loc[str(first), "names"]) == ["best", "first"]


def test_nothing_makes_an_empty_frame_with_columns(store):
    assert len(store.runs().to_frame()) == 0
    assert {"id", "node", "status", "value", "seed"} <= set(store.runs().to_frame())
    assert list(store.nodes()[:0].to_frame()) == list(store.nodes().to_frame())


def test_runs_are_read_when_they_are_looked_at_and_settled_when_they_are_asked_for(store):
    first, *_ = fill(store)
    runs = store.runs()
    measure(store, first, 0.7, seed=9)
    assert (len(runs), len(store.runs())) == (5, 6)
    assert (runs[0].value, runs[-1].platform) == (1.0, "NVIDIA H100 80GB HBM3")
    assert [run.value for run in runs[1:3]] == [0.9, 0.8]
    assert runs[::-1][0] == runs[-1]
    assert list(runs[1:3].to_frame()["value"]) == [0.9, 0.8]
    assert "and " not in runs._repr_html_()
    assert list(store.runs(first)) == [runs[1], runs[2], store.runs()[-1]]
    with pytest.raises(IndexError):
        runs[5]


def test_many_runs_are_read_as_few_are(store, monkeypatch):
    fill(store)
    few = store.runs().to_frame(), store.nodes().to_frame()
    monkeypatch.setattr("dagstore.tabular.MANY", 1)
    monkeypatch.setattr("dagstore.tabular.PAGE", 2)
    monkeypatch.setattr("dagstore.nodetable.SCATTERED", 0)
    many = store.runs().to_frame(), store.nodes().to_frame()
    for one, other in zip(few, many, strict=True):
        pandas.testing.assert_frame_equal(one, other)


def test_a_seed_of_any_size_is_shown(store):
    measure(store, "@seed", 1.0, seed=(1 << 64) - 1)
    assert list(store.runs().to_frame()["seed"]) == [(1 << 64) - 1]


def test_damage_does_not_become_numbers(tmp_path):
    with make_store(tmp_path) as store:
        for seed in range(200):
            measure(store, "@seed", 1.0, seed=seed)
    log = tmp_path / "project" / ".dag" / "log"
    data = bytearray(log.read_bytes())
    data[data.rindex(b"tester") + 3] ^= 1
    log.write_bytes(data)
    with dagstore.open(tmp_path / "project") as store, pytest.raises(Damaged):
        store.runs().to_frame()
