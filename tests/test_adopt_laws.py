"""Laws of adoption on drawn Python modules: every number that a donor writes is like no other, and none gets lost."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, count, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore.adopt import Composition, Donor, compose
from dagstore.adopt.pairs import Pairs
from dagstore.adopt.python import sound, valid
from dagstore.adopt.shelf import Shelf
from dagstore.ids import BlobId, NodeId
from dagstore.model import Entry, Mode, Tree

P, A, B, C = sorted(NodeId.of(name) for name in (b"p", b"a", b"b", b"c"))
PREFERENCE = st.permutations([P, A, B, C]).map(tuple)


@dataclass(frozen=True)
class Piece:
    """A statement of the module with the numbers in it, by name; some of a function's are `guarded`."""

    kind: str
    name: str
    items: tuple[tuple[str, int], ...]
    guarded: frozenset[str] = frozenset()

    def text(self) -> str:
        items = [(f"    {key}" if key in self.guarded else key, number) for key, number in self.items]
        return SHAPES[self.kind](self.name, items)


def constant(name: str, items: Sequence[tuple[str, int]]) -> str:
    return f"{name} = {items[0][1] if items else 0}  # of {name}\n"


def call(name: str, items: Sequence[tuple[str, int]]) -> str:
    return f"{name} = make({', '.join(f'{key}={number}' for key, number in items)})\n"


def tall_call(name: str, items: Sequence[tuple[str, int]]) -> str:
    return f"{name} = make(\n" + "".join(f"    {key}={number},\n" for key, number in items) + ")\n"


def table(name: str, items: Sequence[tuple[str, int]]) -> str:
    return f"{name} = {{{', '.join(f'{key!r}: {number}' for key, number in items)}}}\n"


def function(name: str, items: Sequence[tuple[str, int]]) -> str:
    rows = [f"    {key} = {number}\n" for key, number in items]
    for at, row in reversed(list(enumerate(rows))):
        if row.startswith("     ") and (at == 0 or not rows[at - 1].startswith("     ")):
            rows.insert(at, "    if x > 0:\n")
    body = "".join(rows)
    return f"\n\n# What {name} does.\ndef {name}(x):\n{body}    return x\n\n\n"


def parameters(name: str, items: Sequence[tuple[str, int]]) -> str:
    return f"\n\ndef {name}(x{''.join(f', {key}={number}' for key, number in items)}):\n    return x\n\n\n"


def body(name: str, items: Sequence[tuple[str, int]]) -> str:
    fields = "".join(f"    {key} = {number}\n" for key, number in items)
    return f"\n\nclass {name}:\n    '''What {name} is.'''\n\n{fields}\n    def method(self):\n        return 0\n\n\n"


SHAPES: dict[str, Callable[[str, Sequence[tuple[str, int]]], str]] = {
    "constant": constant,
    "call": call,
    "tall call": tall_call,
    "table": table,
    "function": function,
    "parameters": parameters,
    "body": body,
}
Module = list[Piece]


def text_of(module: Module) -> bytes:
    joined = "".join(piece.text() for piece in module)
    return (re.sub(r"\n{3,}", "\n\n\n", joined).strip() + "\n").encode()


def drawn_piece(draw: Callable, name: str, numbers: count) -> Piece:
    kind = draw(st.sampled_from(sorted(SHAPES)))
    size = 1 if kind == "constant" else draw(st.integers(0, 4))
    return Piece(kind, name, tuple((f"{name}_{at}", next(numbers)) for at in range(size)))


def changed(draw: Callable, module: Module, tag: str, numbers: count) -> Module:
    """The module after one edit."""
    action = draw(st.sampled_from(["tune", "tune", "tune", "grow", "grow", "shrink", "move", "add", "remove", "wrap"]))
    at = draw(st.integers(0, len(module) - 1))
    piece, rest = module[at], [*module[:at], *module[at + 1 :]]
    place = draw(st.integers(0, len(rest)))
    if action == "add":
        return [*module[:at], drawn_piece(draw, f"{tag}{next(numbers)}", numbers), *module[at:]]
    if action == "remove":
        return rest or module
    if action == "move":
        return [*rest[:place], piece, *rest[place:]]
    if action == "wrap":
        return [*module[:at], wrapped(draw, piece), *module[at + 1 :]]
    return [*module[:at], replace(piece, items=edited(draw, piece, action, tag, numbers)), *module[at + 1 :]]


def wrapped(draw: Callable, piece: Piece) -> Piece:
    """The piece with some statements put into a block, or with all taken out of one."""
    if piece.kind != "function" or piece.guarded:
        return replace(piece, guarded=frozenset())
    first, last = sorted(draw(st.integers(0, len(piece.items))) for _ in range(2))
    return replace(piece, guarded=frozenset(key for key, _ in piece.items[first:last]))


def edited(draw: Callable, piece: Piece, action: str, tag: str, numbers: count) -> tuple[tuple[str, int], ...]:
    items = list(piece.items)
    if action == "grow" and piece.kind != "constant":
        items.insert(draw(st.integers(0, len(items))), (f"{tag}{next(numbers)}", next(numbers)))
    elif items:
        at = draw(st.integers(0, len(items) - 1))
        items[at : at + 1] = [] if action == "shrink" and piece.kind != "constant" else [(items[at][0], next(numbers))]
    return tuple(items)


@st.composite
def forks(draw: Callable) -> tuple[bytes, bytes, list[bytes], tuple[NodeId, ...]]:
    """A base, a primary and three donors, each a few edits away, and whom to prefer."""
    numbers = count(1000)
    base = [drawn_piece(draw, f"n{at}", numbers) for at in range(draw(st.integers(1, 5)))]
    versions = []
    for tag in "pabc":
        module = base
        for _ in range(draw(st.integers(0 if tag == "p" else 1, 3))):
            module = changed(draw, module, tag, numbers)
        versions.append(text_of(module))
    return text_of(base), versions[0], versions[1:], draw(PREFERENCE)


