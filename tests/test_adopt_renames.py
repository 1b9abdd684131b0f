"""Files that somebody renamed, case by case: where the edits of the others arrive, and what all of it is called."""

from collections.abc import Mapping
from itertools import permutations

import pytest

from dagstore.adopt import Composition, Donor, compose
from dagstore.adopt.gates import Gates
from dagstore.adopt.part import Part, Place
from dagstore.adopt.wishes import File
from dagstore.ids import BlobId, NodeId
from dagstore.model import Decision, Entry, Mode, Tree

P, A, B, C = sorted(NodeId.of(name) for name in (b"p", b"a", b"b", b"c"))
Files = Mapping[str, bytes | tuple[Mode, bytes]]
MODEL = b"import math\n\nLR = 0.1\nWIDTH = 64\nDEPTH = 4\n\n\ndef loss(x):\n    return math.log(x + LR)\n"
OTHER = b"import os\n\nBATCH = 8\nSEED = 1\nSTEPS = 9\n\n\ndef main():\n    return os.getpid() + SEED\n"
X = (Mode.EXECUTABLE, MODEL)


def parts(what: bytes | tuple[Mode, bytes]) -> tuple[Mode, bytes]:
    return what if isinstance(what, tuple) else (Mode.FILE, what)


def tree(files: Files) -> Tree:
    entries = ((path, *parts(what)) for path, what in files.items())
    return Tree.of(Entry(path, mode, BlobId.of(data)) for path, mode, data in entries)


def tuned(*edits: tuple[bytes, bytes], text: bytes = MODEL) -> bytes:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


DEEP, WIDE, SLOW = ((old, old[:-1] + b"7") for old in (b"DEPTH = 4", b"WIDTH = 64", b"LR = 0.1"))


class Adopted:
    """What comes of donors put onto a primary; `base` is everybody's, unless a donor has one of its own."""

    def __init__(
        self,
        base: Files,
        *donors: Files | tuple[Files, Files],
        primary: Files | None = None,
        prefer: tuple[NodeId, ...] = (P, A, B, C),
    ) -> None:
        pairs = [one if isinstance(one, tuple) else (base, one) for one in donors]
        all_files = [base, primary or {}, *(files for pair in pairs for files in pair)]
        self.texts = {BlobId.of(data): data for files in all_files for _, data in map(parts, files.values())}
        self.tree = tree(base if primary is None else primary)
        self.donors = [Donor(id, tree(one), tree(two)) for id, (one, two) in zip((A, B, C), pairs, strict=False)]
        self.composition = self._composed(self.donors, prefer)
        assert all(self._composed(some, prefer) == self.composition for some in permutations(self.donors))

    def _composed(self, donors: tuple[Donor, ...] | list[Donor], prefer: tuple[NodeId, ...]) -> Composition:
        return compose(P, self.tree, donors, self.texts.__getitem__, prefer)

    @property
    def files(self) -> dict[str, bytes]:
        texts = self.texts | dict(self.composition.blobs)
        return {entry.path: texts[entry.blob] for entry in self.composition.tree}

    @property
    def told(self) -> list[tuple[str, str, str, tuple[NodeId, ...]]]:
        return [(one.path, one.region, one.engine, one.origins) for one in self.composition.decisions]

    @property
    def contested(self) -> list[Decision]:
        assert all(one.contradiction == bool(one.sides) for one in self.composition.decisions)
        return [one for one in self.composition.decisions if one.contradiction]

    @property
    def lost(self) -> list[str]:
        gates = Gates(P, self.tree, self.donors, self.composition, self.texts.__getitem__)
        return [f"{one.gate} {one.path}: {one.text}" for one in gates.findings()]


def wanted(decision: Decision) -> dict[tuple[NodeId, ...], bytes]:
    return {side.origins: side.text for side in decision.sides}


# --- one renames, others edit ---


@pytest.mark.parametrize("renamed", [{"net.py": MODEL}, {"net.py": tuned(WIDE)}, {"lib/model.py": tuned(WIDE)}])
@pytest.mark.parametrize("prefer", [(A, B, P), (B, A, P), (P, A, B)])
def test_edits_arrive_where_the_file_went(renamed: Files, prefer: tuple[NodeId, ...]) -> None:
    base, edited = {"model.py": MODEL}, {"model.py": tuned(DEEP)}
    ((path, text),) = renamed.items()
    result = {path: tuned(DEEP, text=text)}
    both = Adopted(base, renamed, edited, prefer=prefer)
    assert both.files == result
    assert both.told[0] == (path, "name of model.py", "rename", (A,))
    assert (path, "DEPTH") in {one[:2] for one in both.told}
    onto_renamed = Adopted(base, edited, primary=renamed, prefer=prefer)
    onto_edited = Adopted(base, renamed, primary=edited, prefer=prefer)
    assert onto_renamed.files == onto_edited.files == result
    for one in (both, onto_renamed, onto_edited):
        assert not one.contested
        assert not one.lost


