"""Composition through its one public door: laws on generated files, and the cases that agents meet."""

import ast
from collections.abc import Callable, Mapping
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore.adopt import Composition, Donor, compose
from dagstore.errors import BadInput
from dagstore.ids import BlobId, NodeId
from dagstore.model import Decision, Entry, Mode, Tree

P, A, B, C = sorted(NodeId.of(name) for name in (b"p", b"a", b"b", b"c"))
NAMES = [f"KNOB_{letter}" for letter in "ABCDEFGHIJKLMNOP"]
VALUES = ["64", '"SSSL"', "2**19", "(0.8, 0.95)", "0.2"]
KNOBS = [f"{name} = {VALUES[index % len(VALUES)]}  # knob {index}" for index, name in enumerate(NAMES)]
TRAIN = "\n".join(
    [
        '"""Train a model.',
        "",
        "KNOB_A = not an assignment",
        '"""',
        "import math",
        "",
        "class Block:",
        "    width = 8",
        "    def forward(self, x):",
        "        return math.sqrt(x) if x > 0 else (",
        "            0",
        "        )",
        "",
        "# Architecture",
        *KNOBS[:3],
        "",
        "# Optimizer",
        *KNOBS[3:13],
        "# Size",
        *KNOBS[13:],
        "",
        "SCHEDULE = {",
        '    "warm": 1,',
        '    "cool": 2,',
        "}",
        "",
        "def main():",
        "    print(KNOB_A)",
        "",
        "main()",
        "",
    ]
).encode()


class World:
    """Files and trees by hand, and the door under test."""

    def __init__(self) -> None:
        self.blobs: dict[BlobId, bytes] = {}

    def tree(self, files: Mapping[str, bytes | tuple[Mode, bytes]]) -> Tree:
        return Tree.of(self._entry(path, what) for path, what in files.items())

    def _entry(self, path: str, what: bytes | tuple[Mode, bytes]) -> Entry:
        mode, data = what if isinstance(what, tuple) else (Mode.FILE, what)
        blob = BlobId.of(data)
        self.blobs[blob] = data
        return Entry(path, mode, blob)

    def compose(self, tree: Tree, *donors: Donor, prefer: tuple[NodeId, ...] = (P, A, B, C)) -> Composition:
        before = dict(self.blobs)
        composition = compose(P, tree, donors, before.__getitem__, prefer)
        assert not composition.blobs.keys() & before.keys()
        assert all(BlobId.of(data) == blob for blob, data in composition.blobs.items())
        self.blobs |= composition.blobs
        assert Tree.of(composition.tree.entries) == composition.tree
        assert list(composition.decisions) == sorted(composition.decisions, key=lambda one: one.path)
        return composition

    def files(self, tree: Tree) -> dict[str, bytes]:
        return {entry.path: self.blobs[entry.blob] for entry in tree}

    def one_file(self, primary: bytes, *texts: bytes | tuple[bytes, bytes], path: str = "f.py", prefer=(P, A, B, C)):
        """Donors A, B, C each with a text, or with a base and a text; the base is the primary's text otherwise."""
        donors = []
        for node, given_text in zip((A, B, C), texts, strict=False):
            base, text = given_text if isinstance(given_text, tuple) else (primary, given_text)
            donors.append(Donor(node, self.tree({path: base}), self.tree({path: text})))
        composition = self.compose(self.tree({path: primary}), *donors, prefer=prefer)
        return self.files(composition.tree).get(path), composition.decisions


def lines(*texts: str) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


def told(decisions: tuple[Decision, ...]) -> list[tuple[str, str, tuple[NodeId, ...], bool]]:
    return [(one.region, one.engine, one.origins, one.contradiction) for one in decisions]


def wanted(decision: Decision) -> dict[tuple[NodeId, ...], bytes]:
    return {side.origins: side.text for side in decision.sides}


def tuned(text: bytes, *knobs: tuple[str, str]) -> bytes:
    out = text.decode().split("\n")
    for name, value in knobs:
        row = next(number for number, line in enumerate(out) if line.startswith(f"{name} = ") and "#" in line)
        out[row] = f"{name} = {value}  # tuned"
    return "\n".join(out).encode()


