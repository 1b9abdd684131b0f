"""Which nodes can be adopted together, asked through the store and the command line."""

import json
import os
import pty
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from dagstore.errors import BadInput, NotFound
from dagstore.testing.builders import make_child, make_store, measure, write_files

KNOBS = "".join(f"KNOB_{number} = {number}\n" for number in range(40))
TRAIN = """\
LR = 0.1
WIDTH = 64
DEPTH = 4


def search(x):
    while x:
        x = step(x)
        y = 1
        while y:
            y = step(y)
            z = 2
            if z:
                pass
            done(z)


def loss(x):
    return x * WIDTH
"""
DAG = Path(sys.executable).parent / "dag"
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("DAG_")}


@pytest.fixture
def store(tmp_path):
    files = {"train.py": TRAIN, "knobs.py": KNOBS, "prepare.py": "DATA = 1\n", "notes.md": "a\n"}
    with make_store(tmp_path, files) as it:
        yield it


def child(store, parent, *edits, path="train.py"):
    """A child in which texts are replaced by others."""
    text = store.cat(parent, path).decode()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return make_child(store, parent, {path: text}, why=" ".join(new for _, new in edits))


def rate(store, value, *edits, parent="@seed"):
    return child(store, parent, ("LR = 0.1", f"LR = {value}"), *edits)


def width(store, value, *edits, parent="@seed"):
    return child(store, parent, ("WIDTH = 64", f"WIDTH = {value}"), *edits)


def depth(store, value, *edits, parent="@seed"):
    return child(store, parent, ("DEPTH = 4", f"DEPTH = {value}"), *edits)


def apart(found):
    """The pairs with contradictions, and where."""
    return {frozenset((pair.a, pair.b)): pair.places for pair in found.pairs if pair.contradictions}


def adopted(store, found):
    """What the command that is offered makes, without recording it."""
    _, _, *words = found.next.split()
    ends = [at for at, word in enumerate(words) if word.startswith("--")]
    refs, options = (words[: ends[0]], words[ends[0] :]) if ends else (words, [])
    primary = options[options.index("--primary") + 1] if "--primary" in options else None
    only = [options[at + 1] for at, word in enumerate(options) if word == "--only"]
    return store.adopt(*refs, primary=primary, own="--own" in options, only=only, dry_run=True)


# --- pairs ---


def test_nodes_that_agree(store):
    nodes = [rate(store, 0.2), width(store, 32), depth(store, 8)]
    found = store.compatible(*nodes)
    assert set(found.nodes) == set(found.subset) == set(nodes)
    assert len(found.pairs) == 3
    assert not apart(found)
    assert found.onto in nodes
    assert (found.exact, found.verified, found.covered) == (True, True, ())
    assert found.next == " ".join(["dag adopt", *map(store.short, found.subset)])
    assert not adopted(store, found).contradictions


def test_nodes_that_disagree(store):
    one = rate(store, 0.2, ("x * WIDTH", "x * WIDTH + 1"))
    other = rate(store, 0.3, ("x * WIDTH", "x * WIDTH + 2"))
    third = depth(store, 8)
    found = store.compatible(one, other, third)
    assert apart(found) == {frozenset((one, other)): ("train.py: LR", "train.py: loss:L19-19")}
    assert len(found.subset) == 2
    assert third in found.subset
    assert store.adopt(one, other, third, dry_run=True).contradictions
    assert not adopted(store, found).contradictions


def test_nothing_goes_with_anything(store):
    nodes = [rate(store, value) for value in (0.2, 0.3, 0.4)]
    for node, loss in zip(nodes, (3.0, 1.0, 2.0), strict=True):
        measure(store, node, loss)
    found = store.compatible(*nodes)
    assert len(apart(found)) == 3
    assert found.nodes == (nodes[1], nodes[2], nodes[0])
    assert (found.onto, found.subset, found.next) == (nodes[1], (nodes[1],), "")