def test_a_rename_alone_is_the_tree_of_who_renamed() -> None:
    alone = Adopted({"a.py": MODEL, "b.py": OTHER}, {"c.py": MODEL, "b.py": OTHER})
    assert alone.files == {"c.py": MODEL, "b.py": OTHER}
    assert alone.told == [("c.py", "name of a.py", "rename", (A,))]
    assert alone.composition.moved == {File("a.py"): "c.py"}
    assert not alone.composition.blobs


@pytest.mark.parametrize("prefer", [(A, B, P), (B, A, P), (P, A, B)])
def test_two_that_rename_alike_agree(prefer: tuple[NodeId, ...]) -> None:
    base, one, other = {"a.py": MODEL}, {"b.py": tuned(DEEP)}, {"b.py": tuned(WIDE)}
    both = Adopted(base, one, other, prefer=prefer)
    assert both.files == Adopted(base, other, primary=one, prefer=prefer).files == {"b.py": tuned(DEEP, WIDE)}
    assert both.told[0] == ("b.py", "name of a.py", "identical", (A, B))
    assert not both.contested
    assert not both.lost


def test_what_both_call_alike_is_one_file_however_little_is_left_of_it() -> None:
    base, primary = {"a.py": MODEL}, {"b.py": b"DEPTH = 4\nEVERYTHING = 'else'\n" + OTHER}
    adopted = Adopted(base, {"b.py": tuned(DEEP)}, primary=primary)
    assert adopted.files == {"b.py": tuned(DEEP, text=primary["b.py"])}
    assert not adopted.contested


# --- two renamed otherwise ---


@pytest.mark.parametrize(("prefer", "name"), [((A, B, P), "b.py"), ((B, A, P), "c.py")])
def test_two_names_are_one_contradiction_and_one_file(prefer: tuple[NodeId, ...], name: str) -> None:
    base, one, other = {"a.py": MODEL}, {"b.py": tuned(DEEP)}, {"c.py": tuned(WIDE)}
    adopted = Adopted(base, one, other, {"a.py": tuned(SLOW)}, prefer=prefer)
    assert adopted.files == {name: tuned(DEEP, WIDE, SLOW)}
    (contest,) = adopted.contested
    assert (contest.path, contest.region, contest.engine) == (name, "name of a.py", "preference")
    assert contest.origins == prefer[:1]
    assert wanted(contest) == {(A,): b"b.py", (B,): b"c.py"}
    assert not adopted.lost


@pytest.mark.parametrize(("prefer", "name"), [((P, A, B), "b.py"), ((A, P, B), "c.py"), ((B, A, P), "b.py")])
def test_a_name_of_the_primary_is_a_side(prefer: tuple[NodeId, ...], name: str) -> None:
    base, primary = {"a.py": MODEL}, {"b.py": MODEL}
    adopted = Adopted(base, {"c.py": tuned(DEEP)}, {"b.py": MODEL}, primary=primary, prefer=prefer)
    assert adopted.files == {name: tuned(DEEP)}
    (contest,) = adopted.contested
    # B agrees with the primary and is heard like everybody else.
    assert wanted(contest) == {(A,): b"c.py", tuple(sorted((P, B))): b"b.py"}
    assert not adopted.lost


def test_a_name_that_a_donor_knew_is_no_side() -> None:
    adopted = Adopted(
        {}, ({"b.py": MODEL}, {"c.py": MODEL}), ({"a.py": MODEL}, {"a.py": tuned(DEEP)}), primary={"b.py": MODEL}
    )
    assert adopted.files == {"c.py": tuned(DEEP)}
    assert not adopted.contested


# --- renamed and deleted ---


