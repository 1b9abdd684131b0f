"""Many nodes in one transaction: what was recorded is what is read, in the same process and by the next one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dagstore
from dagstore.errors import BadInput, NotFound, Refused
from dagstore.testing.builders import make_store

PATHS = ("train.py", "a/one.py", "a/two.py", "b.py", "z" * 200)
TEXTS = st.binary(max_size=12) | st.binary(min_size=1, max_size=3).map(lambda part: part * 300)
CHANGES = st.dictionaries(st.sampled_from(PATHS), st.none() | TEXTS)
STEPS = st.lists(st.tuples(st.integers(0, 7), CHANGES), max_size=40)


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as store:
        yield store


def grow(store, steps):
    """Record what of the steps (parent, changes) is possible; every node with its files."""
    known = {id: files_of(store, id) for id in store.nodes().ids()}
    with store.batch(7) as batch:
        for back, changes in steps:
            parent = list(known)[-1 - back % len(known)]
            possible = {path: data for path, data in changes.items() if data is not None or path in known[parent]}
            merged = {**known[parent], **possible}
            files = {path: data for path, data in merged.items() if data is not None}
            if files != known[parent]:
                known[batch.record([parent], possible)] = files
    return known


def files_of(store, node):
    return {entry.path: store.blob(entry.blob) for entry in store.files(node)}


def check(store, known):
    assert list(store.nodes().ids()) == list(known)
    for node, files in known.items():
        assert {path: store.cat(node, path) for path in files} == files == files_of(store, node)
        for path in {*PATHS, "a", "a/one"} - files.keys():
            with pytest.raises(NotFound, match="no file"):
                store.cat(node, path)


@settings(max_examples=40)
@given(STEPS)
def test_every_file_of_every_node_comes_back(tmp_path_factory, steps):
    with make_store(tmp_path_factory.mktemp("batch")) as store:
        root = store.root
        known = grow(store, steps)
        check(store, known)
    with dagstore.open(root) as store:
        check(store, known)
        assert store.fsck("full").clean


def test_a_line_is_named_from_both_ends(store):
    [seed] = store.nodes().ids()
    line = [seed]
    with store.batch() as batch:
        for number in range(200):
            line.append(batch.record([line[-1]], {"train.py": b"print(%d)\n" % number * 40}))
    assert list(store.lineage(line[-1]).ids()) == line[::-1]
    assert list(store.nodes(after=line[99], limit=64).ids()) == line[100:164]
    assert [store.cat(node, "train.py")[:10] for node in line[1:4]] == [b"print(0)\np", b"print(1)\np", b"print(2)\np"]
    assert store.merge_base(line[-1], line[70]) == line[70]


def test_looking_at_ids_keeps_no_old_state_alive(store):
    with store.batch() as batch:
        line = [batch.record(["@seed"], {"train.py": b"%d" % number}) for number in range(20)]
    ids = store.nodes(after="@seed").ids()
    assert next(ids) == line[0]
    assert store.readers() == []
    assert list(ids) == line[1:]


def test_what_is_refused_leaves_the_batch_as_it_was(store):
    with store.batch() as batch:
        one = batch.record(["@seed"], {"train.py": b"one"})
        with pytest.raises(BadInput, match="no 'gone' to delete"):
            batch.record([one], {"train.py": b"two", "gone": None})
        with pytest.raises(NotFound):
            batch.record(["nobody"], {"train.py": b"two"})
        two = batch.record([one], {"train.py": b"two"})
    assert list(store.lineage(two).ids())[:2] == [two, one]
    assert store.count() == 3


def test_an_error_ends_a_batch_with_nothing_of_its_transaction(store):
    def breaks_off():
        with store.batch(2) as batch:
            kept.extend(batch.record(["@seed"], {"train.py": b"%d" % number}) for number in range(2))
            batch.record(["@seed"], {"train.py": b"lost"})
            raise ZeroDivisionError

    kept = []
    with pytest.raises(ZeroDivisionError):
        breaks_off()
    assert list(store.nodes().ids())[1:] == kept
    with store.batch() as batch:
        again = batch.record(["@seed"], {"train.py": b"lost"})
    assert store.cat(again, "train.py") == b"lost"
    assert store.fsck("full").clean


def test_a_charter_may_change_only_into_one_that_can_be_read(store):
    charter = store.cat("@seed", "dag.toml")
    with store.batch() as batch:
        with pytest.raises(Refused, match="locked"):
            batch.record(["@seed"], {"dag.toml": None})
        with pytest.raises(Refused, match="is gone"):
            batch.record(["@seed"], {"dag.toml": None}, unlock=True)
        with pytest.raises(BadInput, match=r"dag\.toml"):
            batch.record(["@seed"], {"dag.toml": b"command = 1\n"}, unlock=True)
        node = batch.record(["@seed"], {"dag.toml": charter + b"# wider\n"}, unlock=True)
    assert store.count() == 2
    assert store.charter(node) == store.charter("@seed")