def test_pairs_are_in_the_order_of_merit_and_each_is_there_once(store):
    nodes = [rate(store, 0.2), width(store, 32), depth(store, 8)]
    for node, loss in zip(nodes, (2.0, 3.0, 1.0), strict=True):
        measure(store, node, loss)
    first, second, third = (nodes[2], nodes[0], nodes[1])
    found = store.compatible(*nodes, *nodes)
    assert [(pair.a, pair.b) for pair in found.pairs] == [(first, second), (first, third), (second, third)]


def test_what_is_between_a_node_and_the_primary_is_no_matter_of_a_third(store):
    """Two that go together go without the one that both contradict, unless it was asked for."""
    best, one, other = rate(store, 0.2), rate(store, 0.3), rate(store, 0.3, ("DEPTH = 4", "DEPTH = 8"))
    measure(store, best, 1.0)
    found = store.compatible(best, one, other)
    assert apart(found) == {frozenset((best, each)): ("train.py: LR",) for each in (one, other)}
    assert found.onto == best
    assert set(found.subset) == {one, other}
    assert not adopted(store, found).contradictions
    asked = store.compatible(one, other, primary=best)
    assert (asked.subset, asked.next) == ((best,), "")


def test_the_primary_that_was_asked_for_is_in_the_subset_and_in_the_command(store):
    best, asked, third = rate(store, 0.2), rate(store, 0.3), depth(store, 8)
    measure(store, best, 1.0)
    found = store.compatible(best, asked, third, primary=asked)
    assert found.onto == asked
    assert set(found.subset) == {asked, third}
    assert found.next == f"dag adopt {store.short(third)} --primary {store.short(asked)}"
    assert adopted(store, found).onto == asked


# --- which subset ---


def test_of_sets_of_one_size_the_better_measured_nodes_are_taken(store):
    nodes = [rate(store, value) for value in (0.2, 0.3, 0.4)]
    with_all = depth(store, 8)
    for node, loss in zip((*nodes, with_all), (3.0, 1.0, 2.0, 4.0), strict=True):
        measure(store, node, loss)
    assert store.compatible(*nodes, with_all).subset == (nodes[1], with_all)


def test_without_measurements_the_later_generation_then_the_smaller_id_is_taken(store):
    nodes = sorted(rate(store, value) for value in (0.2, 0.3, 0.4))
    assert store.compatible(*nodes).subset == (nodes[0],)
    later = child(store, nodes[2], ("DEPTH = 4", "DEPTH = 8"))
    assert store.compatible(*nodes[:2], later).subset == (later,)


def test_an_ancestor_is_covered_and_left_out_of_the_command(store):
    first = rate(store, 0.2)
    second, other = width(store, 32, parent=first), depth(store, 8)
    measure(store, first, 1.0)
    found = store.compatible("@seed", first, second, other)
    assert set(found.covered) == {store.resolve("@seed"), first}
    assert found.covered[0] == first
    assert set(found.nodes) == set(found.subset) == {second, other}
    assert store.short(first) not in found.next
    assert not adopted(store, found).contradictions


def test_a_node_and_its_ancestors_alone_leave_nothing_to_adopt(store):
    first = rate(store, 0.2)
    second = width(store, 32, parent=first)
    found = store.compatible(second, first, "@seed")
    assert (found.nodes, found.subset, list(found.pairs), found.next) == ((second,), (second,), [], "")


@pytest.fixture
def loops(store):
    """Three that go two by two; with all of them there is a `break` and no loop. And one that touches none of it."""
    edits = [("DEPTH = 4", "DEPTH = 8"), ("while x", "if x"), ("while y", "if y"), ("pass", "break")]
    nodes = [child(store, "@seed", edit) for edit in edits]
    for number, node in enumerate(nodes):
        measure(store, node, 1.0 + number)
    return nodes


def test_three_that_go_two_by_two_and_not_together(store, loops):
    found = store.compatible(*loops)
    assert not apart(found)
    assert found.subset == tuple(loops[:3])
    assert (found.exact, found.verified) == (True, True)
    assert store.adopt(*loops, dry_run=True).contradictions
    assert not adopted(store, found).contradictions