@pytest.mark.parametrize("prefer", [(A, B, C, P), (B, A, C, P), (C, B, A, P)])
def test_who_renames_keeps_the_file_that_another_one_deletes(prefer: tuple[NodeId, ...]) -> None:
    adopted = Adopted({"a.py": MODEL}, {"b.py": MODEL}, {}, {"a.py": tuned(DEEP)}, prefer=prefer)
    (contest,) = adopted.contested
    assert wanted(contest) == {(A, C): tuned(DEEP), (B,): b""}
    assert adopted.files == ({} if prefer[0] == B else {"b.py": tuned(DEEP)})
    assert contest.path == ("a.py" if prefer[0] == B else "b.py")
    assert not adopted.lost


@pytest.mark.parametrize("prefer", [(A, P), (P, A)])
def test_renamed_and_deleted_with_the_primary_as_one_side(prefer: tuple[NodeId, ...]) -> None:
    base, renamed = {"a.py": MODEL}, {"b.py": MODEL}
    gone = Adopted(base, {}, primary=renamed, prefer=prefer)
    kept = Adopted(base, renamed, primary={}, prefer=prefer)
    assert gone.files == ({} if prefer[0] == A else renamed)
    assert kept.files == (renamed if prefer[0] == A else {})
    assert [len(one.contested) for one in (gone, kept)] == [1, 1]
    assert not gone.lost
    assert not kept.lost


# --- a name that another file has ---


@pytest.mark.parametrize("prefer", [(A, B, C, P), (B, A, C, P)])
def test_a_name_that_another_one_gave_to_a_new_file(prefer: tuple[NodeId, ...]) -> None:
    base = {"a.py": MODEL}
    adopted = Adopted(base, {"b.py": MODEL}, {**base, "b.py": OTHER}, {"a.py": tuned(DEEP)}, prefer=prefer)
    (contest,) = adopted.contested
    assert (contest.path, contest.region, contest.origins) == ("b.py", "*", prefer[:1])
    assert wanted(contest) == {(A,): tuned(DEEP), (B,): OTHER}
    # Nobody has both names for one file, so the one that is not heard stays where it was if it was anywhere.
    assert adopted.files == ({"b.py": tuned(DEEP)} if prefer[0] == A else {"a.py": tuned(DEEP), "b.py": OTHER})
    assert not adopted.lost


@pytest.mark.parametrize("prefer", [(A, P), (P, A)])
def test_a_name_that_the_primary_gave_to_a_new_file(prefer: tuple[NodeId, ...]) -> None:
    base = {"a.py": MODEL}
    adopted = Adopted(base, {"b.py": tuned(DEEP)}, primary={**base, "b.py": OTHER}, prefer=prefer)
    assert adopted.files == ({"b.py": tuned(DEEP)} if prefer[0] == A else {"a.py": tuned(DEEP), "b.py": OTHER})
    assert len(adopted.contested) == 1
    assert not adopted.lost


@pytest.mark.parametrize("prefer", [(A, B, P), (P, A, B)])
def test_a_new_file_where_the_primary_renamed_one_to(prefer: tuple[NodeId, ...]) -> None:
    base = {"a.py": MODEL}
    new, edit = {"a.py": tuned(WIDE), "b.py": OTHER}, {"a.py": tuned(DEEP)}
    adopted = Adopted(base, new, edit, primary={"b.py": MODEL}, prefer=prefer)
    both = tuned(WIDE, DEEP)
    assert adopted.files == ({"a.py": both, "b.py": OTHER} if prefer[0] == A else {"b.py": both})
    assert [one.path for one in adopted.contested] == ["b.py"]
    assert not adopted.lost


def test_equal_files_may_have_one_name() -> None:
    base = {"a.py": MODEL}
    for copied in ({**base, "b.py": MODEL}, {"a.py": MODEL, "b.py": MODEL}):
        adopted = Adopted(base, {"b.py": MODEL}, copied)
        assert adopted.files == Adopted(base, {"b.py": MODEL}, primary=copied).files == {"b.py": MODEL}
        assert not adopted.contested
        assert not adopted.lost


def test_a_new_file_where_one_was_renamed_from() -> None:
    base = {"a.py": MODEL}
    adopted = Adopted(base, {"b.py": MODEL}, ({}, {"a.py": OTHER}))
    assert adopted.files == {"a.py": OTHER, "b.py": MODEL}
    assert not adopted.contested
    assert not adopted.lost


def test_a_new_file_where_the_primary_renamed_one_to_and_somebody_deletes_it() -> None:
    primary = {"a.py": MODEL, "b.py": OTHER}
    first = {"c.py": MODEL, "b.py": OTHER}
    adopted = Adopted(primary, (first, {**first, "a.py": b"NEW = 1\n"}), {"b.py": OTHER})
    assert adopted.files == {"a.py": b"NEW = 1\n", "b.py": OTHER}
    assert not adopted.contested
    assert not adopted.lost


