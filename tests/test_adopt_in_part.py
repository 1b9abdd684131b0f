"""Adopting in part (`--own`, `--only`), leaving contradictions open (`--strict`), and what the gates say of it."""

import itertools
import re
from pathlib import Path

import pytest

import dagstore
from dagstore.errors import BadInput, Refused
from dagstore.ids import NodeId
from dagstore.store import Store
from dagstore.testing.builders import make_child, make_store, measure

MODEL = """\
import math

LR = 0.1
WIDTH = 64
DEPTH = 4


class Block:
    def forward(self, x):
        return x * WIDTH

    def size(self):
        return DEPTH


def loss(x):
    return math.log(x + LR)
"""


@pytest.fixture
def store(tmp_path):
    with make_store(
        tmp_path, {"train.py": MODEL, "prepare.py": "DATA = 1\n", "conf/a.json": '{"a": 1, "b": 2}\n'}
    ) as it:
        yield it


def child(store: Store, parent: str | NodeId, *edits: tuple[str, str], path: str = "train.py") -> NodeId:
    text = store.cat(parent, path).decode()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return make_child(store, parent, {path: text})


def text_of(store: Store, node: NodeId, path: str = "train.py") -> str:
    return store.cat(node, path).decode()


def edited(*constants: str) -> str:
    text = MODEL
    for line in constants:
        name = line.split(" = ")[0]
        text = re.sub(rf"^{name} = .*$", line, text, flags=re.MULTILINE)
    return text


# --- own ---


def test_own_takes_one_idea_and_not_the_line_it_stands_on(store):
    first = child(store, "@seed", ("LR = 0.1", "LR = 0.2"))
    second = child(store, first, ("WIDTH = 64", "WIDTH = 32"))
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    whole = text_of(store, store.adopt(second, other, primary=other).node)
    own = text_of(store, store.adopt(second, other, primary=other, own=True).node)
    assert whole == edited("LR = 0.2", "WIDTH = 32", "DEPTH = 8")
    assert own == edited("LR = 0.1", "WIDTH = 32", "DEPTH = 8")


def test_own_takes_a_node_and_its_ancestor_as_two_ideas(store):
    first = child(store, "@seed", ("LR = 0.1", "LR = 0.2"))
    second = child(store, first, ("WIDTH = 64", "WIDTH = 32"))
    third = child(store, second, ("return DEPTH", "return DEPTH + 1"))
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    orders = itertools.permutations([first, third, other])
    (made,) = {store.adopt(*order, primary=other, own=True).node for order in orders}
    wanted = edited("LR = 0.2", "WIDTH = 64", "DEPTH = 8").replace("return DEPTH", "return DEPTH + 1")
    assert text_of(store, made) == wanted
    assert {store.node(made).primary, *store.node(made).adopted} == {first, third, other}


def test_the_record_says_that_it_was_in_part(store):
    first = child(store, "@seed", ("LR = 0.1", "LR = 0.2"))
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(first, other, primary=other, own=True, only=["train.py:LR"])
    (record,) = store.adoptions(made.node)
    assert (record.own, record.only) == (True, ("train.py:LR",))
    store.adopt(other, first, primary=other, own=True, only=["train.py:LR", "train.py:LR"])
    assert len(store.adoptions(made.node)) == 1


# --- only ---