def test_three_of_which_one_is_composed_onto(store, loops):
    _, *three = loops
    found = store.compatible(*three)
    assert apart(found) == {frozenset(three[1:]): ("train.py: *",)}
    assert found.subset == tuple(three[:2])
    assert not adopted(store, found).contradictions


def test_two_that_contradict_each_other_only_beside_the_primary_go_without_it(store):
    best = child(store, "@seed", ("while x", "if x"), ("DEPTH = 4", "DEPTH = 8"))
    others = [
        child(store, "@seed", edit) for edit in (("while y", "if y"), ("pass", "break"), ("DEPTH = 4", "DEPTH = 9"))
    ]
    measure(store, best, 1.0)
    found = store.compatible(best, *others)
    assert apart(found)[frozenset(others[:2])] == ("train.py: *",)
    assert set(found.subset) == set(others)
    assert found.exact
    assert not adopted(store, found).contradictions
    assert len(store.compatible(*others, primary=best).subset) == 2


def test_the_primary_stays_though_the_set_goes_without_it(store, loops):
    found = store.compatible(*loops[:3], primary=loops[3])
    assert found.onto == loops[3]
    assert loops[3] in found.subset
    assert len(found.subset) == 3
    assert not adopted(store, found).contradictions


def test_the_order_of_the_nodes_never_matters(store, loops):
    nodes = [*loops[1:], depth(store, 16)]
    for primary in (None, loops[0]):
        (found,) = {store.compatible(*order, primary=primary) for order in permutations(nodes)}
        assert found.verified


def test_forty_constants_go_together(store):
    nodes = [
        child(store, "@seed", (f"KNOB_{number} = {number}\n", f"KNOB_{number} = 7.5\n"), path="knobs.py")
        for number in range(40)
    ]
    found = store.compatible(*nodes)
    assert len(found.pairs) == 780
    assert set(found.subset) == set(nodes)
    assert not apart(found)
    assert found.exact
    text = store.cat(store.adopt(*nodes).node, "knobs.py").decode()
    assert text == "".join(f"KNOB_{number} = 7.5\n" for number in range(40))


# --- in part ---


def test_own_compares_what_each_node_changed_itself(store):
    line = rate(store, 0.2)
    tip, other = width(store, 32, parent=line), rate(store, 0.3)
    onto = depth(store, 8)
    whole = store.compatible(tip, other, primary=onto)
    assert apart(whole) == {frozenset((tip, other)): ("train.py: LR",)}
    own = store.compatible(tip, other, primary=onto, own=True)
    assert not apart(own)
    assert set(own.subset) == {tip, other, onto}
    assert own.next.endswith("--own")
    assert not adopted(store, own).contradictions


def test_with_own_an_ancestor_is_an_idea_of_its_own(store):
    first = rate(store, 0.2)
    second, onto = width(store, 32, parent=first), depth(store, 8)
    found = store.compatible(first, second, primary=onto, own=True)
    assert set(found.nodes) == {first, second, onto}
    assert found.covered == ()
    assert {store.short(first), store.short(second)} <= set(found.next.split())


def test_only_compares_what_lies_in_the_places(store):
    one, other = rate(store, 0.2, ("DEPTH = 4", "DEPTH = 8")), rate(store, 0.3, ("WIDTH = 64", "WIDTH = 32"))
    onto = child(store, "@seed", ("a", "b"), path="notes.md")
    assert apart(store.compatible(one, other, primary=onto))
    found = store.compatible(one, other, primary=onto, only=["train.py:WIDTH", "train.py:DEPTH", "train.py:DEPTH"])
    assert not apart(found)
    assert found.next.endswith("--only train.py:DEPTH --only train.py:WIDTH")
    made = adopted(store, found)
    assert {one.region for one in made.decisions} == {"WIDTH", "DEPTH"}


def test_the_command_names_only_places_that_the_subset_changes(store):
    """`dag adopt` refuses a place that nobody changes."""
    onto, bad = rate(store, 0.2), rate(store, 0.3, ("WIDTH = 64", "WIDTH = 32"))
    good = depth(store, 8)
    only = ["train.py:LR", "train.py:DEPTH", "train.py:WIDTH"]
    found = store.compatible(bad, good, primary=onto, only=only)
    assert set(found.subset) == {onto, good}
    assert found.next.endswith("--only train.py:DEPTH")
    assert not adopted(store, found).contradictions
    none = store.compatible(bad, good, primary=onto, only=["train.py:LR"])
    assert set(none.subset) == {onto, good}
    assert none.next == ""