def test_two_files_that_two_donors_call_alike() -> None:
    base = {"a.py": MODEL, "b.py": OTHER}
    adopted = Adopted(base, {"c.py": MODEL, "b.py": OTHER}, {"a.py": MODEL, "c.py": OTHER}, prefer=(B, A, P))
    assert adopted.files == {"a.py": MODEL, "c.py": OTHER}
    (contest,) = adopted.contested
    assert (contest.path, contest.origins) == ("c.py", (B,))
    assert wanted(contest) == {(A,): MODEL, (B,): OTHER}


# --- swaps, folders, case ---


def test_a_swap_takes_the_edits_along() -> None:
    base = {"a.py": MODEL, "b.py": OTHER}
    swapped = {"a.py": OTHER, "b.py": MODEL}
    edited = {"a.py": tuned(DEEP), "b.py": OTHER}
    result = {"a.py": OTHER, "b.py": tuned(DEEP)}
    adopted = Adopted(base, swapped, edited)
    assert adopted.files == Adopted(base, swapped, primary=edited).files == result
    assert Adopted(base, edited, primary=swapped).files == result
    assert adopted.told[:2] == [
        ("a.py", "name of b.py", "rename", (A,)),
        ("b.py", "name of a.py", "rename", (A,)),
    ]
    assert not adopted.contested
    assert not adopted.lost


def test_a_folder_is_renamed_and_what_others_add_there_stays() -> None:
    base = {"lib/a.py": MODEL, "lib/b.py": OTHER, "lib/__init__.py": b""}
    moved = {path.replace("lib", "src/net"): text for path, text in base.items()}
    added = {**base, "lib/a.py": tuned(DEEP), "lib/new.py": b"NEW = 1\n", "lib/__init__.py": b"import new\n"}
    adopted = Adopted(base, moved, added)
    assert adopted.files == {
        "src/net/a.py": tuned(DEEP),
        "src/net/b.py": OTHER,
        "src/net/__init__.py": b"import new\n",
        "lib/new.py": b"NEW = 1\n",
    }
    assert not adopted.contested
    assert not adopted.lost


def test_another_case_of_letters() -> None:
    base = {"Net.py": MODEL, "Lib/a.py": OTHER}
    lower = {"net.py": MODEL, "lib/a.py": OTHER}
    edited = {"Net.py": tuned(DEEP), "Lib/a.py": OTHER}
    result = {"net.py": tuned(DEEP), "lib/a.py": OTHER}
    assert Adopted(base, lower, edited).files == Adopted(base, edited, primary=lower).files == result
    # A new file in the folder as it was spelled cannot live beside the new spelling.
    added = {**base, "Lib/new.py": b"NEW = 1\n"}
    for prefer, files in [((A, B), lower), ((B, A), {**added, "net.py": MODEL})]:
        adopted = Adopted(base, lower, added, prefer=prefer)
        assert adopted.files == {path: text for path, text in files.items() if path != "Net.py"}
        (contest,) = adopted.contested
        assert contest.region == "*"
        assert not adopted.lost


# --- modes, links, bytes ---


def test_the_executable_bit_is_a_wish_of_its_own() -> None:
    base = {"a.sh": MODEL}
    adopted = Adopted(base, {"b.sh": MODEL}, {"a.sh": X}, {"a.sh": tuned(DEEP)})
    assert adopted.files == {"b.sh": tuned(DEEP)}
    assert adopted.composition.tree.entries[0].mode is Mode.EXECUTABLE
    assert not adopted.contested
    assert Adopted(base, {"b.sh": X}).composition.tree == tree({"b.sh": X})


def test_a_link_that_moves_is_deleted_and_added() -> None:
    link, other = (Mode.LINK, b"x"), (Mode.LINK, b"y")
    adopted = Adopted({"a": link}, {"b": link}, {"a": other}, prefer=(A, B))
    assert adopted.files == {"b": b"x"}
    assert len(adopted.contested) == 1


@pytest.mark.parametrize(("prefer", "files"), [((A, B), {"b": MODEL}), ((B, A), {"a": b"x"})])
def test_a_link_in_place_of_a_file_has_the_path_that_it_was_given(
    prefer: tuple[NodeId, ...], files: dict[str, bytes]
) -> None:
    adopted = Adopted({"a": MODEL}, {"b": MODEL}, {"a": (Mode.LINK, b"x")}, prefer=prefer)
    assert adopted.files == files
    assert len(adopted.contested) == 1
    assert not adopted.lost


