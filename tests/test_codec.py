"""One byte string per object: golden bytes, round trips, and refusal of everything that is not canonical.

`python tests/test_codec.py --regenerate` writes tests/golden/objects.json anew, which only a new format version needs.
"""

import json
import math
import struct
import sys
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.codec import KINDS, MAX_OBJECT_BYTES, decode, encode, identify, unpack
from dagstore.errors import BadInput
from dagstore.ids import (
    AdoptionId,
    BlobId,
    ContradictionId,
    Id,
    NodeId,
    NoteId,
    ProtocolId,
    RunId,
    TreeId,
)
from dagstore.model import (
    Adoption,
    Decision,
    Direction,
    Entry,
    GateFinding,
    Mode,
    Node,
    Note,
    Protocol,
    Resolution,
    Run,
    Side,
    Status,
    Tree,
)
from dagstore.paths import fold

GOLDEN = Path(__file__).parent / "golden" / "objects.json"

A, B, C = (NodeId.of(name) for name in (b"a", b"b", b"c"))
TREE = Tree.of(
    [
        Entry("train.py", Mode.FILE, BlobId.of(b"lr = 1\n")),
        Entry("run.sh", Mode.EXECUTABLE, BlobId.of(b"")),
        Entry("data/é.txt", Mode.LINK, BlobId.of(b"../train.py")),
        Entry("Z", Mode.FILE, BlobId.of(b"\0")),
    ]
)
NODE = Node.of([B, A, B], TreeId.of(b"tree"))
PROTOCOL = Protocol("python train.py", "val_bpb", Direction.MINIMIZE, 300.0, TREE.entries, "data v1")
RUN = Run(
    node=A,
    protocol=ProtocolId.of(b"protocol"),
    platform="NVIDIA H100",
    status=Status.OK,
    metrics={"val_bpb": 0.9979, "steps": 12.0, "é": -1e-300, "Z": 0.0},
    started=1_700_000_000_000,
    seconds=299.5,
    runner="trainer-1",
    seed=1 << 63,
    exit_code=-9,
    reason="",
    environment={"torch": "2.4", "python": "3.11"},
    artifacts={"steps": BlobId.of(b"s"), "log": BlobId.of(b"l")},
)
DECISIONS = (
    Decision("train.py", "LR", "preference", (B,), (Side((A, C), b"LR = 1"), Side((B,), b"\xff")), True),
    Decision("a.py", "*", "one-side", (C, A)),
)
FINDINGS = (GateFinding("undefined", "a.py", 12, "näme"), GateFinding("lost", "a.py", 0, "x = 1", (C, A)))
EXAMPLES = {
    "tree": TREE,
    "empty tree": Tree(()),
    "node": NODE,
    "seed node": Node.of([], TreeId.of(b"tree")),
    "protocol": PROTOCOL,
    "least protocol": Protocol("true", "x", Direction.MAXIMIZE, 0.25),
    "run": RUN,
    "least run": Run(B, ProtocolId.of(b"p"), "cpu", Status.CRASHED, {}, 0, 0.0, ""),
    "run with an ending": RUN._replace(status=Status.OOM, ending="memory-limit"),
    "protocol with an evaluation": PROTOCOL._replace(evaluate="python evaluate.py"),
    "note": Note(A, "ada", 1_700_000_000_001, "hypothesis", "wärmer\n"),
    "empty note": Note(A, "", 0, "remark", ""),
    "adoption": Adoption(C, A, (B, A), DECISIONS, "ada", 127),
    "adoption in part": Adoption(C, A, (B,), DECISIONS, "ada", 127, own=True, only=("a.py", "train.py:LR")),
    "adoption with a preference": Adoption(C, A, (B,), DECISIONS, "ada", 127, preference=(B, C, A)),
    "resolution": Resolution(ContradictionId.of(b"sides"), A, b"LR = 3\n\xff", "ada", 1_700_000_000_002),
    "adoption with findings": Adoption(C, A, (B,), (), "", 0, findings=FINDINGS),
}
BLOBS = {"blob": b"plain bytes", "empty blob": b""}