def test_a_place_that_is_the_whole_node_s_alone_is_no_error_in_a_smaller_set(store):
    best, one, other = depth(store, 8), depth(store, 9, ("LR = 0.1", "LR = 0.2")), depth(store, 9)
    measure(store, best, 1.0)
    measure(store, one, 2.0)
    found = store.compatible(best, one, other, only=["train.py:DEPTH", "train.py:LR"])
    assert found.subset == (one, other)
    assert found.next == f"dag adopt {store.short(one)} {store.short(other)} --only train.py:DEPTH"
    assert not adopted(store, found).contradictions


# --- paths ---


def paths(store, *written, parent="@seed", gone=()):
    """A child with files of these paths, and without some."""
    workspace = Path(store.spawn(parent).workspace)
    for path in gone:
        (workspace / path).unlink()
    write_files(workspace, dict(written))
    return store.seal(workspace).node


def test_nodes_that_change_different_files(store):
    one, other = rate(store, 0.2), child(store, "@seed", ("a", "b"), path="notes.md")
    third = paths(store, ("new.py", "x = 1\n"))
    found = store.compatible(one, other, third)
    assert not apart(found)
    assert len(found.subset) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("data", "1\n"), ("data/x", "2\n")),
        (("data/x", "1\n"), ("Data/y", "2\n")),
        (("new.py", "x = 1\n"), ("NEW.py", "x = 2\n")),
        (("new.py", "x = 1\n"), ("NEW.py", "x = 1\n")),
        (("new.py", "x = 1\n"), ("new.py", "x = 2\n")),
    ],
)
def test_paths_that_cannot_live_together(store, one, other):
    onto = depth(store, 8)
    nodes = [paths(store, one), paths(store, other)]
    found = store.compatible(*nodes, primary=onto)
    ((places),) = apart(found).values()
    assert list(apart(found)) == [frozenset(nodes)]
    assert len(places) == 1
    assert places[0].endswith(": *")
    assert len(found.subset) == 2
    assert not adopted(store, found).contradictions


def test_a_file_that_becomes_a_folder(store):
    onto = depth(store, 8)
    turned = paths(store, ("notes.md/a", "1\n"), gone=["notes.md"])
    fine = paths(store, ("more.md", "1\n"))
    edits = child(store, "@seed", ("a", "b"), path="notes.md")
    found = store.compatible(turned, fine, edits, primary=onto)
    assert list(apart(found)) == [frozenset((turned, edits))]
    assert store.adopt(turned, edits, primary=onto, dry_run=True).contradictions
    assert not store.adopt(turned, fine, primary=onto, dry_run=True).contradictions


def test_a_file_that_one_deletes_and_another_edits(store):
    gone = paths(store, gone=["notes.md"])
    edits = child(store, "@seed", ("a", "b"), path="notes.md")
    same = paths(store, ("extra", "1\n"), gone=["notes.md"])
    found = store.compatible(gone, edits, same, primary=depth(store, 8))
    assert apart(found).keys() == {frozenset((gone, edits)), frozenset((same, edits))}


def test_binary_files_and_modes(store):
    onto = depth(store, 8)
    one, other = paths(store, ("notes.md", b"\0one")), paths(store, ("notes.md", b"\0other"))
    same = paths(store, ("notes.md", b"\0one"), ("extra", "1\n"))
    found = store.compatible(one, other, same, primary=onto)
    assert apart(found).keys() == {frozenset((one, other)), frozenset((same, other))}


def test_what_both_took_from_one_line_is_nothing_between_them(store):
    """The primary left before, so both bring the same change of it."""
    onto, line = rate(store, 0.3), rate(store, 0.2)
    one, other = width(store, 32, parent=line), depth(store, 8, parent=line)
    found = store.compatible(one, other, primary=onto)
    assert apart(found).keys() == {frozenset((onto, one)), frozenset((onto, other))}
    assert set(found.subset) == {onto}
    assert set(store.compatible(onto, one, other).subset) == {one, other}


