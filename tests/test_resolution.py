"""One resolution serves everybody: what a child puts in place of an open contradiction is used wherever it comes up."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagstore
from dagstore.adopt.contradiction import as_deep_as, dedented, name_of
from dagstore.adopt.resolution import carried
from dagstore.ids import NodeId
from dagstore.store import Store
from dagstore.testing.builders import make_child, make_store, measure

MODEL = """\
LR = 0.1
WIDTH = 64
DEPTH = 4


def loss(x):
    y = x + 1
    return y * WIDTH


class Block:
    def forward(self, x):
        if x:
            y = x + 2
        return make(x, width=WIDTH, depth=DEPTH)
"""


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path, {"train.py": MODEL, "prepare.py": "DATA = 1\n"}) as it:
        yield it


def child(store: Store, parent: str | NodeId, *edits: tuple[str, str]) -> NodeId:
    text = text_of(store, parent)
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return make_child(store, parent, {"train.py": text})


def text_of(store: Store, node: str | NodeId) -> str:
    return store.cat(node, "train.py").decode()


def engines(adopted: dagstore.views.Adopted) -> list[str]:
    return [one.engine for one in adopted.decisions if one.sides]


def opened_text(store: Store, donors: list[NodeId]) -> str:
    """What a node with open contradictions between the donors has for now."""
    return text_of(store, store.adopt(*donors, strict=True).node)


def resolved(store: Store, donors: list[NodeId], *edits: tuple[str, str]) -> NodeId:
    """The child that resolves what is open between the donors."""
    opened = store.adopt(*donors, strict=True)
    assert opened.open
    return child(store, opened.node, *edits)


CASES = {
    "a constant": ("LR = 0.1", "LR = {}", "LR = 3"),
    "a statement in a function": ("y = x + 1", "y = x + {}7", "y = x + 33"),
    "a statement further in": ("y = x + 2", "y = x * {}", "y = x * 33"),
    "an argument": ("depth=DEPTH", "depth={}", "depth=33"),
    "more lines": ("LR = 0.1", "LR = {}", "import os\nLR = os.nice(0)"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_resolved_once_is_resolved_for_everybody(store, name):
    old, new, wanted = CASES[name]
    rivals = [child(store, "@seed", (old, new.format(number))) for number in (1, 2)]
    taken = next(new.format(number) for number in (1, 2) if new.format(number) in opened_text(store, rivals))
    by = resolved(store, rivals, (taken, wanted))
    # Elsewhere in the DAG, and some lines further down.
    others = [child(store, rivals[0], ("WIDTH = 64", "# more\n# more\nWIDTH = 65")), rivals[1]]
    made = store.adopt(*others)
    assert engines(made) == ["resolution"]
    assert wanted in text_of(store, made.node)
    assert [one.origins for one in made.decisions if one.sides] == [(by,)]
    assert not made.contradictions
    assert store.adopt(*reversed(others)).node == made.node
    assert not store.adopt(*rivals, strict=True).open


def test_what_is_resolved_is_compatible(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    assert store.compatible(*rivals).pairs[0].contradictions == 1
    resolved(store, rivals, (opened_text(store, rivals).splitlines()[0], "LR = 9"))
    found = store.compatible(*rivals)
    assert found.pairs[0].contradictions == 0
    assert set(found.subset) == set(rivals)


def test_sealing_says_what_it_resolved(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    opened = store.adopt(*rivals, strict=True).node
    spawned = store.spawn(opened)
    file = Path(spawned.workspace) / "train.py"
    file.write_text(file.read_text().replace("WIDTH = 64", "WIDTH = 65"))
    assert store.seal(spawned.workspace).resolved == ("train.py: LR",)


def test_what_a_child_leaves_as_it_is_counts_as_resolved(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    taken = opened_text(store, rivals).splitlines()[0]
    resolved(store, rivals, ("WIDTH = 64", "WIDTH = 65"))
    made = store.adopt(*rivals, child(store, "@seed", ("DEPTH = 4", "DEPTH = 5")), prefer=str(rivals[0]))
    assert engines(made) == ["resolution"]
    assert taken in text_of(store, made.node)


def test_of_three_sides(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2, 3)]
    taken = opened_text(store, rivals).splitlines()[0]
    resolved(store, rivals, (taken, "LR = 9"))
    for order in itertools.permutations(rivals):
        assert "LR = 9" in text_of(store, store.adopt(*order).node)
    assert engines(store.adopt(*rivals[:2])) == ["preference"]


def test_several_open_places_are_resolved_one_by_one(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {at}"), ("x + 1", f"x + {at}7")) for at in (1, 2)]
    opened = store.adopt(*rivals, strict=True)
    assert len(opened.contradictions) == 2
    lines = text_of(store, opened.node).splitlines()
    child(store, opened.node, (lines[0], "LR = 9"), (lines[6], "    y = x + 99"))
    made = store.adopt(*rivals)
    assert engines(made) == ["resolution", "resolution"]
    assert "LR = 9" in text_of(store, made.node)
    assert "x + 99" in text_of(store, made.node)
    only_one = [child(store, "@seed", ("LR = 0.1", f"LR = {at}")) for at in (1, 2)]
    assert "LR = 9" in text_of(store, store.adopt(*only_one).node)


def test_the_better_measured_of_two_resolutions_is_taken(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    taken = opened_text(store, rivals).splitlines()[0]
    opened = store.adopt(*rivals, strict=True).node
    bad, good = (child(store, opened, (taken, f"LR = {rate}")) for rate in (8, 9))
    measure(store, bad, 2.0)
    measure(store, good, 1.0)
    assert "LR = 9" in text_of(store, store.adopt(*rivals).node)


def test_another_contradiction_is_not_resolved_by_it(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    resolved(store, rivals, ("WIDTH = 64", "WIDTH = 65"))
    others = [child(store, "@seed", ("DEPTH = 4", f"DEPTH = {at}")) for at in (1, 2)]
    assert engines(store.adopt(*others)) == ["preference"]
    assert engines(store.adopt(rivals[0], child(store, "@seed", ("LR = 0.1", "LR = 5")))) == ["preference"]


def test_a_change_across_the_edge_of_the_place_teaches_nothing(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    opened = store.adopt(*rivals, strict=True).node
    first = text_of(store, opened).splitlines()[0]
    child(store, opened, (f"{first}\nWIDTH = 64\nDEPTH", "RATE, SIZE, DEPTH"))
    assert engines(store.adopt(*rivals)) == ["preference"]


def test_a_resolution_that_does_not_fit_is_not_taken(store):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    opened = store.adopt(*rivals, strict=True).node
    first = text_of(store, opened).splitlines()[0]
    child(store, opened, (f"{first}\n", f"{first}\nreturn ]\n"))
    made = store.adopt(*rivals)
    assert "return ]" not in text_of(store, made.node)
    assert len(made.contradictions) == 1


def test_resolutions_survive_a_rebuild_of_the_indexes(store, tmp_path):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    taken = opened_text(store, rivals).splitlines()[0]
    resolved(store, rivals, (taken, "LR = 9"))
    made = store.adopt(*rivals, dry_run=True).node
    assert store.fsck("full").clean
    store.close()
    with dagstore.open(tmp_path / "project") as again:
        assert again.adopt(*rivals, dry_run=True).node == made


def test_a_recorded_directory_resolves_as_well(store, tmp_path):
    rivals = [child(store, "@seed", ("LR = 0.1", f"LR = {rate}")) for rate in (1, 2)]
    opened = store.adopt(*rivals, strict=True).node
    store.checkout(opened, tmp_path / "work")
    file = tmp_path / "work" / "train.py"
    file.write_text(file.read_text().replace(file.read_text().splitlines()[0], "LR = 9"))
    assert store.record(tmp_path / "work", [opened]).resolved == ("train.py: LR",)
    assert "LR = 9" in text_of(store, store.adopt(*rivals).node)


SEAL = """
import sys, dagstore
with dagstore.open(sys.argv[1]) as store:
    store.seal(sys.argv[2])
