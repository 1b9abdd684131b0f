"""Protocols and platforms: which runs are compared with each other, and what else is known to set them apart."""

import json
from pathlib import Path

import pytest

from cli.main import main
from dagstore import Ambiguous, Status
from dagstore.census import environment_id
from dagstore.codec import identify
from dagstore.testing.builders import START, make_child, make_run, make_store, measure, protocol_of, write_files


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as store:
        yield store


def child(store, text):
    return make_child(store, "@seed", {"train.py": text})


def measure_in(store, ref, value, seed, **environment):
    run, protocol = make_run(store, ref, value, seed=seed)
    return store.add_run(run._replace(environment=environment), protocol)


def with_other_evaluator(store, number=2):
    """The node with another locked file."""
    workspace = Path(store.spawn("@seed").workspace)
    write_files(workspace, {"prepare.py": f"DATA = {number}\n"})
    return store.seal(workspace, unlock=True).node


def test_a_store_without_runs_has_neither(store):
    assert (store.protocols(), store.platforms()) == ((), ())


def test_a_changed_evaluator_opens_a_column_of_its_own(store):
    measure(store, "@seed", 0.1)
    node = with_other_evaluator(store)
    measure(store, node, 0.9)
    old, new = store.protocols()
    assert (old.runs, old.nodes, old.shown, new.runs, new.nodes, new.shown) == (1, 1, False, 1, 1, True)
    assert (old.metric, old.command, old.budget) == (new.metric, new.command, new.budget)
    assert [row.id for row in store.frontier().nodes] == [node]
    assert [row.id for row in store.frontier(protocol=old.id).nodes] == [store.resolve("@seed")]
    assert [row.id for row in store.frontier(protocol=old.short).nodes] == [store.resolve("@seed")]
    assert store.frontier(protocol=old.id).outside == 1


def test_a_protocol_says_what_it_is_and_what_was_measured_under_it(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    measure(store, a, 0.5, platform="H100")
    measure(store, a, 0.4, platform="cpu")
    measure(store, b, 0.4, platform="cpu")
    measure(store, b, None, Status.CRASHED, platform="cpu")
    (it,) = store.protocols()
    assert (it.command, it.metric, it.direction, it.budget) == ("python train.py", "val_loss", "minimize", 10.0)
    assert (it.locked, it.fingerprint, it.platforms) == (1, "", ("H100", "cpu"))
    assert (it.runs, it.nodes) == (4, 2)
    assert (it.first, it.last) == (START * 1000, START * 1000)
    assert str(it.id).startswith(it.short)


def test_first_and_last_are_times_that_runs_know(store):
    for seed, started in enumerate((5000, 0, 3000, 4000)):
        run, protocol = make_run(store, "@seed", 1.0, seed=seed)
        store.add_run(run._replace(started=started), protocol)
    (it,) = store.protocols()
    assert (it.first, it.last, it.runs) == (3000, 5000, 4)


def test_a_platform_has_a_row_for_each_protocol(store):
    a = child(store, "x = 1\n")
    for seed, value in enumerate((0.5, 0.7)):
        measure(store, a, value, platform="H100", seed=seed)
    measure(store, a, None, Status.OOM, platform="H100")
    measure(store, with_other_evaluator(store), 0.9, platform="H100")
    measure(store, a, 0.5, platform="cpu")
    first, second, cpu = store.platforms()
    assert [one.platform for one in (first, second, cpu)] == ["H100", "H100", "cpu"]
    assert (first.runs, first.ranked, first.nodes, first.noise.n) == (3, 2, 1, 2)
    assert first.noise.sd == pytest.approx(0.02**0.5)
    assert (second.runs, second.noise.sd, second.noise.n) == (1, None, 0)
    assert [one.shown for one in (first, second, cpu)].count(True) == 1
    assert first.protocol != second.protocol


def test_environments_are_counted_and_are_no_column(store):
    measure_in(store, "@seed", 0.5, 0, torch="2.12", python="3.12")
    measure_in(store, "@seed", 0.6, 1, python="3.12", torch="2.13")
    last = measure_in(store, "@seed", 0.7, 2, torch="2.13", python="3.12")
    measure_in(store, "@seed", 0.8, 3)
    (it,) = store.platforms()
    assert (len(it.environments), it.differs, it.runs, it.nodes) == (2, ("torch",), 4, 1)
    assert last.environment_id in it.environments
    assert store.frontier().nodes[0].runs == 4


def test_equal_environments_have_one_id_whatever_their_order():
    assert environment_id({"a": "1", "b": "2"}) == environment_id({"b": "2", "a": "1"})
    assert environment_id({"a": "1", "b": "2"}) != environment_id({"a": "1b", "": "2"})
    assert environment_id({}) == ""


def test_a_frame_has_a_row_each(store):
    measure(store, "@seed", 0.5)
    assert list(store.protocols().to_frame().metric) == ["val_loss"]
    assert list(store.platforms().to_frame().platform) == ["cpu"]
    assert "val_loss" in store.protocols()._repr_html_()


def test_the_index_is_made_again_as_it_was(store):
    measure_in(store, "@seed", 0.5, 0, torch="2.12")
    measure_in(store, "@seed", 0.6, 1, torch="2.13")
    before = store.protocols(), store.platforms()
    assert store.fsck("full").clean
    store.reindex()
    assert (store.protocols(), store.platforms()) == before
    assert store.fsck("full").clean


def test_the_beginning_of_several_protocols_is_ambiguous(store):
    alike = {}
    for number in range(10_000):
        begin = str(identify(protocol_of(store, "@seed", str(number))))[:4]
        other = alike.setdefault(begin, number)
        if other != number:
            break
    for fingerprint in (number, other):
        measure(store, "@seed", 0.5, fingerprint=str(fingerprint))
    with pytest.raises(Ambiguous, match=begin) as error:
        store.frontier(protocol=begin)
    assert all(one.short in error.value.message for one in store.protocols())


@pytest.fixture
def dag(store, capsys):
    def run(*words):
        root = store.root
        store.close()
        with pytest.raises(SystemExit) as stop:
            main(["-C", str(root), *words])
        said = capsys.readouterr()
        assert (stop.value.code, said.err) == (0, "")
        return said.out

    return run


def test_the_commands_list_both(store, dag):
    measure_in(store, "@seed", 0.5, 0, torch="2.12")
    measure_in(store, "@seed", 0.6, 1, torch="2.13")
    measure(store, with_other_evaluator(store), 0.7)
    (old, new) = json.loads(dag("protocols", "--json"))["protocols"]
    assert (old["runs"], new["shown"]) == (2, True)
    text = dag("protocols")
    assert old["short"] in text
    assert "python train.py" in text
    assert f"`dag frontier` is of {new['short']}" in text
    rows = json.loads(dag("platforms", "--json"))["platforms"]
    assert [row["differs"] for row in rows] == [["torch"], []]
    assert "2, differ in torch" in dag("platforms")
    assert "torch 2.13" in dag("show", "@seed")


def test_the_commands_say_that_there_is_nothing(dag):
    assert "nothing was measured" in dag("protocols")
    assert "nothing was measured" in dag("platforms")
