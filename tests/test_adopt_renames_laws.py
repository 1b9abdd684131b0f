"""Laws of adoption on drawn trees whose files are renamed, swapped, copied, edited, added and deleted."""

import re
from collections.abc import Callable, Mapping
from itertools import count, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore.adopt import Composition, Donor, compose
from dagstore.adopt.gates import Gates
from dagstore.adopt.renames import renames
from dagstore.adopt.wishes import brought
from dagstore.errors import BadInput
from dagstore.ids import BlobId, NodeId
from dagstore.model import Decision, Entry, Mode, Tree

P, A, B, C = sorted(NodeId.of(name) for name in (b"p", b"a", b"b", b"c"))
PREFERENCE = st.permutations([P, A, B, C]).map(tuple)
PATHS = ["a.py", "b.py", "A.py", "c.txt", "d/a.py", "d/b.py", "D/b.py", "d/e/a.py", "f/a.py"]
ACTIONS = ["rename", "rename", "rename", "edit", "edit", "edit", "swap", "copy", "add", "delete", "flag", "link"]
Files = dict[str, tuple[Mode, tuple[int, ...]]]
"""The mode of each file and the numbers in it, one a line; every number that is written is like no other."""


def text_of(numbers: tuple[int, ...]) -> bytes:
    return b"".join(b"n%d = %d\n" % (number, number) for number in numbers)


def tree_of(files: Mapping[str, tuple[Mode, tuple[int, ...]]]) -> Tree:
    return Tree.of(Entry(path, mode, BlobId.of(text_of(numbers))) for path, (mode, numbers) in files.items())


def drawn_file(draw: Callable, numbers: count) -> tuple[Mode, tuple[int, ...]]:
    return Mode.FILE, tuple(next(numbers) for _ in range(draw(st.integers(1, 6))))


def changed(draw: Callable, files: Files, numbers: count) -> Files:
    """The files after one action; the same ones if that gives no tree."""
    action, new = draw(st.sampled_from(ACTIONS)), draw(st.sampled_from(PATHS))
    if action == "add" or not files:
        return checked({**files, new: drawn_file(draw, numbers)}, files)
    path = draw(st.sampled_from(sorted(files)))
    other = draw(st.sampled_from(sorted(files)))
    rest = {one: what for one, what in files.items() if one != path}
    mode, held = files[path]
    at = draw(st.integers(0, len(held)))
    after: dict[str, Files] = {
        "rename": {**rest, new: files[path]},
        "edit": {**files, path: (mode, (*held[:at], next(numbers), *held[at + draw(st.integers(0, 1)) :]))},
        "swap": {**files, path: files[other], other: files[path]},
        "copy": {**files, new: files[path]},
        "delete": rest,
        "flag": {**files, path: (draw(st.sampled_from([Mode.FILE, Mode.EXECUTABLE])), held)},
        "link": {**files, path: (Mode.LINK, (next(numbers),))},
    }
    return checked(after[action], files)


def checked(files: Files, otherwise: Files) -> Files:
    try:
        tree_of(files)
    except BadInput:
        return otherwise
    return files


def version(draw: Callable, files: Files, numbers: count, least: int) -> Files:
    for _ in range(draw(st.integers(least, 3))):
        files = changed(draw, files, numbers)
    return files


class Case:
    """A primary and donors, each with a base of its own, and whom to prefer."""

    def __init__(self, primary: Files, donors: list[tuple[NodeId, Files, Files]], prefer: tuple[NodeId, ...]) -> None:
        self.primary, self.donors, self.prefer = primary, donors, prefer
        versions = (primary, *(files for _, *both in donors for files in both))
        contents = [text_of(numbers) for files in versions for _, numbers in files.values()]
        self.texts = {BlobId.of(text): text for text in contents}
        self.given = [Donor(id, tree_of(base), tree_of(files)) for id, base, files in donors]

    def composed(self) -> Composition:
        return compose(P, tree_of(self.primary), self.given, self.texts.__getitem__, self.prefer)

    def __repr__(self) -> str:
        names = {P: "P", A: "A", B: "B", C: "C"}
        donors = [f"{names[id]}: {base} -> {files}" for id, base, files in self.donors]
        return "\n".join(["", f"P: {self.primary}", *donors, " ".join(names[one] for one in self.prefer)])


@st.composite
def cases(draw: Callable) -> Case:
    numbers = count(1000)
    base: Files = {}
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=4, unique=True)):
        base = checked({**base, path: drawn_file(draw, numbers)}, base)
    later = version(draw, base, numbers, 1)
    primary = draw(st.sampled_from([base, version(draw, base, numbers, 1)]))
    donors = []
    for id in (A, B, C):
        start = draw(st.sampled_from([base, base, later]))
        donors.append((id, start, version(draw, start, numbers, 1)))
    return Case(primary, donors, draw(PREFERENCE))


def numbers_in(text: bytes) -> set[int]:
    return {int(number) for number in re.findall(rb"\d{4,}", text)}


def written(files: Files) -> set[int]:
    return {number for _, numbers in files.values() for number in numbers}


def contested(decisions: tuple[Decision, ...], id: NodeId) -> list[Decision]:
    return [one for one in decisions if any(id in side.origins for side in one.sides)]


def agreed(composition: Composition) -> set[NodeId]:
    """Who wants something that the primary has, and that may be gone by what another donor did."""
    return {id for one in composition.decisions if one.engine in ("identical", "already") for id in one.origins}