print([name for name in sys.modules if name.startswith("dagstore.adopt.")])
"""


def test_sealing_where_nothing_is_open_loads_nothing_of_adoption(store, tmp_path):
    workspace = Path(store.spawn("@seed").workspace)
    (workspace / "train.py").write_text("LR = 1\n")
    words = [sys.executable, "-P", "-c", SEAL, str(tmp_path / "project"), str(workspace)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[]\n"


# --- the form of a contradiction ---

lines = st.lists(st.sampled_from([b"a = 1", b"b = 2", b"  c = 3", b"", b"if x:"]), min_size=1, max_size=4)


def deeper(text, by):
    return b"".join((by if line.strip() else b"") + line + b"\n" for line in text.split(b"\n")[:-1])


@given(st.lists(lines, min_size=2, max_size=3), st.sampled_from([b"", b"  ", b"\t", b"        "]), st.randoms())
def test_the_name_does_not_depend_on_depth_or_order(sides, by, random):
    plain = [dedented(b"".join(line + b"\n" for line in side)) for side in sides]
    deep = [deeper(side, by) for side in plain]
    random.shuffle(deep)
    assert name_of("f.py", "f:L3-4", deep) == name_of("f.py", "f:L13-24", plain)
    assert name_of("f.py", "g:L3-4", deep) != name_of("f.py", "f:L3-4", deep)


@given(lines, st.sampled_from([b"", b"    ", b"\t\t"]))
def test_a_text_has_its_depth_again(side, by):
    text = dedented(b"".join(line + b"\n" for line in side))
    deep = deeper(text, by)
    if deep.strip():
        assert as_deep_as(dedented(deep), [b"", deep]) == deep


words = st.lists(st.sampled_from([b"a", b"b", b"c ", b"(1)", b"\n", b"    "]), max_size=8).map(b"".join)


@given(words, words, words, words, words)
def test_a_span_is_found_again_beside_other_changes(head, inside, tail, new_head, new_inside):
    mark = b"\nxxx\n"
    old = head + mark + inside + mark + tail
    new = new_head + mark + new_inside + mark + tail
    start = len(head) + len(mark)
    (found,) = carried(old, new, [(start, start + len(inside))])
    assert found is None or found == new_inside or found in new
    (same,) = carried(old, old, [(start, start + len(inside))])
    assert same == inside