@pytest.mark.parametrize(
    ("only", "taken"),
    [
        (["train.py:LR"], {"LR = 0.2"}),
        (["train.py:Block.forward"], {"x * WIDTH + 1"}),
        (["train.py:Block"], {"x * WIDTH + 1", "DEPTH * 2"}),
        (["train.py:grow"], {"def grow"}),
        (["train.py:LR", "train.py:Block.size"], {"LR = 0.2", "DEPTH * 2"}),
        (["train.py:import os"], {"import os"}),
        (["train.py:loss"], set()),
        (["train.py"], {"LR = 0.2", "x * WIDTH + 1", "DEPTH * 2", "def grow", "import os"}),
        (["conf"], {'"a": 5', '"c": 3'}),
        (["conf/a.json:a"], {'"a": 5'}),
        (["conf/a.json:c", "train.py:LR"], {'"c": 3', "LR = 0.2"}),
    ],
)
def test_only_takes_what_lies_in_the_places(store, only, taken):
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    edits = (
        ("LR = 0.1", "LR = 0.2"),
        ("x * WIDTH", "x * WIDTH + 1"),
        ("return DEPTH", "return DEPTH * 2"),
        ("import math\n", "import math\nimport os\n"),
        ("def loss(x):\n    return math.log(x + LR)\n", "def grow(x):\n    return x\n"),
    )
    donor = child(store, "@seed", *edits)
    donor = child(store, donor, ('"a": 1, "b": 2', '"a": 5, "b": 2, "c": 3'), path="conf/a.json")
    node = store.adopt(donor, other, primary=other, only=only).node
    text = text_of(store, node) + text_of(store, node, "conf/a.json")
    everything = {"LR = 0.2", "x * WIDTH + 1", "DEPTH * 2", "def grow", "import os", '"a": 5', '"c": 3'}
    assert {one for one in everything if one in text} == taken
    assert ("def loss" in text) == (only not in (["train.py"], ["train.py:loss"]))
    assert "DEPTH = 8" in text


def test_a_place_that_no_donor_changes_is_an_error(store):
    one, other = child(store, "@seed", ("LR = 0.1", "LR = 0.2")), child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    for place in ("train.py:WIDTH", "train.py:DEPTH", "elsewhere.py"):
        before = len(list(store.nodes()))
        with pytest.raises(BadInput, match=place) as caught:
            store.adopt(one, other, primary=other, only=[place])
        assert "--plan" in caught.value.hint
        assert len(list(store.nodes())) == before


def test_what_was_left_out_can_be_taken_later(store):
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    donor = child(store, "@seed", ("LR = 0.1", "LR = 0.2"), ("WIDTH = 64", "WIDTH = 32"))
    part = store.adopt(donor, other, primary=other, only=["train.py:LR"]).node
    rest = store.adopt(donor, part, primary=part, only=["train.py:WIDTH"]).node
    assert all(one in text_of(store, rest) for one in ("LR = 0.2", "WIDTH = 32", "DEPTH = 8"))


# --- strict ---


@pytest.fixture
def rivals(store):
    return [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (0.2, 0.3)]


def test_a_contradiction_may_be_left_open(store, rivals):
    made = store.adopt(*rivals, strict=True)
    assert made.open
    assert [one.engine for one in made.contradictions] == ["open"]
    assert store.node(made.node).status == "contradicted"
    with pytest.raises(Refused, match=r"train\.py: LR") as caught:
        store.queue(["@seed", made.node])
    assert caught.value.code == "contradicted"
    assert "dag spawn" in caught.value.hint
    assert not store.tickets()


def test_what_is_open_is_a_node_of_its_own_even_if_nothing_else_changes(store, rivals):
    for rate, node in zip((1.0, 2.0), rivals, strict=True):
        measure(store, node, rate)
    made = store.adopt(*rivals, strict=True)
    assert made.node not in rivals
    assert store.files(made.node) == store.files(rivals[0])
    assert store.adopt(*rivals).node == rivals[0]


def test_who_decides_makes_an_open_node_runnable(store, rivals):
    third = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(*rivals, third, strict=True)
    assert made.open
    decided = store.adopt(*rivals, third)
    assert decided.node == made.node
    assert not decided.open
    assert store.node(made.node).status == "new"
    assert len(store.queue([made.node])) == 1
    store.adopt(*rivals, third, strict=True)
    assert store.node(made.node).status == "new"


def test_a_child_of_an_open_node_can_be_measured(store, rivals):
    made = store.adopt(*rivals, strict=True)
    resolved = child(store, made.node, ("WIDTH = 64", "WIDTH = 65"))
    assert store.node(resolved).status == "new"
    assert len(store.queue([resolved])) == 1


def test_without_contradictions_strict_changes_nothing(store):
    one, other = child(store, "@seed", ("LR = 0.1", "LR = 0.2")), child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(one, other, strict=True)
    assert not made.open
    assert store.adopt(one, other).node == made.node


# --- gates ---