@settings(deadline=None, max_examples=400)
@given(cases())
def test_the_order_of_donors_never_matters_and_a_tree_comes_of_it(case: Case) -> None:
    first = case.composed()
    assert Tree.of(first.tree) == first.tree
    assert all(bool(one.sides) == one.contradiction for one in first.decisions)
    for order in permutations(case.given):
        assert compose(P, tree_of(case.primary), order, case.texts.__getitem__, case.prefer) == first


@settings(deadline=None, max_examples=800)
@given(cases())
def test_every_number_is_in_a_file_or_on_record(case: Case) -> None:
    composition = case.composed()
    texts = case.texts | composition.blobs
    there = set().union(*(numbers_in(texts[entry.blob]) for entry in composition.tree))
    there |= {number for one in composition.decisions for side in one.sides for number in numbers_in(side.text)}
    for id, base, files in case.donors:
        whole = any(one.region == "*" for one in contested(composition.decisions, id))
        assert whole or written(files) - written(base) <= there


@settings(deadline=None, max_examples=800)
@given(cases())
def test_no_path_is_lost_without_a_decision_about_it(case: Case) -> None:
    composition = case.composed()
    paths = {entry.path for entry in composition.tree}
    about = {(one.path, one.region) for one in composition.decisions}
    told = {region.removeprefix("name of ") for _, region in about} | {path for path, region in about if region == "*"}
    assert case.primary.keys() - paths <= told
    for id, base, files in case.donors:
        sides = contested(composition.decisions, id)
        whole = any(one.region == "*" for one in sides)
        wished = {side.text.decode() for one in sides for side in one.sides if id in side.origins}
        assert whole or id in agreed(composition) or files.keys() - base.keys() - paths <= wished


@settings(deadline=None, max_examples=400)
@given(cases())
def test_one_donor_onto_its_own_base_is_that_donor(case: Case) -> None:
    for id, base, files in case.donors:
        alone = Case(base, [(id, base, files)], case.prefer)
        composition = alone.composed()
        assert composition.tree == tree_of(files)
        assert not composition.blobs
        assert {one.engine for one in composition.decisions} <= {"one-side", "rename", "already"}


@settings(deadline=None, max_examples=400)
@given(cases())
def test_what_was_composed_is_there_already(case: Case) -> None:
    for id, base, files in case.donors:
        composition = Case(files, [(id, base, files)], case.prefer).composed()
        assert composition.tree == tree_of(files)
        assert {one.engine for one in composition.decisions} == {"already"}


@settings(deadline=None, max_examples=400)
@given(cases())
def test_the_gates_miss_nothing(case: Case) -> None:
    composition = case.composed()
    gates = Gates(P, tree_of(case.primary), case.given, composition, case.texts.__getitem__)
    lost = [one for one in gates.findings() if one.gate == "lost"]
    assert not [one for one in lost if agreed(composition).isdisjoint(one.origins)]


@settings(deadline=None, max_examples=400)
@given(cases())
def test_renames_are_the_same_both_ways_and_every_file_is_wished_for_once(case: Case) -> None:
    for donor, (_, base, files) in zip(case.given, case.donors, strict=True):
        found = renames(tree_of(base), tree_of(files), case.texts.__getitem__)
        assert renames(tree_of(files), tree_of(base), case.texts.__getitem__) == {
            new: old for old, new in found.items()
        }
        assert len(set(found.values())) == len(found)
        wishes, _ = brought(donor, tree_of(case.primary), case.texts.__getitem__)
        assert len({wish.file for wish in wishes}) == len(wishes)
        for old, new in found.items():
            assert files.get(old) != base[old]
            assert base.get(new) != files[new]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_edits_of_a_file_arrive_wherever_it_went(data: st.DataObject) -> None:
    numbers = count(1000)
    base = {path: tuple(next(numbers) for _ in range(12)) for path in ("a.py", "b.txt", "d/a.py", "d/e/a.py")}
    new_paths = data.draw(st.permutations(["A.py", "x.txt", "d/x.py", "D/a.py", "z/z.py", "d/e/f/a.py"]))
    news = dict(zip(base, new_paths, strict=False))
    wanted = {path: list(text) for path, text in base.items()}
    gone: set[str] = set()
    versions: list[Files] = []
    for row in range(4):
        renamed = set(data.draw(st.lists(st.sampled_from(sorted(base)))))
        texts = {path: list(text) for path, text in base.items()}
        for path, line in data.draw(st.lists(st.tuples(st.sampled_from(sorted(base)), st.integers(0, 2)))):
            texts[path][4 * line + row] = wanted[path][4 * line + row] = next(numbers)
        kept = {path: (Mode.FILE, tuple(text)) for path, text in texts.items()}
        moved = {news[path] if path in renamed else path: what for path, what in kept.items()}
        versions.append(checked(moved, kept))
        gone |= base.keys() - versions[-1].keys()
    result = {news[path] if path in gone else path: (Mode.FILE, tuple(text)) for path, text in wanted.items()}
    start: Files = {path: (Mode.FILE, text) for path, text in base.items()}
    donors = [(id, start, files) for id, files in zip((A, B, C), versions[1:], strict=True)]
    composition = Case(versions[0], donors, (P, A, B, C)).composed()
    if checked(result, {}):
        assert composition.tree == tree_of(result)
        assert not any(one.sides for one in composition.decisions)
    else:
        assert any(one.contradiction for one in composition.decisions)