def regenerate() -> None:
    rows = {name: {"bytes": data.hex(), "id": str(BlobId.of(data))} for name, data in BLOBS.items()}
    rows |= {name: {"bytes": encode(it).hex(), "id": str(identify(it))} for name, it in EXAMPLES.items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(rows, indent=1) + "\n")


def golden(name):
    row = json.loads(GOLDEN.read_text())[name]
    return bytes.fromhex(row["bytes"]), row["id"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_bytes_and_ids_are_what_they_always_were(name):
    value = EXAMPLES[name]
    data, id = golden(name)
    assert encode(value) == data
    assert str(identify(value)) == id
    assert encode(decode(KINDS[type(value)], data)) == data


@pytest.mark.parametrize("name", BLOBS)
def test_blobs_are_hashed_as_they_are(name):
    assert (BLOBS[name], str(BlobId.of(BLOBS[name]))) == golden(name)


def test_every_kind_has_an_example():
    assert {type(value) for value in EXAMPLES.values()} == set(KINDS)


# --- round trips ---

texts = st.text(max_size=20)
whole = st.integers(-(1 << 63), (1 << 64) - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
raw_ids = st.binary(min_size=32, max_size=32)
nodes = raw_ids.map(NodeId)
node_sets = st.lists(nodes, max_size=4, unique=True).map(lambda ids: tuple(sorted(ids)))
blobs = raw_ids.map(BlobId)
names = st.text("abcXYZ019._- éß日", min_size=1, max_size=8).filter(lambda name: name.strip("."))
paths = st.one_of(names.map("f".__add__), st.tuples(st.sampled_from(["d", "d/e"]), names).map("/x".join))
entries = st.lists(
    st.builds(Entry, paths, st.sampled_from(Mode), blobs), max_size=6, unique_by=lambda entry: fold(entry.path)
)
trees = entries.map(Tree.of)
sides = st.lists(st.builds(Side, node_sets, st.binary(max_size=30)), max_size=3).map(tuple)
decisions = st.builds(Decision, texts, texts, texts, node_sets, sides, st.booleans())
findings = st.builds(GateFinding, texts, texts, whole, texts, node_sets)
objects = st.one_of(
    trees,
    st.builds(Node, node_sets, raw_ids.map(TreeId)),
    st.builds(Protocol, texts, texts, st.sampled_from(Direction), numbers, trees.map(lambda tree: tree.entries), texts),
    st.builds(
        Run,
        node=nodes,
        protocol=raw_ids.map(ProtocolId),
        platform=texts,
        status=st.sampled_from(Status),
        metrics=st.dictionaries(texts, numbers, max_size=4),
        started=whole,
        seconds=numbers,
        runner=texts,
        seed=st.none() | whole,
        exit_code=st.none() | whole,
        reason=texts,
        environment=st.dictionaries(texts, texts, max_size=3),
        artifacts=st.dictionaries(texts, blobs, max_size=3),
    ),
    st.builds(Note, nodes, texts, whole, texts, texts),
    st.builds(Resolution, raw_ids.map(ContradictionId), nodes, st.binary(max_size=30), texts, whole),
    st.builds(
        Adoption,
        node=nodes,
        primary=nodes,
        adopted=node_sets,
        decisions=st.lists(decisions, max_size=3).map(tuple),
        author=texts,
        time=whole,
        own=st.booleans(),
        only=st.lists(texts, max_size=2).map(tuple),
        preference=st.lists(nodes, max_size=2).map(tuple),
        findings=st.lists(findings, max_size=2).map(tuple),
    ),
)


@given(objects)
def test_decoding_undoes_encoding(value):
    data = encode(value)
    again = decode(KINDS[type(value)], data)
    assert again == value
    assert encode(again) == data
    assert identify(value) == KINDS[type(value)].of(data)


@given(objects, st.data())
def test_other_bytes_are_another_object_or_none(value, data):
    """Nobody can change a byte and still say the same."""
    good = encode(value)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    assert_canonical_or_refused(KINDS[type(value)], bad)


@given(st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.kind)), st.binary(max_size=200))
def test_any_bytes_are_canonical_or_refused(kind, data):
    assert_canonical_or_refused(kind, data)
    assert_canonical_or_refused(kind, b"\x92\x01" + data)