def tree_of(text: bytes) -> Tree:
    return Tree.of([Entry("f.py", Mode.FILE, BlobId.of(text))])


def adopted(
    base: bytes, primary: bytes, donors: Sequence[tuple[NodeId, bytes]], prefer: tuple[NodeId, ...]
) -> tuple[bytes, Composition]:
    texts = {BlobId.of(text): text for text in (base, primary, *(text for _, text in donors))}
    given_donors = [Donor(node, tree_of(base), tree_of(text)) for node, text in donors]
    composition = compose(P, tree_of(primary), given_donors, texts.__getitem__, prefer)
    (entry,) = composition.tree
    return (texts | composition.blobs)[entry.blob], composition


def numbers_in(text: bytes) -> list[bytes]:
    return re.findall(rb"\b\d{4,}\b", text)


@settings(max_examples=300)
@given(forks())
def test_what_comes_of_it_is_the_same_in_any_order_and_valid(case) -> None:
    base, primary, texts, prefer = case
    donors = list(zip((A, B, C), texts, strict=True))
    text, composition = adopted(base, primary, donors, prefer)
    assert valid(text)
    for order in permutations(donors):
        assert adopted(base, primary, order, prefer) == (text, composition)


@settings(max_examples=500)
@given(forks())
def test_every_number_that_a_donor_wrote_is_there_once_or_on_record(case) -> None:
    base, primary, texts, prefer = case
    text, composition = adopted(base, primary, list(zip((A, B, C), texts, strict=True)), prefer)
    there = numbers_in(text)
    recorded = {number for one in composition.decisions for side in one.sides for number in numbers_in(side.text)}
    whole = any(one.region == "*" and one.sides for one in composition.decisions)
    for version in (primary, *texts):
        fresh = set(numbers_in(version)) - set(numbers_in(base))
        assert whole or fresh <= {*there, *recorded}
    assert len(there) == len(set(there))


@settings(max_examples=300)
@given(forks())
def test_what_nobody_touched_stays_once(case) -> None:
    base, primary, texts, prefer = case
    text, _ = adopted(base, primary, list(zip((A, B, C), texts, strict=True)), prefer)
    for number in numbers_in(base):
        if all(number in numbers_in(version) for version in (primary, *texts)):
            assert text.count(number) == 1


@settings(max_examples=200)
@given(forks())
def test_one_donor_onto_its_own_base_is_that_donor(case) -> None:
    base, _, texts, prefer = case
    text, composition = adopted(base, base, [(A, texts[0])], prefer)
    assert text == texts[0]
    assert not any(one.sides for one in composition.decisions)


@settings(max_examples=200)
@given(forks())
def test_what_was_adopted_is_neither_doubled_nor_silently_lost_by_adopting_it_again(case) -> None:
    base, primary, texts, prefer = case
    donors = [(A, texts[0]), (B, texts[1])]
    text, first = adopted(base, primary, donors, prefer)
    again, second = adopted(base, text, donors, prefer)
    if not any(one.sides for one in (*first.decisions, *second.decisions)):
        assert sorted(again.split()) == sorted(text.split())


@settings(max_examples=150)
@given(forks())
def test_what_is_composed_over_one_shelf_is_composed_alike(case) -> None:
    base, primary, texts, prefer = case
    donors = list(zip((A, B, C), texts, strict=True))
    contents = {BlobId.of(text): text for text in (base, primary, *texts)}
    shelf = Shelf(contents.__getitem__)
    for some in (*combinations(donors, 1), *combinations(donors, 2), donors):
        given_donors = [Donor(node, tree_of(base), tree_of(text)) for node, text in some]
        made = compose(P, tree_of(primary), given_donors, shelf.read, prefer, shelf=shelf)
        assert made == adopted(base, primary, some, prefer)[1]


@settings(max_examples=150)
@given(forks())
def test_a_pair_has_what_two_donors_together_add_to_what_each_has_alone(case) -> None:
    base, primary, texts, prefer = case
    donors = dict(zip((A, B, C), texts, strict=True))
    contents = {BlobId.of(text): text for text in (base, primary, *texts)}
    given_donors = {node: Donor(node, tree_of(base), tree_of(text)) for node, text in donors.items()}
    pairs = Pairs(P, tree_of(primary), given_donors, prefer, Shelf(contents.__getitem__))
    for one, other in combinations(donors, 2):
        _, made = adopted(base, primary, [(one, donors[one]), (other, donors[other])], prefer)
        together = [each for each in made.decisions if each.contradiction]
        alone = {(each.path, each.region) for node in (one, other) for each in pairs.between(P, node)}
        between = pairs.between(other, one)
        assert between == pairs.between(one, other)
        assert {*between} <= {*together}
        assert all((each.path, each.region) in alone for each in together if each not in between)
        if not alone:
            assert list(between) == together


STATEMENTS = (
    b"from __future__ import annotations\n",
    b"from __future__ import (\n    division,\n)\n",
    b'"""What it is."""\n',
    b"\n",
    b"# note\n",
    b"# encoding: latin-1\n",
    b"import math\n",
    b"x = open('f', encoding='utf-8')\n",
    b"x: (y := 1) = 2\n",
    b"def f():\n    global x\n    x = 1\n",
    b"global x\n",
    b"text = '''\nfrom __future__ import nothing\n# coding: nothing\n'''\n",
)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(STATEMENTS), max_size=6))
def test_a_module_is_accepted_sooner_as_it_is_accepted(statements: list[bytes]) -> None:
    data = b"".join(statements)
    assert sound(data, statements) == valid(data)