# --- against adopt ---


def test_a_pair_contradicts_as_adopt_does(store):
    nodes = [
        rate(store, 0.2),
        rate(store, 0.3),
        width(store, 32, ("x * WIDTH", "WIDTH * x")),
        child(store, "@seed", ("x * WIDTH", "x * WIDTH / 2"), ("def search", "def seek")),
        child(store, "@seed", ("def search", "def find")),
        child(store, "@seed", ("while x", "for x in y")),
    ]
    onto = depth(store, 8)
    found = store.compatible(*nodes, primary=onto)
    assert all(onto not in pair for pair in apart(found))
    assert apart(found)
    for pair in found.pairs:
        refs = {pair.a, pair.b} - {onto}
        made = store.adopt(*refs, primary=onto, dry_run=True)
        assert pair.places == tuple(f"{one.path}: {one.region}" for one in made.contradictions)
        assert pair.contradictions == len(made.contradictions)


def test_nothing_is_recorded(store):
    nodes = [rate(store, 0.2), rate(store, 0.3)]
    before = store.stats()
    store.compatible(*nodes)
    assert store.stats().kinds == before.kinds


def test_progress_counts_pairs(store):
    told = []
    store.compatible(*(rate(store, value) for value in (0.2, 0.3, 0.4)), progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]


# --- errors ---


def test_a_node_that_is_not_there_is_named(store):
    with pytest.raises(NotFound, match="feed"):
        store.compatible(rate(store, 0.2), "feedfeed")
    with pytest.raises(NotFound, match="feed"):
        store.compatible(rate(store, 0.2), "@seed", primary="feedfeed")


@pytest.mark.parametrize("refs", [[], ["@seed"], ["@seed", "@seed"]])
def test_it_takes_two(store, refs):
    with pytest.raises(BadInput, match="at least two") as caught:
        store.compatible(*refs)
    assert "dag compatible" in caught.value.hint


def test_a_place_that_nobody_changes_is_an_error(store):
    with pytest.raises(BadInput, match=r"train\.py:WIDTH"):
        store.compatible(rate(store, 0.2), depth(store, 8), only=["train.py:WIDTH"])


# --- how it shows itself ---


def test_the_matrix_is_a_data_frame(store):
    one, other, third = rate(store, 0.2), rate(store, 0.3), depth(store, 8)
    found = store.compatible(one, other, third)
    matrix = found.matrix()
    assert list(matrix.index) == list(matrix.columns) == [str(node) for node in found.nodes]
    assert matrix.loc[str(one), str(other)] == matrix.loc[str(other), str(one)] == 1
    assert int(matrix.to_numpy().sum()) == 2
    frame = found.pairs.to_frame()
    assert list(frame.columns) == ["a", "b", "contradictions", "places"]
    page = found._repr_html_()
    assert page.count("·") == 4
    assert found.next in page


# --- the command line ---


@pytest.fixture
def dag(store):
    def run(*words):
        store.close()
        called = [DAG, "-C", store.root, *map(str, words)]
        return subprocess.run(called, capture_output=True, text=True, check=False, env=ENVIRON)

    return run