def constants(text: bytes) -> dict[str, str]:
    return {
        statement.targets[0].id: ast.unparse(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }


@pytest.fixture
def world() -> World:
    return World()


# Constants of one module


@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=8, unique=True))
def test_neighbouring_constants_never_meet(names: list[str]) -> None:
    world = World()
    base = world.tree({"train.py": TRAIN})
    donors = [
        Donor(NodeId.of(name.encode()), base, world.tree({"train.py": tuned(TRAIN, (name, str(1000 + index)))}))
        for index, name in enumerate(names)
    ]
    composition = world.compose(base, *donors)
    (data,) = world.files(composition.tree).values()
    values = constants(data)
    assert not any(one.contradiction for one in composition.decisions)
    assert {one.region for one in composition.decisions} == set(names)
    assert all(values[name] == str(1000 + index) for index, name in enumerate(names))
    assert len(values) == len(constants(TRAIN))


@pytest.mark.parametrize(("prefer", "value"), [((P, A, B), b"1 "), ((B, A, P), b"2 "), ((), b"1 ")])
def test_one_constant_changed_twice_is_one_contradiction(
    world: World, prefer: tuple[NodeId, ...], value: bytes
) -> None:
    data, decisions = world.one_file(TRAIN, tuned(TRAIN, ("KNOB_D", "1")), tuned(TRAIN, ("KNOB_D", "2")), prefer=prefer)
    (decision,) = decisions
    winner = A if value == b"1 " else B
    assert (decision.region, decision.engine, decision.contradiction) == ("KNOB_D", "preference", True)
    assert decision.origins == (winner,)
    assert wanted(decision) == {(A,): b"KNOB_D = 1  # tuned\n", (B,): b"KNOB_D = 2  # tuned\n"}
    assert b"KNOB_D = " + value in data


def test_a_hunk_over_many_constants_is_taken_apart(world: World) -> None:
    one = tuned(TRAIN, ("KNOB_D", "1"), ("KNOB_E", "5"))
    other = tuned(TRAIN, ("KNOB_E", "6"), ("KNOB_F", "2"))
    data, decisions = world.one_file(TRAIN, one, other)
    assert told(decisions) == [
        ("KNOB_D", "assignment", (A,), False),
        ("KNOB_E", "preference", (A,), True),
        ("KNOB_F", "assignment", (B,), False),
    ]
    assert data == tuned(TRAIN, ("KNOB_D", "1"), ("KNOB_E", "5"), ("KNOB_F", "2"))


def test_the_same_change_has_several_origins(world: World) -> None:
    text = tuned(TRAIN, ("KNOB_D", "1"))
    data, decisions = world.one_file(TRAIN, text, text)
    assert data == text
    assert told(decisions) == [("KNOB_D", "identical", (A, B), False)]


def test_the_primary_may_have_changed_the_neighbour(world: World) -> None:
    primary = tuned(TRAIN, ("KNOB_D", "1"), ("KNOB_E", "5"))
    data, decisions = world.one_file(primary, (TRAIN, tuned(TRAIN, ("KNOB_E", "5"), ("KNOB_F", "2"))))
    assert data == tuned(primary, ("KNOB_F", "2"))
    assert told(decisions) == [
        ("KNOB_E", "identical", tuple(sorted((P, A))), False),
        ("KNOB_F", "assignment", (A,), False),
    ]


@pytest.mark.parametrize("prefer", [(P, A), (A, P)])
def test_a_change_of_the_primary_is_contested(world: World, prefer: tuple[NodeId, ...]) -> None:
    primary, text = tuned(TRAIN, ("KNOB_D", "1")), tuned(TRAIN, ("KNOB_D", "2"))
    data, (decision,) = world.one_file(primary, (TRAIN, text), prefer=prefer)
    assert data == (primary if prefer[0] == P else text)
    assert decision.origins == prefer[:1]
    assert wanted(decision) == {(P,): b"KNOB_D = 1  # tuned\n", (A,): b"KNOB_D = 2  # tuned\n"}