def test_bytes_are_followed_if_the_rename_left_them_alone() -> None:
    base, edited = {"a.bin": b"\0one"}, {"a.bin": b"\0two"}
    adopted = Adopted(base, {"b.bin": b"\0one"}, edited)
    assert adopted.files == Adopted(base, edited, primary={"b.bin": b"\0one"}).files == {"b.bin": b"\0two"}
    assert not adopted.contested
    assert not adopted.lost
    apart = Adopted(base, {"b.bin": b"\0six"}, edited, prefer=(B, A))
    assert apart.files == {"a.bin": b"\0two", "b.bin": b"\0six"}
    assert len(apart.contested) == 1


def test_a_donor_of_its_own_base_finds_the_file_under_the_name_that_the_primary_has() -> None:
    adopted = Adopted({}, ({"b.py": tuned(WIDE)}, {"b.py": tuned(WIDE, DEEP)}), primary={"a.py": MODEL})
    assert adopted.files == {"a.py": tuned(DEEP)}
    assert not adopted.contested


# --- gates ---


def test_gates_know_a_file_by_all_its_names() -> None:
    missing = MODEL + b"\n\ndef old():\n    return missing\n"
    adopted = Adopted({"a.py": missing}, {"b.py": tuned(DEEP, text=missing)}, {"a.py": tuned(WIDE, text=missing)})
    assert adopted.lost == []
    used = Adopted(
        {"a.py": MODEL}, {"b.py": MODEL.replace(b"loss", b"cost")}, {"a.py": MODEL + b"\n\nprint(loss(1))\n"}
    )
    assert used.lost == ["undefined b.py: loss", "uses b.py: loss"]


def test_gates_miss_what_is_nowhere() -> None:
    adopted = Adopted({"a.py": MODEL}, {"b.py": tuned(DEEP)}, {"a.py": tuned(WIDE)})

    def lost(files: Files, moved: dict[File, str | None]) -> list[str]:
        adopted.texts.update({BlobId.of(data): data for _, data in map(parts, files.values())})
        adopted.composition = Composition(tree(files), {}, (), moved)
        return adopted.lost

    assert lost({"a.py": tuned(DEEP, WIDE)}, {}) == ["lost a.py: the name b.py"]
    assert lost({"b.py": tuned(DEEP)}, {File("a.py"): "b.py"}) == ["lost b.py: WIDTH = 64", "lost b.py: WIDTH = 67"]
    assert set(lost({"a.py": OTHER}, {File("a.py"): None})) == {
        "lost a.py: the file as a whole",
        "lost a.py: the name b.py",
    }


# --- in part ---


@pytest.mark.parametrize(
    ("place", "files"),
    [
        (Place("a.py"), {"lib/b.py": tuned(DEEP, WIDE), "o.py": OTHER}),
        (Place("lib"), {"lib/b.py": tuned(DEEP, WIDE), "o.py": OTHER}),
        (Place("o.py"), {"a.py": MODEL, "o.py": b"BATCH = 9\n"}),
        (Place("a.py", "DEPTH"), {"a.py": tuned(DEEP), "o.py": OTHER}),
        (Place("lib/b.py", "WIDTH"), {"a.py": tuned(WIDE), "o.py": OTHER}),
    ],
)
def test_a_renamed_file_is_where_it_was_and_where_it_is(place: Place, files: Files) -> None:
    base = {"a.py": MODEL, "o.py": OTHER}
    new = {"lib/b.py": tuned(DEEP, WIDE), "o.py": b"BATCH = 9\n"}
    texts = {BlobId.of(data): data for some in (base, new) for data in some.values()}
    part = Part([place], texts.__getitem__)
    assert part.of(Donor(A, tree(base), tree(new))).tree == tree(files)
    assert part.used == {place}


def test_a_swap_is_taken_as_a_whole() -> None:
    base, new = {"a": MODEL, "b": OTHER, "c": b"c\n"}, {"a": OTHER, "b": MODEL, "c": b"d\n"}
    texts = {BlobId.of(data): data for some in (base, new) for data in some.values()}
    for path in ("a", "b"):
        donor = Part([Place(path)], texts.__getitem__).of(Donor(A, tree(base), tree(new)))
        assert donor.tree == tree({"a": OTHER, "b": MODEL, "c": b"c\n"})
