"""What adopting two donors gives, case by case; tests/data/adopt_cases.txt has the cases."""

from pathlib import Path

import pytest

from dagstore.adopt import Composition, Donor, compose
from dagstore.ids import BlobId, NodeId
from dagstore.model import Entry, Mode, Tree
from dagstore.testing.cases import Case, read_cases

CASES = list(read_cases(Path(__file__).parent / "data" / "adopt_cases.txt"))
A, B, BASE = sorted(NodeId.of(name) for name in (b"a", b"b", b"base"))

each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def adopted(case: Case, primary: bytes, *donors: tuple[NodeId, bytes]) -> tuple[bytes, Composition]:
    """The text when donors are put onto a primary, and how; donor a is preferred."""
    texts = {BlobId.of(text): text for text in (case.base, case.a, case.b)}

    def tree(text: bytes) -> Tree:
        return Tree.of([Entry(case.path, Mode.FILE, BlobId.of(text))])

    id = {case.base: BASE, case.a: A}.get(primary, B)
    given = [Donor(node, tree(case.base), tree(text)) for node, text in donors]
    composition = compose(id, tree(primary), given, texts.__getitem__, (A, B, BASE))
    (entry,) = composition.tree
    return (texts | composition.blobs)[entry.blob], composition


def contested(composition: Composition) -> tuple[str, ...]:
    return tuple(decision.region for decision in composition.decisions if decision.contradiction)


@each_case
def test_both_donors_onto_their_base(case: Case) -> None:
    text, composition = adopted(case, case.base, (A, case.a), (B, case.b))
    assert text.decode() == case.wanted.decode()
    assert contested(composition) == case.contradictions
    assert adopted(case, case.base, (B, case.b), (A, case.a)) == (text, composition)


@each_case
def test_one_donor_onto_the_other(case: Case) -> None:
    text, composition = adopted(case, case.a, (B, case.b))
    assert text.decode() == case.wanted.decode()
    assert len(contested(composition)) == len(case.contradictions)


@each_case
def test_the_other_way_round_the_same_comes_out_in_another_order(case: Case) -> None:
    text, composition = adopted(case, case.b, (A, case.a))
    assert sorted(text) == sorted(case.wanted)
    assert len(contested(composition)) == len(case.contradictions)