def test_a_deleted_constant_against_its_change(world: World) -> None:
    row = next(line for line in TRAIN.splitlines(keepends=True) if line.startswith(b"KNOB_E"))
    gone, text = TRAIN.replace(row, b""), tuned(TRAIN, ("KNOB_E", "2"))
    data, decisions = world.one_file(gone, (TRAIN, text), (TRAIN, tuned(TRAIN, ("KNOB_E", "3"))), prefer=(B, P, A))
    assert data == tuned(TRAIN, ("KNOB_E", "3"))
    assert told(decisions) == [("KNOB_E", "preference", (B,), True)]
    assert wanted(decisions[0])[(P,)] == b""


def test_a_multi_line_constant_composes_item_by_item(world: World) -> None:
    one = TRAIN.replace(b'"warm": 1', b'"warm": 7')
    other = TRAIN.replace(b'"cool": 2', b'"cool": 8')
    data, decisions = world.one_file(TRAIN, one, other)
    assert data == one.replace(b'"cool": 2', b'"cool": 8')
    assert told(decisions) == [('SCHEDULE["warm"]', "item", (A,), False), ('SCHEDULE["cool"]', "item", (B,), False)]


def test_a_new_constant_added_twice_is_a_contradiction_wherever_it_stands(world: World) -> None:
    one = TRAIN.replace(b"# Size\n", b"EXTRA = 1\n# Size\n")
    other = TRAIN.replace(b"main()\n", b"EXTRA = 2\nmain()\n")
    data, (decision,) = world.one_file(TRAIN, one, other, prefer=(B, A, P))
    assert constants(data)["EXTRA"] == "2"
    assert data.count(b"EXTRA") == 1
    assert (decision.region, decision.contradiction) == ("EXTRA", True)
    assert wanted(decision) == {(A,): b"EXTRA = 1\n", (B,): b"EXTRA = 2\n"}


@pytest.mark.parametrize(("value", "contradiction"), [(b"1", False), (b"2", True)])
def test_a_new_constant_that_the_primary_added_as_well(world: World, value: bytes, contradiction: bool) -> None:
    primary = TRAIN.replace(b"# Size\n", b"EXTRA = 1\n# Size\n")
    text = TRAIN.replace(b"# Optimizer\n", b"EXTRA = " + value + b"\n# Optimizer\n")
    data, decisions = world.one_file(primary, (TRAIN, text), prefer=(A, P))
    assert data == primary.replace(b"EXTRA = 1", b"EXTRA = " + value)
    assert [(one.region, one.contradiction) for one in decisions] == [("EXTRA", contradiction)]


def test_new_constants_at_one_point_all_land(world: World) -> None:
    one = TRAIN.replace(b"# Size\n", b"ALPHA = 1\nSHARED = 3\n# Size\n")
    other = TRAIN.replace(b"# Size\n", b"SHARED = 3\nBETA = 2\n# Size\n")
    data, decisions = world.one_file(TRAIN, one, other)
    assert data == TRAIN.replace(b"# Size\n", b"ALPHA = 1\nSHARED = 3\nBETA = 2\n# Size\n")
    assert told(decisions) == [
        ("ALPHA", "lines", (A,), False),
        ("SHARED", "identical", (A, B), False),
        ("BETA", "lines", (B,), False),
    ]


def test_a_constant_that_one_moves_and_another_tunes_is_moved_and_tuned(world: World) -> None:
    def moved(text: bytes) -> bytes:
        row = next(line for line in text.splitlines(keepends=True) if line.startswith(b"KNOB_E"))
        return text.replace(row, b"").replace(b"main()\n", row + b"main()\n")

    tuned_text = tuned(TRAIN, ("KNOB_E", "9"))
    data, decisions = world.one_file(TRAIN, moved(TRAIN), tuned_text)
    assert data == moved(tuned_text)
    assert told(decisions) == [("KNOB_E", "one-side", (B,), False), ("KNOB_E", "entity", (A,), False)]


