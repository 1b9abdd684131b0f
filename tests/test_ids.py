"""Ids: typed, one hash context a kind, and written in one way only."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dagstore.errors import BadInput
from dagstore.ids import SIZE, AdoptionId, BlobId, NodeId, NoteId, ProtocolId, ResolutionId, RunId, TreeId

KINDS = (BlobId, TreeId, NodeId, ProtocolId, RunId, NoteId, AdoptionId, ResolutionId)


def test_an_id_is_the_derived_key_of_its_kind():
    for kind in KINDS:
        assert kind.of(b"bytes") == blake3(b"bytes", derive_key_context=f"dagstore v1 {kind.kind}").digest()


@given(st.binary(max_size=200))
def test_the_same_bytes_have_another_id_in_every_kind(data):
    assert len({kind.of(data) for kind in KINDS}) == len(KINDS)


def test_the_kinds_have_names_of_their_own():
    names = ["blob", "tree", "node", "protocol", "run", "note", "adoption", "resolution"]
    assert [kind.kind for kind in KINDS] == names


@given(st.binary(min_size=SIZE, max_size=SIZE))
def test_what_was_written_is_read_back_as_the_same_kind(raw):
    for kind in KINDS:
        again = kind.parse(str(kind(raw)))
        assert (again, type(again)) == (raw, kind)


@given(st.lists(st.binary(max_size=20), min_size=2, max_size=2, unique=True))
def test_hashing_leaves_nothing_behind_for_the_next(pair):
    one, other = pair
    first = NodeId.of(one)
    NodeId.of(other)
    assert NodeId.of(one) == first != NodeId.of(other)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 32 + "x" + "a" * 31, " " + "a" * 63, "a" * 63 + "\n", "٣" * 64],
)
def test_nothing_else_is_an_id(text):
    with pytest.raises(BadInput, match="is not a run id"):
        RunId.parse(text)


def test_ids_show_their_kind_and_sort_as_their_text():
    ids = [NodeId.of(bytes([number])) for number in range(50)]
    assert [str(id) for id in sorted(ids)] == sorted(str(id) for id in ids)
    assert repr(ids[0]) == f"NodeId({str(ids[0])[:12]}…)"
