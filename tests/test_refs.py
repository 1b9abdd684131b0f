"""References: every way to name a node, and what is said of one that names none or several."""

import pytest

from dagstore.errors import Ambiguous, BadInput, NotFound
from dagstore.files import BlobFiles
from dagstore.finding import enter, find
from dagstore.ids import BlobId, NodeId
from dagstore.index import add, clear
from dagstore.model import Entry, Mode, Node, Tree
from dagstore.objects import Objects
from dagstore.refs import resolve
from dagstore.storage_memory import MemoryStorage
from dagstore.testing.builders import make_child, make_store, measure


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as store:
        yield store


@pytest.fixture
def line(store):
    """The seed and three generations below it."""
    nodes = [store.resolve("@seed")]
    for number in range(3):
        nodes.append(make_child(store, nodes[-1], {"train.py": f"print({number})\n"}))
    return nodes


def test_ids_and_their_beginnings(store, line):
    for node in line:
        assert store.resolve(node) == store.resolve(str(node)) == node
        assert store.resolve(store.short(node)) == node
        assert store.resolve(str(node)[:9]) == node


def test_special_nodes(store, line):
    assert store.resolve("@seed") == line[0]
    assert store.resolve("@last") == line[3]
    measure(store, line[1], 1.0)
    measure(store, line[2], 0.5)
    measure(store, line[3], 2.0)
    assert store.resolve("@best") == line[2]


def test_the_last_node_of_a_new_store_is_its_seed(store):
    assert store.resolve("@last") == store.resolve("@seed")


def test_the_best_of_equal_trees_is_the_oldest_node(store, line):
    other = make_child(store, line[3], {"train.py": "print(0)\n"})
    assert store.node(other).tree == store.node(line[1]).tree
    measure(store, other, 0.1)
    assert store.resolve("@best") == line[1]


def test_there_is_no_best_before_something_was_measured(store):
    with pytest.raises(NotFound, match="nothing was measured") as caught:
        store.resolve("@best")
    assert "dag run" in caught.value.hint


def test_names(store, line):
    assert store.name("base", line[1]) is None
    assert store.name("base", line[2]) == line[1]
    store.name("Wide.v2/best-one_x", line[1])
    assert store.resolve("base") == line[2]
    assert store.names() == {"base": line[2], "Wide.v2/best-one_x": line[1]}
    assert store.node(line[2]).names == ("base",)


@pytest.mark.parametrize("name", ["", "1st", "@best", "a b", "é", "a" * 101, "a~1", "-x", "a\n", ".a", "/a"])
def test_what_no_name_can_be(store, name):
    with pytest.raises(BadInput, match="is no name"):
        store.name(name, "@seed")


@pytest.mark.parametrize("name", ["abcd", "beef00", "a" * 64])
def test_a_name_cannot_be_taken_for_an_id(store, name):
    with pytest.raises(BadInput, match="node id"):
        store.name(name, "@seed")


@pytest.mark.parametrize("name", ["abc", "a" * 65, "abcg", "ABCD"])
def test_names_that_only_resemble_ids(store, name):
    store.name(name, "@seed")
    assert store.resolve(name) == store.resolve("@seed")


def test_steps_up_the_primary_line(store, line):
    store.name("tip", line[3])
    assert [store.resolve(f"tip~{steps}") for steps in range(4)] == line[::-1]
    assert store.resolve("@last~") == line[2]
    assert store.resolve(f"{line[3]}~2") == store.resolve(f"{str(line[3])[:8]}~2") == line[1]
    with pytest.raises(NotFound, match="only 3 long"):
        store.resolve("tip~4")
    with pytest.raises(NotFound):
        store.resolve("tip~999999999")


NOTHING = ["", "~", "~1", "@", "@worst", "@Seed", "nobody", "0000", "0x12345", "tip~x", "tip~-1", "tip~~", "@seed~1~1"]


@pytest.mark.parametrize("ref", [*NOTHING, "é", "f" * 64, "f" * 65, "a\0b", "~" * 50, "\n", " @seed", "@seed ", "../x"])
def test_what_names_nothing(store, ref):
    with pytest.raises(NotFound) as caught:
        store.resolve(ref)
    assert caught.value.code == "not_found"
    assert caught.value.hint


@pytest.mark.parametrize("ref", ["0", "ab", "abc", "abc~1"])
def test_what_is_too_short(store, ref):
    with pytest.raises(BadInput, match="too short"):
        store.resolve(ref)


def test_an_id_of_another_store(store):
    with pytest.raises(NotFound, match=str(NodeId.of(b"x"))):
        store.node(NodeId.of(b"x"))


def test_an_id_of_another_kind_of_object_names_no_node(store):
    with pytest.raises(NotFound):
        store.resolve(str(store.node("@seed").tree))


@pytest.fixture(scope="module")
def crowd():
    """A storage with 3,000 nodes, and all their ids."""
    storage, objects = MemoryStorage(), Objects(BlobFiles(None))
    with storage.write() as txn:
        clear(txn)
        return storage, [put_node(txn, objects, number) for number in range(3000)]


def put_node(txn, objects, number):
    """A seed with a tree of its own."""
    data = number.to_bytes(2, "big")
    objects.put(txn, BlobId, data)
    tree, _, _ = objects.put_tree(txn, Tree.of([Entry("file", Mode.FILE, BlobId.of(data))]))
    node = Node.of([], tree)
    id, record, _ = objects.put_node(txn, node)
    enter(txn, id, add(txn, objects, record, node))
    return id


def groups(ids):
    """The ids by their first four digits, in order."""
    by_prefix = {}
    for id in sorted(ids):
        by_prefix.setdefault(str(id)[:4], []).append(id)
    return by_prefix


def test_a_prefix_of_several_nodes_lists_them(crowd):
    storage, ids = crowd
    prefix, several = next((prefix, group) for prefix, group in groups(ids).items() if len(group) > 1)
    with storage.read() as txn, pytest.raises(Ambiguous, match=f"{prefix} could be") as caught:
        resolve(txn, prefix)
    assert all(str(id)[:8] in caught.value.message for id in several)
    assert (caught.value.code, caught.value.hint) == ("ambiguous", "give more digits")
    with storage.read() as txn, pytest.raises(Ambiguous):
        resolve(txn, f"{prefix}~1")


def test_a_prefix_of_one_node_names_it(crowd):
    storage, ids = crowd
    alone = next(group[0] for group in groups(ids).values() if len(group) == 1)
    with storage.read() as txn:
        assert resolve(txn, str(alone)[:4]) == find(txn, alone)


def test_too_many_candidates_are_not_all_listed(crowd, monkeypatch):
    storage, ids = crowd
    prefix, several = next((prefix, group) for prefix, group in groups(ids).items() if len(group) > 1)
    monkeypatch.setattr("dagstore.refs._CANDIDATES", len(several) - 1)
    with storage.read() as txn, pytest.raises(Ambiguous, match=r"could be .*, …"):
        resolve(txn, prefix)