plain = st.recursive(
    st.none() | st.booleans() | whole | numbers | texts | raw_ids,
    lambda inner: st.lists(inner, max_size=14) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=20,
)


@given(objects, st.data())
def test_fields_of_other_types_are_canonical_or_refused(value, data):
    row = msgpack.unpackb(encode(value))
    at = data.draw(st.integers(1, len(row) - 1))
    row[at] = data.draw(plain)
    assert_canonical_or_refused(KINDS[type(value)], msgpack.packb(row))


def assert_canonical_or_refused(kind: type[Id], data: bytes) -> None:
    try:
        value = decode(kind, data)
    except BadInput:
        return
    assert encode(value) == data
    assert KINDS[type(value)] is kind


@given(st.dictionaries(texts, numbers, min_size=2, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(metrics, random):
    shuffled = list(metrics.items())
    random.shuffle(shuffled)
    assert encode(RUN._replace(metrics=metrics)) == encode(RUN._replace(metrics=dict(shuffled)))


@given(trees, st.randoms())
def test_the_order_of_entries_and_parents_does_not_matter(tree, random):
    shuffled = list(tree)
    random.shuffle(shuffled)
    assert encode(Tree.of(shuffled)) == encode(tree)
    assert encode(Node((B, A), TREE_ID)) == encode(Node((A, B), TREE_ID)) == encode(Node.of([B, A, B], TREE_ID))


TREE_ID = TreeId.of(b"tree")


# --- what is refused ---


def packed(*row):
    return msgpack.packb(list(row), use_bin_type=True)


def run_fields(**changes):
    order = list(Run._fields)
    row = dict(zip(order, msgpack.unpackb(encode(RUN._replace(ending="signal")))[1:], strict=True))
    assert changes.keys() <= row.keys()
    return packed(2, *(row | changes).values())


def note_bytes(version=b"\x01", time=b"\x05", tail=b"", text=b"\xa1x"):
    head = b"\x96" + version + b"\xc4\x20" + bytes(A)
    return head + b"\xa1a" + time + b"\xa6remark" + text + tail


def test_the_bytes_that_the_next_tests_bend_are_good():
    assert decode(NoteId, note_bytes()) == Note(A, "a", 5, "remark", "x")
    assert decode(RunId, run_fields()) == RUN._replace(ending="signal")


@pytest.mark.parametrize(
    "data",
    [
        note_bytes(time=b"\xcc\x05"),
        note_bytes(time=b"\xcd\x00\x05"),
        note_bytes(time=b"\xcf" + bytes(7) + b"\x05"),
        note_bytes(time=b"\xd0\x05"),
        note_bytes(version=b"\xcc\x01"),
        note_bytes(text=b"\xd9\x01x"),
        note_bytes(text=b"\xda\x00\x01x"),
        note_bytes(text=b"\xc4\x01x"),
        note_bytes(tail=b"\xc0"),
        note_bytes(tail=b"\x00"),
        note_bytes(time=b"\xcb" + struct.pack(">d", 5.0)),
        note_bytes(time=b"\xc3"),
        note_bytes(version=b"\xc3"),
        note_bytes(version=b"\xcb" + struct.pack(">d", 1.0)),
        note_bytes(text=b"\xa1\xff"),
        note_bytes(text=b"\xa3\xed\xa0\x80"),
        note_bytes()[:-1],
        b"\xdc\x00\x06" + note_bytes()[1:],
        b"",
        b"\xc0",
        b"\x90",
        b"\x80",
        b"\x01",
        b"\x81\x01\x01",
        b"\xc1",
        b"\x91" * 2000 + b"\x90",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
)
def test_bytes_that_no_encoder_writes_are_refused(data):
    with pytest.raises(BadInput):
        decode(NoteId, data)


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": [["a", math.nan]]},
        {"metrics": [["a", math.inf]]},
        {"metrics": [["a", -math.inf]]},
        {"metrics": [["a", -0.0]]},
        {"metrics": [["a", 1]]},
        {"metrics": [["a", True]]},
        {"metrics": [["a", None]]},
        {"metrics": [["a", "1"]]},
        {"metrics": [["b", 1.0], ["a", 1.0]]},
        {"metrics": [["a", 1.0], ["a", 1.0]]},
        {"metrics": [["a", 1.0], ["a", 2.0]]},
        {"metrics": [["a"]]},
        {"metrics": [[1, 1.0]]},
        {"metrics": {"a": 1.0}},
        {"metrics": "ab"},
        {"seconds": math.nan},
        {"seconds": 300},
        {"seconds": None},
        {"started": 1.5},
        {"started": "1"},
        {"status": "fine"},
        {"status": None},
        {"status": []},
        {"seed": True},
        {"seed": 1.0},
        {"exit_code": "1"},
        {"node": bytes(31)},
        {"node": str(A)},
        {"node": None},
        {"artifacts": [["log", bytes(33)]]},
        {"environment": [["a", 1]]},
        {"reason": b"bytes"},
    ],
)
def test_runs_that_cannot_be_are_refused(changes):
    with pytest.raises(BadInput):
        decode(RunId, run_fields(**changes))


def test_short_floats_are_refused():
    long = run_fields(metrics=[["a", 0.5]], seconds=2.0)
    short = long.replace(b"\xcb" + struct.pack(">d", 0.5), b"\xca" + struct.pack(">f", 0.5))
    assert decode(RunId, long).metrics == {"a": 0.5}
    assert short != long
    with pytest.raises(BadInput, match="not a canonical run"):
        decode(RunId, short)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (NodeId, [[bytes(A), bytes(B)][:: -1 if A < B else 1], bytes(32)]),
        (NodeId, [[bytes(A), bytes(A)], bytes(32)]),
        (NodeId, [[], bytes(31)]),
        (NodeId, [[]]),
        (NodeId, [[], bytes(32), 0]),
        (TreeId, [[["b", 0, bytes(32)], ["a", 0, bytes(32)]]]),
        (TreeId, [[["a", 0, bytes(32)], ["a", 0, bytes(32)]]]),
        (TreeId, [[["a", 3, bytes(32)]]]),
        (TreeId, [[["a", True, bytes(32)]]]),
        (TreeId, [[["a", 0, bytes(32), 0]]]),
        (TreeId, [[["../a", 0, bytes(32)]]]),
        (TreeId, [[["/a", 0, bytes(32)]]]),
        (TreeId, [[[".git/config", 0, bytes(32)]]]),
        (TreeId, [[["e\u0301", 0, bytes(32)]]]),
        (TreeId, [[["A", 0, bytes(32)], ["a", 0, bytes(32)]]]),
        (TreeId, [[["a", 0, bytes(32)], ["a/b", 0, bytes(32)]]]),
        (TreeId, [[[b"a", 0, bytes(32)]]]),
        (TreeId, [None]),
        (ProtocolId, ["c", "m", "sideways", 1.0, [], ""]),
        (ProtocolId, ["c", "m", "minimize", math.inf, [], ""]),
        (ProtocolId, ["c", "m", "minimize", 1, [], ""]),
        (ProtocolId, ["c", "m", "minimize", 1.0, [["b", 0, bytes(32)], ["a", 0, bytes(32)]], ""]),
        (AdoptionId, [bytes(32), bytes(32), [], [["p", "*", "lines", [], [], 0]], "", 0]),
        (AdoptionId, [bytes(32), bytes(32), [], [["p", "*", "lines", [], [[[], "text"]], True]], "", 0]),
        (AdoptionId, [bytes(32), bytes(32), [], [["p", "*", "lines", [], [[[], None]], True]], "", 0]),
        (AdoptionId, [bytes(32), bytes(32), [b"short"], [], "", 0]),
    ],
)
def test_other_objects_that_cannot_be_are_refused(kind, row):
    with pytest.raises(BadInput):
        decode(kind, packed(1, *row))