def test_the_command_line_answers_with_json(store, dag):
    nodes = [rate(store, 0.2), rate(store, 0.3), depth(store, 8)]
    measure(store, nodes[0], 1.0)
    done = dag("compatible", *nodes, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert answer["onto"] == answer["nodes"][0] == answer["subset"][0] == str(nodes[0])
    (pair,) = (pair for pair in answer["pairs"] if pair["contradictions"])
    assert {pair["a"], pair["b"]} == {str(nodes[0]), str(nodes[1])}
    assert (pair["contradictions"], pair["places"]) == (1, ["train.py: LR"])
    assert (answer["exact"], answer["verified"], answer["covered"]) == (True, True, [])


def test_the_command_line_draws_a_matrix(store, dag):
    nodes = [rate(store, 0.2), rate(store, 0.3), depth(store, 8)]
    for node, loss in zip(nodes, (1.0, 2.0, 3.0), strict=True):
        measure(store, node, loss)
    first, second, third = map(store.short, nodes)
    seed = store.short("@seed")
    done = dag("compatible", *nodes, "@seed")
    assert done.stdout.splitlines() == [
        f"3 nodes onto {first}, 3 pairs, 1 with contradictions",
        "   id        1  2  3  message",
        f"1  {first}     1  ·  LR = 0.2",
        f"2  {second}  1     ·  LR = 0.3",
        f"3  {third}  ·  ·     DEPTH = 8",
        "",
        "                    contradictions in",
        f"{first}  {second}  train.py: LR",
        "",
        f"ancestors of others, which bring nothing more: {seed}",
        f"together without a contradiction: 2 of 3: {first} {third}",
        f"left out: {second}",
        f"next: dag adopt {first} {third}",
    ]
    assert dag(*done.stdout.splitlines()[-1].split()[2:]).returncode == 0


def test_of_many_nodes_those_without_a_contradiction_have_no_row(store, dag):
    nodes = [
        child(store, "@seed", (f"KNOB_{number} = {number}\n", f"KNOB_{number} = 7.5\n"), path="knobs.py")
        for number in range(20)
    ]
    rivals = [rate(store, 0.2), rate(store, 0.3)]
    found = dag("compatible", *nodes, *rivals).stdout.splitlines()
    assert found[1] == "20 nodes without a contradiction not shown"
    assert found[2].split() == ["id", "1", "2", "message"]
    assert len([row for row in found if row.startswith("together")]) == 1
    assert dag("compatible", *nodes, nodes[0]).stdout.splitlines()[0].endswith("190 pairs, none with contradictions")


def test_why_a_node_is_left_out_that_no_pair_tells_of(store, dag, loops):
    short = store.short(loops[3])
    out = dag("compatible", *loops).stdout
    assert f"two by two all is well with {short}, with more of them it is not" in out


def test_that_the_node_that_all_were_composed_onto_is_left_out_is_said(store, dag):
    best, one, other = rate(store, 0.2), rate(store, 0.3), rate(store, 0.3, ("DEPTH = 4", "DEPTH = 8"))
    measure(store, best, 1.0)
    measure(store, one, 2.0)
    left, onto = store.short(best), store.short(one)
    out = dag("compatible", best, one, other).stdout
    assert f"left out: {left}\nwithout {left} more of them go together, onto {onto}\n" in out


def test_options_of_the_command_line(store, dag):
    line = rate(store, 0.2)
    tip, other, onto = width(store, 32, parent=line), rate(store, 0.3), depth(store, 8)
    short = store.short(onto)
    whole, own = ("compatible", tip, other, "--primary", short), ("--own", "--only", "train.py:WIDTH", "--json")
    assert len(json.loads(dag(*whole, "--json").stdout)["subset"]) == 2
    answer = json.loads(dag(*whole, *own).stdout)
    assert len(answer["subset"]) == 3
    assert answer["next"].endswith(f"--primary {short} --own --only train.py:WIDTH")


def test_errors_of_the_command_line(store, dag):
    node = rate(store, 0.2)
    for words, code in ((("feedfeed",), 3), ((), 4), (("--only", "nowhere", "@seed"), 4)):
        done = dag("compatible", node, *words)
        assert done.returncode == code
        assert done.stdout == ""
        assert "→" in done.stderr
    assert dag("compatible").returncode == 2


def test_a_terminal_sees_progress(store):
    nodes = [rate(store, 0.2), rate(store, 0.3)]
    store.close()
    ours, theirs = pty.openpty()
    called = [DAG, "-C", store.root, "compatible", *map(str, nodes)]
    done = subprocess.run(called, stdout=subprocess.PIPE, stderr=theirs, env={**ENVIRON, "TERM": "xterm"}, check=False)
    os.close(theirs)
    assert done.returncode == 0
    assert b"compare" in os.read(ours, 10_000)
    os.close(ours)