def test_names_are_told_from_strings_bodies_and_doubles(world: World) -> None:
    source = b'"""\nX = 1\n"""\ndef f():\n    Y = 1\nZ = 1\nZ = 2\nA1 = 1; B1 = 2\nT: int = 3\nW = V = 4\n'
    for row, region in [(b"X = 1", "L1-3"), (b"Y = 1", "f"), (b"Z = 2", "Z"), (b"B1 = 2", "L8-8")]:
        _, (decision,) = world.one_file(source, source.replace(row, row + b"0"))
        assert decision.region == region
    for row, region in [(b"T: int = 3", "T"), (b"W = V = 4", "W")]:
        _, (decision,) = world.one_file(source, source.replace(row, row + b"0"))
        assert decision.region == region


@pytest.mark.parametrize("ruin", [b"X = (\n", b"X = '''\n", b")\n", b"X = 1\r", b"X = 'a\n", b"X = = 2\n"])
def test_a_file_that_does_not_parse_has_no_names(world: World, ruin: bytes) -> None:
    source = b"Y = 1\n" + ruin
    data, (decision,) = world.one_file(source, b"Y = 2\n" + ruin)
    assert data == b"Y = 2\n" + ruin
    assert decision.region == "L1-1"


# Lines


def test_adjacent_lines_do_not_meet(world: World) -> None:
    source = lines("a", "b", "c")
    data, decisions = world.one_file(source, lines("A", "b", "c"), lines("a", "B", "c"), lines("a", "b", "C"), path="f")
    assert data == lines("A", "B", "C")
    assert told(decisions) == [
        ("L1-1", "one-side", (A,), False),
        ("L2-2", "one-side", (B,), False),
        ("L3-3", "one-side", (C,), False),
    ]


def test_insertions_at_one_point_are_all_kept_by_id_and_equal_ones_once(world: World) -> None:
    source = lines("a", "b")
    data, decisions = world.one_file(source, lines("a", "x", "b"), lines("a", "y", "b"), lines("a", "x", "b"), path="f")
    assert data == lines("a", "x", "y", "b")
    assert told(decisions) == [("L2-1", "identical", (A, C), False), ("L2-1", "lines", (B,), False)]


def test_insertions_beside_one_of_the_primary(world: World) -> None:
    base = lines("a", "b")
    primary = lines("a", "p", "q", "b")
    data, decisions = world.one_file(primary, (base, lines("a", "q", "b")), (base, lines("a", "x", "b")), path="f")
    assert data == lines("a", "p", "q", "x", "b")
    assert told(decisions) == [
        ("L3-3", "identical", tuple(sorted((P, A))), False),
        ("L4-3", "lines", (B,), False),
    ]


def test_what_continues_a_block_goes_before_what_starts_one(world: World) -> None:
    source = lines("def f():", "    a()", "f()")
    one = lines("def f():", "    a()", "def g():", "    b()", "f()")
    other = lines("def f():", "    a()", "    c()", "f()")
    data, decisions = world.one_file(source, one, other)
    assert data == lines("def f():", "    a()", "    c()", "def g():", "    b()", "f()")
    assert not any(one.contradiction for one in decisions)


def test_overlapping_lines_are_a_contradiction_of_all_sides(world: World) -> None:
    source = lines("a", "b", "c", "d")
    texts = lines("a", "X", "Y", "d"), lines("a", "b", "Z", "W"), lines("a", "b", "c", "W2")
    data, (decision,) = world.one_file(source, *texts, path="f", prefer=(P, A, B, C))
    # C touches none of A's lines, so only B gives way.
    assert data == lines("a", "X", "Y", "W2")
    assert (decision.region, decision.engine, decision.origins) == ("L2-4", "preference", (A, C))
    assert wanted(decision) == {
        (A,): lines("X", "Y", "d"),
        (B,): lines("b", "Z", "W"),
        (C,): lines("b", "c", "W2"),
    }


def test_an_insertion_inside_deleted_lines_is_contested(world: World) -> None:
    source = lines("a", "b", "c", "d")
    data, (decision,) = world.one_file(source, lines("a", "d"), lines("a", "b", "x", "c", "d"), path="f")
    assert data == lines("a", "d")
    assert wanted(decision) == {(A,): b"", (B,): lines("b", "x", "c")}