@pytest.mark.parametrize("version", [0, 3, -1, 1000, None, "1"])
@pytest.mark.parametrize("kind", sorted(KINDS.values(), key=lambda kind: kind.kind))
def test_another_version_is_named(kind, version):
    with pytest.raises(BadInput, match=f"{kind.kind} of format version") as caught:
        decode(kind, packed(version, "what comes later"))
    assert caught.value.code == "newer_format"
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize(
    "kind", sorted(set(KINDS.values()) - {AdoptionId, ProtocolId, RunId}, key=lambda kind: kind.kind)
)
def test_most_kinds_have_one_version(kind):
    with pytest.raises(BadInput, match=f"{kind.kind} of format version 2"):
        decode(kind, packed(2, "what comes later"))


@pytest.mark.parametrize(("kind", "value"), [(RunId, RUN), (ProtocolId, PROTOCOL)])
def test_runs_and_protocols_say_no_more_than_they_have_to(kind, value):
    row = msgpack.unpackb(encode(value))[1:]
    assert decode(kind, packed(1, *row)) == value
    assert decode(kind, packed(2, *row, "more"))[:-1] == value[:-1]
    for version, more in ((1, ["more"]), (2, []), (2, [""]), (2, [1]), (2, ["a", "b"])):
        with pytest.raises(BadInput):
            decode(kind, packed(version, *row, *more))