def test_what_the_gates_find_is_recorded_and_blocks_nothing(store):
    renamed = child(store, "@seed", ("def loss", "def cost"))
    used = child(store, "@seed", ("return DEPTH", "return loss(DEPTH)"))
    made = store.adopt(renamed, used)
    finding, use = made.findings
    assert (finding.gate, finding.path, finding.text) == ("undefined", "train.py", "loss")
    assert (use.gate, use.line, use.text, use.origins) == ("uses", finding.line, "loss", (renamed,))
    assert "loss(DEPTH)" in text_of(store, made.node).splitlines()[finding.line - 1]
    (record,) = store.adoptions(made.node)
    assert record.findings == made.findings
    assert len(store.queue([made.node])) == 1


# --- the record outlives the process ---


def test_records_are_there_when_the_store_is_opened_again(store, rivals, tmp_path):
    made = store.adopt(*rivals, strict=True)
    before = store.adoptions(made.node)
    store.close()
    with dagstore.open(tmp_path / "project") as again:
        assert again.adoptions(made.node) == before
        assert again.node(made.node).status == "contradicted"
        assert again.fsck("full").clean


# --- renamed files ---


def renamed(
    store: Store, parent: str | NodeId, old: str, new: str, *edits: tuple[str, str], unlock: bool = False
) -> NodeId:
    """A child in which a file has another name, and maybe another text."""
    workspace = Path(store.spawn(parent, agent="tester").workspace)
    text = (workspace / old).read_text()
    (workspace / old).unlink()
    for one, other in edits:
        assert one in text
        text = text.replace(one, other)
    (workspace / new).parent.mkdir(exist_ok=True)
    (workspace / new).write_text(text)
    return store.seal(workspace, why="renamed", unlock=unlock).node


def test_a_renamed_file_is_followed_and_its_names_are_on_record(store, tmp_path):
    one = renamed(store, "@seed", "train.py", "lib/net.py", ("WIDTH = 64", "WIDTH = 32"))
    other = renamed(store, "@seed", "train.py", "lib/model.py")
    third = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(one, other, third, primary="@seed", prefer=one, own=True)
    assert text_of(store, made.node, "lib/net.py") == edited("WIDTH = 32", "DEPTH = 8")
    assert not any(entry.path in ("train.py", "lib/model.py") for entry in store.files(made.node))
    (contest,) = made.contradictions
    assert (contest.path, contest.region) == ("lib/net.py", "name of train.py")
    assert not made.findings
    store.close()
    with dagstore.open(tmp_path / "project") as again:
        (record,) = again.adoptions(made.node)
        (kept,) = [decision for decision in record.decisions if decision.contradiction]
        assert {side.text for side in kept.sides} == {b"lib/net.py", b"lib/model.py"}
        assert again.fsck("full").clean


@pytest.mark.parametrize("place", ["train.py", "lib", "lib/net.py"])
def test_only_takes_a_rename_by_either_of_its_paths(store, place):
    donor = child(store, renamed(store, "@seed", "train.py", "lib/net.py"), ('"a": 1', '"a": 5'), path="conf/a.json")
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(donor, other, primary=other, only=[place])
    assert text_of(store, made.node, "lib/net.py") == edited("DEPTH = 8")
    assert '"a": 1' in text_of(store, made.node, "conf/a.json")
    assert "train.py" not in {entry.path for entry in store.files(made.node)}


def test_only_a_region_leaves_the_name_alone(store):
    donor = renamed(store, "@seed", "train.py", "lib/net.py", ("WIDTH = 64", "WIDTH = 32"), ("LR = 0.1", "LR = 0.2"))
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(donor, other, primary=other, only=["lib/net.py:LR"])
    assert text_of(store, made.node) == edited("LR = 0.2", "DEPTH = 8")


def test_a_locked_file_is_never_renamed(store):
    donor = renamed(store, "@seed", "prepare.py", "lib/data.py", unlock=True)
    other = child(store, "@seed", ("DEPTH = 4", "DEPTH = 8"))
    made = store.adopt(donor, other, primary=other)
    assert text_of(store, made.node, "prepare.py") == text_of(store, made.node, "lib/data.py") == "DATA = 1\n"
    assert not any(decision.engine == "rename" for decision in made.decisions)