@pytest.mark.parametrize(
    ("source", "texts", "result"),
    [
        (b"a\nb", [b"a\nb\nc", b"A\nb"], b"A\nb\nc"),
        (b"a\nb", [b"a\nb\n", b"A\nb"], b"A\nb\n"),
        (b"a\nb", [b"a\nb\nc", b"a\nb\nd"], b"a\nb\nc\nd"),
        (b"a\r\nb\r\n", [b"A\r\nb\r\n", b"a\r\nB\r\n"], b"A\r\nB\r\n"),
        (b"caf\xe9\nb\n", [b"caf\xe8\nb\n", b"caf\xe9\nB\n"], b"caf\xe8\nB\n"),
        (b"", [b"x"], b"x"),
        (b"x", [b""], b""),
    ],
)
def test_ends_and_encodings(world: World, source: bytes, texts: list[bytes], result: bytes) -> None:
    data, decisions = world.one_file(source, *texts, path="f")
    assert data == result
    assert decisions
    assert not any(one.contradiction for one in decisions)


def test_a_line_end_alone_is_a_decision(world: World) -> None:
    data, decisions = world.one_file(b"a\nb", b"a\nb\n", path="f")
    assert data == b"a\nb\n"
    assert told(decisions) == [("L2-2", "one-side", (A,), False)]


def test_valid_python_in_valid_python_out(world: World) -> None:
    source = lines("if a:", "    b()", "    c()")
    one = lines("if a:", "    b()")
    other = lines("if a:", "    c()")
    third = lines("if z:", "    b()", "    c()")
    data, decisions = world.one_file(source, one, other, third, prefer=(P, B, C, A))
    assert data == lines("if z:", "    c()")
    (contest,) = [one for one in decisions if one.contradiction]
    assert (contest.region, contest.origins) == ("*", (B, C))
    assert wanted(contest) == {(P,): source, (A,): one, (B,): other, (C,): third}


def test_a_donor_that_fits_nothing_is_taken_whole_if_preferred(world: World) -> None:
    base = lines("if a:", "    b()", "    c()")
    primary, text = lines("if a:", "    b()"), lines("if a:", "    c()")
    assert world.one_file(primary, (base, text), prefer=(A, P))[0] == text
    data, (decision,) = world.one_file(primary, (base, text), prefer=(P, A))
    assert data == primary
    assert decision.origins == (P,)


# Whole files


FILE_CASES: dict[str, tuple[dict, dict, dict, dict, list]] = {
    "added": ({}, {"f": b"x"}, {}, {"f": b"x"}, [("f", "*", "one-side", (A,), False)]),
    "deleted": ({"f": b"x"}, {}, {"f": b"x"}, {}, [("f", "*", "one-side", (A,), False)]),
    "both deleted": ({"f": b"x"}, {}, {}, {}, [("f", "*", "identical", (A, B), False)]),
    "added alike": ({}, {"f": b"x"}, {"f": b"x"}, {"f": b"x"}, [("f", "*", "identical", (A, B), False)]),
    "added apart": ({}, {"f": b"x"}, {"f": b"y"}, {"f": b"x"}, [("f", "*", "preference", (A,), True)]),
    "deleted and edited": ({"f": b"x"}, {}, {"f": b"y"}, {}, [("f", "*", "preference", (A,), True)]),
    "binary": (
        {"f": b"\0x"},
        {"f": b"\0y"},
        {"f": b"\0z"},
        {"f": b"\0y"},
        [("f", "*", "preference", (A,), True)],
    ),
    "link": (
        {"f": (Mode.LINK, b"x")},
        {"f": (Mode.LINK, b"y")},
        {"f": (Mode.LINK, b"x")},
        {"f": b"y"},
        [("f", "*", "one-side", (A,), False)],
    ),
    "mode and content": (
        {"f": b"a\n"},
        {"f": (Mode.EXECUTABLE, b"a\n")},
        {"f": b"b\n"},
        {"f": b"b\n"},
        [("f", "*", "one-side", (A,), False), ("f", "L1-1", "one-side", (B,), False)],
    ),
}