def test_an_adoption_says_no_more_than_it_has_to():
    row = [bytes(C), bytes(A), [], [], "", 0]
    assert decode(AdoptionId, packed(1, *row)) == Adoption(C, A, (), (), "", 0)
    for more in ([False, [], [], []], [True, [], []], [1, [], [], []], [False, [], [], [["g", "p", 0, "t"]]]):
        with pytest.raises(BadInput):
            decode(AdoptionId, packed(2, *row, *more))
    with pytest.raises(BadInput):
        decode(AdoptionId, packed(1, *row, True, [], [], []))


def test_an_object_of_one_kind_is_none_of_another():
    for kind in set(KINDS.values()) - {NodeId}:
        with pytest.raises(BadInput):
            decode(kind, encode(NODE))


def test_what_is_too_large_is_not_even_unpacked():
    with pytest.raises(BadInput, match="limit"):
        unpack(b"\xc0" * (MAX_OBJECT_BYTES + 1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_cannot_be_recorded(value):
    with pytest.raises(BadInput, match="not finite") as caught:
        encode(RUN._replace(metrics={"val_bpb": value}))
    assert caught.value.hint


@pytest.mark.parametrize(
    "changes", [{"seed": 1 << 64}, {"started": -(1 << 63) - 1}, {"reason": "\ud800"}, {"metrics": {"\udcff": 1.0}}]
)
def test_what_has_no_bytes_cannot_be_recorded(changes):
    with pytest.raises(BadInput, match="run"):
        encode(RUN._replace(**changes))


@given(st.integers(-(1 << 53), 1 << 53))
def test_a_number_has_one_form(number):
    assert encode(RUN._replace(metrics={"a": number})) == encode(RUN._replace(metrics={"a": float(number)}))
    assert encode(RUN._replace(metrics={"a": -0.0})) == encode(RUN._replace(metrics={"a": 0}))


if __name__ == "__main__" and "--regenerate" in sys.argv:
    regenerate()