@pytest.mark.parametrize("name", FILE_CASES)
def test_files_as_a_whole(world: World, name: str) -> None:
    base, one, other, result, decisions = FILE_CASES[name]
    tree = world.tree(base)
    donors = [Donor(node, tree, world.tree(files)) for node, files in ((B, other), (A, one)) if files != base]
    composition = world.compose(tree, *donors)
    assert world.files(composition.tree) == result
    assert [(d.path, d.region, d.engine, d.origins, d.contradiction) for d in composition.decisions] == decisions
    if name == "mode and content":
        assert composition.tree.entries[0].mode is Mode.EXECUTABLE


def test_editors_compose_though_a_third_deletes(world: World) -> None:
    base = world.tree({"f": lines("a", "b")})
    donors = [
        Donor(A, base, world.tree({"f": lines("A", "b")})),
        Donor(B, base, world.tree({"f": lines("a", "B")})),
        Donor(C, base, world.tree({})),
    ]
    kept = world.compose(base, *donors, prefer=(B, C, A))
    assert world.files(kept.tree) == {"f": lines("A", "B")}
    assert wanted(kept.decisions[0]) == {(A, B): lines("A", "B"), (C,): b""}
    gone = world.compose(base, *donors, prefer=(C, B, A))
    assert world.files(gone.tree) == {}
    assert [one.contradiction for one in gone.decisions] == [True]


def test_a_file_that_the_primary_deleted_stays_contested(world: World) -> None:
    base, empty = world.tree({"f": b"a\n"}), world.tree({})
    donor = Donor(A, base, world.tree({"f": b"b\n"}))
    assert world.compose(empty, donor, prefer=(P, A)).tree == empty
    assert world.compose(empty, donor, prefer=(A, P)).tree == donor.tree


def test_nothing_to_bring_is_said(world: World) -> None:
    tree = world.tree({"f": b"a\n"})
    older = world.tree({"f": b"b\n"})
    composition = world.compose(tree, Donor(A, older, older), Donor(B, older, tree))
    assert composition.tree == tree
    assert not composition.blobs
    assert [(one.path, *told((one,))[0]) for one in composition.decisions] == [
        ("", "*", "already", (A,), False),
        ("f", "*", "already", (B,), False),
    ]


def test_what_is_there_already_is_identical_beside_the_rest(world: World) -> None:
    base = world.tree({"f": b"a\n", "g": b"a\n"})
    primary = world.tree({"f": b"b\n", "g": b"a\n"})
    composition = world.compose(primary, Donor(A, base, world.tree({"f": b"b\n", "g": b"c\n"})))
    assert told(composition.decisions) == [
        ("*", "identical", tuple(sorted((P, A))), False),
        ("L1-1", "one-side", (A,), False),
    ]


@pytest.mark.parametrize(
    ("one", "other"), [("Data", "data"), ("data", "data/x"), ("Data/a", "data/b"), ("caf\u00e9", "CAF\u00c9")]
)
def test_paths_that_cannot_live_together(world: World, one: str, other: str) -> None:
    empty = world.tree({"keep": b"k"})
    donors = (
        Donor(A, empty, world.tree({"keep": b"k", one: b"1"})),
        Donor(B, empty, world.tree({"keep": b"k", other: b"2"})),
    )
    for prefer, kept, lost in [((A, B), one, other), ((B, A), other, one)]:
        composition = world.compose(empty, *donors, prefer=prefer)
        assert set(world.files(composition.tree)) == {"keep", kept}
        (contest,) = [decision for decision in composition.decisions if decision.contradiction]
        assert (contest.path, contest.region, contest.origins) == (lost, "*", prefer[:1])
        assert wanted(contest) == {(A,): b"1", (B,): b"2"}


def test_one_id_with_two_changes_is_refused(world: World) -> None:
    base = world.tree({"f": b"a\n"})
    with pytest.raises(BadInput):
        world.compose(base, Donor(A, base, world.tree({})), Donor(A, base, world.tree({"f": b"b\n"})))


# Laws

LINE = st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n", b"X = 1\n", b"Y = 2\n", b"Z = 3\n", b"    d()\n", b"if e:\n"])
MESSY = st.lists(LINE | st.sampled_from([b"\0", b"\xff\r\n", b"X = (\n", b"'''\n"]), max_size=8)
CONTENT = st.lists(LINE, max_size=8).map(b"".join) | MESSY.map(b"".join) | st.binary(max_size=12)
ENTRY = st.tuples(st.sampled_from(list(Mode)), CONTENT)
SNAPSHOT = st.one_of(
    st.dictionaries(st.sampled_from(["f.py", "g"]), ENTRY, max_size=2),
    st.sampled_from([{"F.py": (Mode.FILE, b"1")}, {"g/h": (Mode.FILE, b"2")}, {"g": (Mode.FILE, b"3\n")}]),
)
PREFERENCE = st.permutations([P, A, B, C]).map(tuple)


@st.composite
def worlds(draw: Callable) -> tuple[World, Tree, list[Donor], tuple[NodeId, ...]]:
    world = World()
    trees = [world.tree(draw(SNAPSHOT)) for _ in range(4)]
    donors = [Donor(node, draw(st.sampled_from(trees)), draw(st.sampled_from(trees))) for node in (A, B, C)]
    return world, trees[0], donors, draw(PREFERENCE)


@settings(deadline=None, max_examples=300)
@given(worlds())
def test_any_trees_compose_and_order_never_matters(case) -> None:
    world, tree, donors, prefer = case
    first = world.compose(tree, *donors, prefer=prefer)
    for order in permutations(donors):
        again = compose(P, tree, order, world.blobs.__getitem__, prefer)
        assert (again.tree, again.decisions) == (first.tree, first.decisions)
    assert all(one.sides if one.contradiction else not one.sides for one in first.decisions)


@settings(deadline=None, max_examples=200)
@given(worlds())
def test_what_was_composed_is_there_already(case) -> None:
    world, tree, donors, prefer = case
    first = world.compose(tree, *donors, prefer=prefer)
    again = world.compose(first.tree, Donor(A, tree, first.tree), prefer=prefer)
    assert again.tree == first.tree
    assert {one.engine for one in again.decisions} == {"already"}


@settings(deadline=None, max_examples=200)
@given(worlds())
def test_one_donor_onto_its_own_base_is_that_donor(case) -> None:
    world, tree, donors, prefer = case
    composition = world.compose(tree, Donor(A, tree, donors[0].tree), prefer=prefer)
    assert composition.tree == donors[0].tree
    assert not composition.blobs
    assert {one.engine for one in composition.decisions} <= {"one-side", "rename", "already"}


@st.composite
def edited(draw: Callable, base: list[bytes], tag: str) -> list[bytes]:
    """`base` with lines changed, dropped and inserted; every new line is unlike any other."""
    out: list[bytes] = []
    for number, line in enumerate(base):
        action = draw(st.sampled_from(["keep"] * 6 + ["drop", "change", "insert"]))
        if action != "drop":
            fresh = f"{tag}{number} = {number}\n".encode()
            out += {"keep": [line], "change": [fresh], "insert": [fresh, line]}[action]
    return out


@st.composite
def forks(draw: Callable) -> tuple[list[bytes], list[bytes], list[list[bytes]], tuple[NodeId, ...]]:
    base = [f"V{number} = {number}\n".encode() for number in range(draw(st.integers(1, 10)))]
    primary = draw(edited(base, "P")) if draw(st.booleans()) else base
    return base, primary, [draw(edited(base, tag)) for tag in "ABC"], draw(PREFERENCE)


@settings(deadline=None, max_examples=300)
@given(forks(), st.sampled_from(["f.py", "f.txt"]))
def test_no_edit_is_lost_without_a_record(case, path: str) -> None:
    base, primary, texts, prefer = case
    given_texts = [(b"".join(base), b"".join(text)) for text in texts]
    data, decisions = World().one_file(b"".join(primary), *given_texts, path=path, prefer=prefer)
    result = data.splitlines(keepends=True)
    contested = [side.text for one in decisions if one.contradiction for side in one.sides]
    for text in [primary, *texts]:
        for line in set(text) - set(base):
            assert line in result or any(line in wish for wish in contested)
    for line in base:
        versions = [primary, *texts]
        if all(line in version for version in versions):
            assert line in result
        elif line in result:
            assert all(line in version for version in versions) or contested
    assert len(set(result)) == len(result)


def test_contests_around_lines_that_the_primary_deleted_are_one() -> None:
    base, primary = b"a\nb\nc\nd\n", b"a\nd\n"
    drops, inserts = b"c\nd\n", b"a\nb\nnew\nc\nd\n"
    data, decisions = World().one_file(primary, (base, drops), (base, inserts), path="f.txt")
    assert sorted(data.splitlines()) == sorted(set(data.splitlines()))
    assert [one.contradiction for one in decisions] == [True]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=8, unique=True), st.sampled_from(["f.py", "f"]))
def test_disjoint_single_line_edits_all_land(rows: list[int], path: str) -> None:
    world = World()
    source = [f"line({number})\n".encode() for number in range(30)]
    expected = list(source)
    donors = []
    base = world.tree({path: b"".join(source)})
    for row in rows:
        text = list(source)
        text[row] = expected[row] = f"changed({row})\n".encode()
        donors.append(Donor(NodeId.of(b"%d" % row), base, world.tree({path: b"".join(text)})))
    composition = world.compose(base, *donors)
    assert world.files(composition.tree) == {path: b"".join(expected)}
    assert {one.engine for one in composition.decisions} == {"one-side"}
    # Adopted one more time onto the result, none of them changes anything.
    again = world.compose(composition.tree, *donors)
    assert again.tree == composition.tree


PIECES = [
    "X = 1",
    "if a:",
    "    b()",
    "    c()",
    "else:",
    "    d()",
    "def f():",
    "    return (",
    "    )",
    "x()",
    "Y = [",
]
BLOCKS = ["X = 1\n", "if a:\n    b()\n    c()\n", "def f():\n    b()\n", "x()\n", "Y = [\n    1,\n    2,\n]\n"]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_valid_python_never_becomes_invalid(data) -> None:
    def version(source: bytes) -> bytes:
        text = source.splitlines(keepends=True)
        for _ in range(data.draw(st.integers(0, 3))):
            row = data.draw(st.integers(0, len(text)))
            text[row : row + data.draw(st.integers(0, 2))] = data.draw(
                st.lists(st.sampled_from(PIECES).map(lambda piece: piece.encode() + b"\n"), max_size=2)
            )
        joined = b"".join(text)
        return joined if parses(joined) else source

    base = "".join(data.draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5))).encode()
    primary = version(base)
    result, _ = World().one_file(primary, *[(base, version(base)) for _ in range(3)])
    assert parses(result)


def parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except SyntaxError:
        return False
    return True


# Blank rows


def test_blank_rows_are_not_told_beside_something_else(world: World) -> None:
    base = lines("A = 1", "B = 2", "C = 3")
    text, decisions = world.one_file(base, lines("A = 1", "", "B = 2", "C = 4"), lines("A = 0", "B = 2", "C = 3"))
    assert text == lines("A = 0", "", "B = 2", "C = 4")
    assert told(decisions) == [("A", "one-side", (B,), False), ("C", "one-side", (A,), False)]


def test_who_changed_blank_rows_alone_is_told_once(world: World) -> None:
    base = lines("A = 1", "B = 2", "C = 3")
    text, decisions = world.one_file(base, lines("A = 1", "", "B = 2", "", "C = 3"), lines("A = 0", "B = 2", "C = 3"))
    assert text == lines("A = 0", "", "B = 2", "", "C = 3")
    assert told(decisions) == [("A", "one-side", (B,), False), ("L2-1", "one-side", (A,), False)]


def test_words_that_the_primary_has_already_are_not_put_in_again(world: World) -> None:
    base, less, more = b"x = 1  # a\n", b"x = 1  # a  # b\n", b"x = 1  # a  # b  # c\n"
    for here, there in ((less, more), (more, less)):
        text, _ = world.one_file(here, (base, there))
        assert text.count(b"# b") == 1
