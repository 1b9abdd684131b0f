"""fsck finds what is wrong and names it, says nothing about what is right, and makes again what is derived."""

import itertools
import json
import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.main import main
from dagstore import deepcheck, init, quarantine, repair
from dagstore import open as open_store
from dagstore.check import DEPTHS
from dagstore.checkpoints import FILE as SAVED
from dagstore.checkpoints import TABLES as BUILT
from dagstore.checkpoints import Checkpoints
from dagstore.codec import encode
from dagstore.deltas import compress
from dagstore.environment import DATA, INDEX, LOG
from dagstore.errors import BadInput, Damaged, Refused
from dagstore.files import BlobFiles
from dagstore.finding import enter, find
from dagstore.ids import BlobId, NodeId, NoteId, TreeId
from dagstore.index import DERIVED, set_indexed
from dagstore.log import Frame, Gap, frames, transactions
from dagstore.model import Entry, Mode, Note, Status, Tree
from dagstore.quarantine import records_left_out
from dagstore.records import (
    DELTA,
    FILE,
    NODE,
    NUMBER,
    RAW,
    REFS,
    REFS_ZSTD,
    SPLICE,
    TREE,
    ZSTD,
    Packed,
    read_packed,
    read_record,
    varint,
    write_node,
    write_packed,
    write_record,
    write_tree,
)
from dagstore.rows import record_of
from dagstore.storage import KEPT, SETS, WHERE
from dagstore.testing.builders import FILES, Entropy, FakeClock, make_child, make_store, measure, write_files
from dagstore.testing.children import finish, killed, start
from dagstore.transactions import FRAMES

MODEL = "\n".join(f"layer_{number} = {number * 7}" for number in range(400)) + "\nLR = 0.1\n\nWIDTH = 64\n"


def variant(store, parent, old, new):
    return make_child(store, parent, {"model.py": store.cat(parent, "model.py").decode().replace(old, new)})


def fill(store):
    """All that a store can hold: lines, adoptions, logs, large files, failures, claims, tickets and names."""
    a = variant(store, "@seed", "LR = 0.1", "LR = 0.2")
    b = variant(store, "@seed", "WIDTH = 64", "WIDTH = 128")
    c = variant(store, a, "layer_7 = 49", "layer_7 = 50")
    same = variant(store, c, "layer_7 = 50", "layer_7 = 49")
    adopted = store.adopt(a, b).node
    store.adopt(c, b, adopted)
    for node, values in ((a, (0.5, 0.6, 0.55)), (b, (0.4,)), (same, (0.7,)), (adopted, (0.3, 0.35))):
        for seed, value in enumerate(values):
            measure(store, node, value, seed=seed, log=f"step {value}\n".encode() * 50, metrics={"steps": 7})
    measure(store, b, 0.1, platform="H100", log=Random(1).randbytes(100_000))
    measure(store, c, None, Status.CRASHED, log=Random(1).randbytes(100_000) + b"more")
    measure(store, c, -0.0, fingerprint="other data")
    rival = variant(store, "@seed", "LR = 0.1", "LR = 0.3")
    variant(store, store.adopt(a, rival, strict=True).node, "WIDTH = 64", "WIDTH = 32")
    store.note(adopted, "promising " * 30)
    store.name("base", b)
    store.note(b, "hub:75f018f40c5e", kind="alias")
    store.queue([c, same], repeat=2)
    store.take("worker", 60)
    store.spawn(c)
    make_child(store, b, {"large.bin": Random(2).randbytes(200_000), "sub/empty": b""})
    spread = "\n".join(f"{line} " if at % 40 == 0 else line for at, line in enumerate(MODEL.splitlines()))
    make_child(store, a, {"model.py": spread})
    unlocked = Path(store.spawn(a).workspace)
    write_files(unlocked, {"prepare.py": "DATA = 2\n"})
    measure(store, store.seal(unlocked, unlock=True).node, 0.2)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A filled store that nobody has open."""
    folder = tmp_path_factory.mktemp("filled")
    with make_store(folder, {**FILES, "model.py": MODEL}) as store:
        fill(store)
    return folder


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def root(filled, tmp_path):
    """The project of a copy of the filled store; its index is made again when it is opened first."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return tmp_path / "project"


@pytest.fixture
def store(root, clock):
    with open_store(root, clock=clock, entropy=Entropy(7)) as store:
        yield store


def fresh(store):
    """The same store as another process sees it, as far as what is kept in memory goes."""
    store.close()
    return open_store(store.root, clock=store._clock, entropy=store._entropy)


def findings(store, depth="full"):
    with fresh(store) as again:
        return again.fsck(depth).findings


def codes(found):
    return {finding.code for finding in found}


def told(found):
    return " ".join(f"{one.code} {one.what} {one.message} {one.hint}" for one in found)


def scans(store, tables=DERIVED):
    with store._storage.read() as txn:
        return {table: list(txn.scan(table)) for table in tables}


def records(store):
    with store._storage.read() as txn:
        return {number: txn.record(number) for number in range(1, txn.records() + 1)}


def log_of(store):
    return store.folder / LOG


def frames_of(store):
    data = log_of(store).read_bytes()
    found = frames(lambda offset, length: data[offset : offset + length])
    return [frame for frame in found if isinstance(frame, Frame)]


def overwrite(file, offset, data):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def flip(file, bit):
    """Change one bit of a file."""
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes([byte ^ 1 << bit % 8]))


def frame_of(store, number):
    """The frame that holds a record."""
    return next(frame for frame in frames_of(store) if frame.first <= number < frame.first + len(frame.records))


def damage(store, number):
    """Change a bit in the frame of a record."""
    frame = frame_of(store, number)
    flip(log_of(store), 8 * (frame.offset + frame.size // 2))
    return frame


def add_record(store, kind, codec, id, rest):
    """Put a record into the log that our own writer would never write; its number."""
    with store._storage.write() as txn:
        number = txn.log(write_record(kind, codec, id, rest(txn.records() + 1) if callable(rest) else rest))
        if not find(txn, id):
            enter(txn, id, number)
        set_indexed(txn, number)
        return number


def put_unlogged(store, table, key, value):
    """Change a table as damage would do it: what the log says stays."""
    with store._storage.write() as txn:
        txn._txn.put(key, value, db=txn._tables[table])


def where(store, id):
    with store._storage.read() as txn:
        number = find(txn, id)
        return record_of(txn, number) if isinstance(id, NodeId) else number


def tree_of(store, node):
    return Tree(store.files(node))


def children(store):
    return store.nodes().ids()


# --- what is right ---


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_store_that_was_used_is_clean(store, depth):
    report = store.fsck(depth)
    assert report.findings == ()
    assert report.clean
    assert report.complete
    assert (report.depth, report.nodes, report.runs) == (depth, store.count(), len(store.runs()))
    assert report.objects == report.checked == sum(kind.count for kind in store.stats().kinds.values())
    assert (report.omitted, report.affected, report.quarantined, report.left_out) == (0, 0, (), 0)


def test_the_store_of_these_tests_has_every_kind_of_object_in_every_form(store):
    found = [read_record(data, number) for number, data in records(store).items()]
    assert {record.kind for record in found} == set(NUMBER)
    assert {record.codec for record in found} == {RAW, ZSTD, DELTA, SPLICE, FILE, NODE, TREE, REFS, REFS_ZSTD}
    assert all(scans(store).values())


def test_there_are_three_depths(store):
    with pytest.raises(BadInput, match="no depth 'deep'"):
        store.fsck("deep")


@pytest.mark.parametrize("depth", ["links", "full"])
def test_checking_changes_nothing_and_tells_how_far_it_is(store, depth, monkeypatch):
    monkeypatch.setattr(deepcheck, "SLICE", 10)
    seen = []
    before, log, files = scans(store, (*DERIVED, *KEPT)), log_of(store).read_bytes(), sorted(os.listdir(store.folder))
    report = store.fsck(depth, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (report.objects, report.objects)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 4
    assert scans(store, (*DERIVED, *KEPT)) == before
    assert (log_of(store).read_bytes(), sorted(os.listdir(store.folder))) == (log, files)


def test_a_check_sees_one_state_while_others_write(store, monkeypatch):
    monkeypatch.setattr(deepcheck, "SLICE", 10)
    report = store.fsck(
        "full", lambda *_: store.name("moving", "@seed") and store.note("@seed", f"{Random().random()}")
    )
    assert report.findings == ()
    assert report.complete


def test_equal_histories_make_equal_stores(tmp_path):
    """Nothing that is stored depends on the clock of the machine, on memory addresses or on the order of hashing."""
    found = []
    for name in ("a", "b"):
        with make_store(tmp_path / name, {**FILES, "model.py": MODEL}) as store:
            fill(store)
            found.append([records(store), scans(store), {}])
            work = str(store.root).encode()
            for table in KEPT:
                with store._storage.read() as txn:
                    found[-1][-1][table] = {key: row.replace(work, b"") for key, row in txn.scan(table)}
    for one, other in itertools.pairwise(found):
        assert one == other


# --- the indexes ---


def test_indexes_that_are_made_again_are_the_same_to_the_byte(store):
    before, frontier = scans(store, (*DERIVED, *KEPT, "place", FRAMES)), store.frontier()
    with fresh(store) as again:
        assert again.reindex() == again.fsck().objects
        assert scans(again, (*DERIVED, *KEPT, "place", FRAMES)) == before
        assert again.frontier() == frontier


def test_an_index_can_be_made_again_when_the_store_is_opened_for_it(store):
    before = scans(store)
    store.close()
    with open_store(store.root, stale=True) as again:
        assert again.reindex() == again.fsck().objects
        assert scans(again) == before


def test_a_store_made_again_goes_on(store):
    store.reindex()
    node = make_child(store, "@last", {"model.py": "LR = 7\n"})
    measure(store, node, 0.001)
    assert store.resolve("@best") == node
    assert store.descendants("@seed").ids()
    assert store.fsck("full").clean


def test_an_index_is_not_made_again_under_others(store):
    script = "store = dagstore.open(root)\nsay('open')\nsys.stdin.readline()\n"
    other = start(script, store.root)
    assert other.stdout.readline() == "open\n"
    for work in (store.reindex, store.repair):
        with pytest.raises(Refused, match="in use"):
            work()
    assert store.fsck("full").clean
    finish(other, "go\n")
    assert store.reindex()


def test_indexes_can_be_lost(store):
    before = scans(store)
    with store._storage.write() as txn:
        for table in DERIVED:
            txn.clear(table)
    assert "index" in codes(findings(store))
    with fresh(store) as again:
        again.reindex()
        assert scans(again) == before
        assert again.fsck("full").clean


@pytest.mark.parametrize("table", ["graph", "rank", "place"])
def test_a_wrong_value_in_an_index_is_found(store, table):
    with store._storage.write() as txn:
        rows = [row for row in txn.scan(table) if row[0] != WHERE]
        key, value = rows[-1]
        txn.put(table, key, value[:-1] + bytes([value[-1] ^ 1]))
    (finding,) = store.fsck("full").findings
    assert (finding.code, finding.what) == ("index", table)
    assert key.hex() in finding.message
    assert finding.hint == "run `dag fsck --reindex`"


@pytest.mark.parametrize("table", DERIVED)
def test_an_index_row_too_few_or_too_many_is_found(store, table):
    with store._storage.write() as txn:
        row, value = next(txn.scan(table, reverse=True))
        txn.delete(table, row)
    assert [finding.what for finding in store.fsck("full").findings] == [table]
    with store._storage.write() as txn:
        txn.put(table, row, value)
        txn.put(table, row[:-1] + bytes([row[-1] ^ 1]) if table in SETS else row + b"\0", b"")
    assert [finding.what for finding in store.fsck("full").findings] == [table]


@pytest.mark.parametrize("table", [*KEPT, FRAMES])
def test_a_wrong_value_in_what_the_log_gives_is_found(store, table):
    place, value = scans(store, (table,))[table][3 if table == FRAMES else -1]
    put_unlogged(store, table, place, value[:-1] + bytes([value[-1] ^ 1]))
    found = findings(store)
    assert [(finding.code, finding.what) for finding in found] == [("index", table)]
    with open_store(store.root, stale=True) as again:
        again.reindex()
        assert again.fsck("full").clean


@pytest.mark.parametrize("shift", [-10, -1, 1, 500])
def test_a_wrong_count_of_records_is_found(store, shift):
    row = dict(scans(store, ("place",))["place"])[WHERE]
    count = int.from_bytes(row[8:], "big") + shift
    put_unlogged(store, "place", WHERE, row[:8] + count.to_bytes(8, "big"))
    assert codes(store.fsck("quick").findings) == {"index"}


def test_a_lost_id_is_told(store):
    with store._storage.write() as txn:
        txn.delete("id", next(txn.scan("id"))[0])
    (finding,) = findings(store, "quick")
    assert (finding.code, finding.what) == ("index", "id")


# --- damage to the log ---


def test_any_changed_bit_of_the_log_is_found_and_the_records_named(store):
    """One bit in each frame in turn, drawn by a fixed seed; what the frame does not hold can still be read."""
    random, names, whole = Random(3), names_of_records(store), records(store)
    for frame in frames_of(store):
        bit = 8 * frame.offset + random.randrange(8 * frame.size)
        flip(log_of(store), bit)
        with fresh(store) as again:
            found = again.fsck("links").findings
            lost = range(frame.first, frame.first + len(frame.records))
            assert f"bytes {frame.offset} to {frame.end} of the log" in told(found)
            assert {one.what for one in found if one.code == "lost"} == {names[number] for number in lost}
            readable = whole.keys() - set(lost)
            with again._storage.read() as txn:
                assert {number: txn.record(number) for number in readable} == {one: whole[one] for one in readable}
            assert codes(again.fsck("full").findings) >= {"frame"}
        flip(log_of(store), bit)
    assert findings(store) == ()


def names_of_records(store):
    """Kind and the first digits of the id of every record, as the index knows them."""
    found = {}
    with store._storage.read() as txn:
        for key, _ in txn.scan("id"):
            number = int.from_bytes(key[5:], "big")
            kind = next(kind for kind in NUMBER if NUMBER[kind] == key[0])
            found[record_of(txn, number) if kind is NodeId else number] = f"{kind.kind} {key[1:5].hex()}"
    return found


def test_damage_is_told_with_what_cannot_be_without_it(store):
    """What names a lost record is told, what names only that is counted: the rest of the line, and its runs."""
    a, b, *_ = store.children("@seed").ids()
    below = [f"node {one}" for one in store.children(a).ids()]
    number, total = where(store, a), store.count()
    frame = damage(store, number)
    with fresh(store) as again:
        report = again.fsck("full")
    needing = [one for one in report.findings if one.code == "missing"]
    assert {one.what for one in needing if one.what.startswith("node")} >= set(below)
    assert all("which cannot be read" in one.message for one in needing)
    assert f"record {number}" in told(report.findings)
    assert f"log byte {frame.offset}" in told(report.findings)
    assert 0 < report.affected < report.objects
    assert (report.nodes, report.complete) == (total - 1, True)
    assert f"node {b}" not in told(report.findings)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_log_that_was_cut_off_is_told(store, depth):
    """Anywhere: in a frame, between two, in front of all."""
    whole = log_of(store).read_bytes()
    for size in (0, 10, frames_of(store)[3].offset, frames_of(store)[-1].offset + 20, len(whole) - 1):
        log_of(store).write_bytes(whole[:size])
        found = findings(store, depth)
        assert "cut_off" in codes(found)
        assert f"the log ends at byte {size}, where there were {len(whole)} bytes" in told(found)
        if depth != "quick":
            store = open_store(store.root)
            assert names_of_records(store)[len(records_at(whole, size)) + 1] in told(found)
            store.close()
        assert log_of(store).stat().st_size == size
    log_of(store).write_bytes(whole)
    assert findings(store, depth) == ()


def records_at(log, size):
    """Records in whole frames of a log that is cut off."""
    found = frames(lambda offset, length: log[:size][offset : offset + length])
    return [record for frame in found for record in frame.records]


def test_a_hole_in_the_log_is_told(store):
    """As where a file system lost pages: zeros."""
    middle = frames_of(store)[5]
    overwrite(log_of(store), middle.offset, bytes(middle.size))
    assert f"bytes {middle.offset} to {middle.end} of the log" in told(findings(store, "quick"))
    assert f"bytes {middle.offset} to {middle.end} of the log" in told(findings(store, "full"))


def test_neighbouring_damage_is_told_once(store):
    one, other = frames_of(store)[5:7]
    for frame in (one, other):
        flip(log_of(store), 8 * frame.offset)
    found = [finding for finding in findings(store, "links") if finding.code == "frame"]
    assert [finding.what for finding in found] == [f"log byte {one.offset}"]
    assert f"bytes {one.offset} to {other.end} of the log" in found[0].message


# --- objects that are not what they should be ---


def test_a_record_of_no_known_kind_is_told(store):
    with store._storage.write() as txn:
        set_indexed(txn, txn.log(b"\xff what is this?"))
        number = txn.records()
    assert f"unreadable record {number}" in told(findings(store, "links"))


@pytest.mark.parametrize("codec", [RAW, ZSTD])
def test_bytes_that_do_not_hash_to_their_id_are_told(store, codec):
    id, data = BlobId.of(b"what it should be"), b"what it is"
    add_record(store, BlobId, codec, id, data if codec == RAW else varint(len(data)) + compress(data))
    assert findings(store, "links") == ()
    (finding,) = findings(store)
    assert (finding.code, finding.what) == ("damaged", f"blob {id}")
    assert "other bytes than its id says" in finding.message


def test_a_node_that_is_none_is_told(store):
    """Its record is whole and of the right form, but makes another node than it says."""
    seed = where(store, store.resolve("@seed"))
    with store._storage.read() as txn:
        tree = find(txn, next(one for one in [TreeId.of(encode(tree_of(store, "@seed")))]))
    id = NodeId(bytes(32))
    with store._storage.write() as txn:
        number = txn.records() + 1
        set_indexed(txn, txn.log(write_record(NodeId, NODE, id, write_node(number, tree, [seed]))))
    assert f"damaged node {id}" in told(fresh(store).fsck("full").findings)


def test_what_is_named_must_be_of_the_right_kind(store):
    seed = where(store, store.resolve("@seed"))
    id = NodeId(bytes(32))
    with store._storage.write() as txn:
        number = txn.records() + 1
        set_indexed(txn, txn.log(write_record(NodeId, NODE, id, write_node(number, seed, []))))
    found = told(findings(store, "links"))
    assert f"node {id} it names a node, record {seed}, where a tree belongs" in found


def test_an_object_that_is_not_canonical_is_told(store):
    """A tree whose entries are in no order hashes to its id all the same."""
    blob = BlobId.of(MODEL.encode())
    tree = Tree((Entry("b", Mode.FILE, blob), Entry("a", Mode.FILE, blob)))
    id, data, at = TreeId.of(encode(tree)), encode(tree), where(store, blob)
    items = [(entry.path, int(entry.mode), at) for entry in tree]
    add_record(store, TreeId, TREE, id, lambda number: write_tree(number, len(data), items))
    assert f"damaged tree {id}" in told(findings(store))


@pytest.mark.parametrize("field", ["size", "chain", "depth"])
def test_a_wrong_number_in_a_record_is_told(store, field):
    """Size, chain and depth decide how later versions are stored, so they must be right too."""
    for number, data in reversed(records(store).items()):
        record = read_record(data, number)
        if record.codec in (DELTA, SPLICE):
            break
    packed = read_packed(record.rest, number)
    data = store.cat(*next(path_of(store, record.id))) + b"\n"
    id = BlobId.of(data)
    good = Packed(len(data), number, packed.chain + 3 + len(data) - len(data), packed.depth + 1, b"")
    head, tail = len(data) - 1, 0
    payload = varint(head) + varint(tail) + b"\n"
    good = Packed(len(data), number, packed.chain + len(payload), packed.depth + 1, payload)
    bad = good._replace(**{field: getattr(good, field) + 1})
    add_record(store, BlobId, SPLICE, id, lambda number: write_packed(number, bad))
    (finding,) = findings(store)
    assert (finding.code, finding.what) == ("damaged", f"blob {id}")


def path_of(store, blob):
    return ((node, entry.path) for node in store.nodes().ids() for entry in store.files(node) if entry.blob == blob)


def test_a_tree_states_its_size(store):
    blob = BlobId.of(MODEL.encode())
    tree = Tree((Entry("only", Mode.FILE, blob),))
    id, at = TreeId.of(encode(tree)), where(store, blob)
    add_record(store, TreeId, TREE, id, lambda number: write_tree(number, 7, [("only", 0, at)]))
    (finding,) = findings(store)
    assert (finding.code, finding.what) == ("damaged", f"tree {id}")
    assert "states 7 bytes" in finding.message


def test_an_object_that_names_what_is_not_there_is_told(store):
    """Where the id stands in its bytes, and is no record's."""
    note = Note(NodeId.of(b"nowhere"), "nobody", 0, "note", "about nothing")
    data = encode(note)
    add_record(store, NoteId, RAW, NoteId.of(data), data)
    (finding,) = findings(store)
    assert (finding.code, finding.what) == ("missing", f"note in record {len(records(open_store(store.root)))}")
    assert f"names node {note.node}" in finding.message


def test_an_object_that_is_stored_twice_is_told(store):
    data = b"what somebody stored\n"
    id = BlobId.of(data)
    first = add_record(store, BlobId, RAW, id, data)
    second = add_record(store, BlobId, RAW, id, data)
    assert first != second
    found = findings(store)
    assert ("twice", f"blob {id}") in [(one.code, one.what) for one in found]
    assert f"record {second}" in told(found)


def test_what_a_node_needs_is_told_when_it_is_lost(store):
    """A blob is lost: the trees that have it are told, what builds on them is counted."""
    with store._storage.read() as txn:
        blob = tree_of(store, "@seed").by_path["model.py"].blob
        number = find(txn, blob)
    damage(store, number)
    with fresh(store) as again:
        report = again.fsck("links")
    assert {"frame", "lost", "missing"} <= codes(report.findings)
    assert report.affected


@pytest.mark.parametrize("seed", [None, b"x", bytes(32)])
def test_a_store_without_its_seed_is_told(store, seed):
    with store._storage.write() as txn:
        txn.delete("meta", b"seed") if seed is None else txn.put("meta", b"seed", seed)
    assert [finding.code for finding in findings(store, "quick")] == ["no_seed"]


# --- files of blobs ---


def blob_files(store):
    return sorted(path for path in store.folder.glob("blobs/*/*"))


def harm_file(store, harm):
    """The blob whose file was harmed."""
    files = blob_files(store)
    data = files[0].read_bytes()
    files[0].write_bytes({"delete": b"", "cut": data[:-1], "swap": files[1].read_bytes()}[harm])
    if harm == "delete":
        files[0].unlink()
    return BlobId.parse(files[0].parent.name + files[0].name)


@pytest.mark.parametrize("harm", ["delete", "cut", "swap"])
def test_a_file_of_a_blob_that_is_not_what_it_was_is_found(store, harm):
    assert len(blob_files(store)) >= 2
    blob = harm_file(store, harm)
    found = findings(store)
    assert ("damaged", f"blob {blob}") in [(finding.code, finding.what) for finding in found]
    assert codes(found) <= {"damaged", "missing"}
    assert (f"blob {blob}" in told(findings(store, "links"))) == (harm == "delete")
    if harm == "delete":
        assert str(blob)[2:] in told(findings(store, "links"))


def test_a_file_that_was_removed_on_purpose_is_no_damage(root):
    clock = FakeClock()
    with open_store(root, clock=clock) as store:
        before = len(blob_files(store))
        clock.advance(1e9)
        store.gc(logs_older=1.0, keep_best=0)
        assert len(blob_files(store)) < before
        assert [store.fsck(depth).findings for depth in DEPTHS] == [()] * 3


# --- the file of the index ---


def index_of(store):
    return store.folder / INDEX / DATA


def test_an_index_that_was_cut_off_is_told_and_can_be_made_again(store):
    whole, before = index_of(store), scans(store)
    store.close()
    os.truncate(whole, 5 * 4096)
    with pytest.raises(Damaged) as caught:
        open_store(store.root)
    assert "dag fsck --reindex" in caught.value.hint
    with open_store(store.root, stale=True) as again:
        assert again.reindex() == again.fsck("full").objects
        assert again.fsck("full").clean
        assert scans(again) == before


def test_an_index_that_is_no_index_is_told_and_can_be_made_again(store):
    store.close()
    index_of(store).write_bytes(b"nothing of that kind" * 1000)
    with pytest.raises(Damaged) as caught:
        open_store(store.root)
    assert "dag fsck --reindex" in caught.value.hint
    with open_store(store.root, stale=True) as again:
        again.reindex()
        assert again.fsck("full").clean


PAGES = """
from dagstore.errors import DagError
from dagstore.storage_lmdb import DATA, INDEX

file = Path(root) / ".dag" / INDEX / DATA
whole = file.read_bytes()
for number in range(len(whole.rstrip(bytes(1))) // 4096 + 1):
    with file.open("r+b") as opened:
        opened.seek(4096 * number)
        opened.write(bytes([int(sys.argv[2])]) * 4096)
    try:
        with dagstore.open(root) as store:
            found = [(one.code, one.hint) for one in store.fsck(sys.argv[3]).findings]
    except DagError as error:
        found = [(type(error).__name__, error.hint)]
    say(found[0] if found else "clean")
    with file.open("r+b") as opened:
        opened.write(whole)
"""


@pytest.mark.parametrize("byte", [0, 0xFF, 0x22])
@pytest.mark.parametrize("depth", ["quick", "full"])
def test_a_damaged_page_of_the_index_is_told_and_never_the_end_of_the_process(store, byte, depth):
    """LMDB aborts at some of them; those of which nothing is told are free."""
    store.close()
    said = finish(start(PAGES, store.root, byte, depth))
    told = [line for line in said if line != "clean"]
    assert len(told) > 10
    assert all("dag fsck --reindex" in line for line in told)


# --- checks that end early ---


class Stop(Exception):
    """What breaks a check off."""


def saved(store):
    return [name for name in os.listdir(store.folder) if name.startswith("fsck")]


def break_off(store, depth, after, error=KeyboardInterrupt):
    """Run a check until so many objects were looked at; how many it then had looked at."""
    done = []

    def watch(count, _):
        done.append(count)
        if count >= after:
            raise error

    with pytest.raises(error):
        store.fsck(depth, watch)
    return done[-1]


def resumed(store, depth):
    """The report of a check that goes on, and how many objects it had looked at when it first told."""
    done = []
    report = store.fsck(depth, lambda count, _: done.append(count), resume=True)
    return report, done[0]


@pytest.fixture
def small_slices(monkeypatch):
    monkeypatch.setattr(deepcheck, "SLICE", 8)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("depth", ["links", "full"])
def test_a_check_that_was_broken_off_goes_on(store, depth):
    before = store.fsck(depth)
    reached = break_off(store, depth, before.objects // 2)
    assert saved(store)
    report, first = resumed(store, depth)
    assert report == before
    assert reached < first < before.objects
    assert saved(store) == []


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("depth", ["links", "full"])
def test_a_check_that_was_broken_off_again_and_again_finds_the_same(store, depth):
    """What was found, what was lost and what needs it is remembered over every end."""
    blob = harm_file(store, "delete")
    a = next(store.children("@seed").ids())
    damage(store, where(store, a))
    store = fresh(store)
    before = store.fsck(depth)
    assert before.findings
    assert before.affected
    report, ends = None, 0
    while report is None:
        try:
            report = store.fsck(depth, watch_one(), resume=ends > 0)
        except Stop:
            ends += 1
            store = fresh(store)
    assert ends >= 3
    assert report == before
    assert f"blob {blob}" in told(report.findings)


def watch_one():
    """Breaks a check off when it tells for the second time."""
    calls = []

    def watch(done, total):
        calls.append(done)
        if len(calls) == 2 and done < total:
            raise Stop

    return watch


KILL = """
import signal
from dagstore import deepcheck
deepcheck.SLICE = 8
ticks = iter(range(0, 10**9, 10))
store = dagstore.open(root, clock=lambda: next(ticks))

def watch(done, total):
    say(done)
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

store.fsck(sys.argv[2], watch)
"""


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("depth", ["links", "full"])
def test_a_check_that_was_killed_goes_on(store, depth):
    before = store.fsck(depth)
    store.close()
    done = killed(start(KILL, store.root, depth))
    with open_store(store.root) as again:
        report, first = resumed(again, depth)
        assert report == before
        assert int(done[-2]) < first
        assert saved(again) == []


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("depth", ["links", "full"])
def test_a_check_ends_when_its_time_is_over(store, clock, depth):
    before = store.fsck(depth)
    report = store.fsck(depth, lambda *_: clock.advance(1.0), seconds=3.5)
    assert 0 < report.checked < report.objects
    assert not report.complete
    assert report.clean
    assert store.fsck(depth, resume=True, seconds=1000) == before


@pytest.mark.usefixtures("small_slices")
def test_a_check_goes_on_over_what_was_recorded_meanwhile(store):
    break_off(store, "full", 30)
    make_child(store, "@last", {"model.py": "LR = 9\n"})
    store.name("later", "@last")
    report, _ = resumed(store, "full")
    assert report == store.fsck("full")
    assert report.clean


def test_without_resume_a_check_begins_anew(store, small_slices):
    break_off(store, "full", 30)
    done = []
    assert store.fsck("full", lambda count, _: done.append(count)).clean
    assert done[0] < 30
    assert saved(store) == []


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("harm", ["gone", "junk", "list", "fields", "tables", "depth", "other"])
def test_what_cannot_be_gone_on_with_is_begun_anew(store, harm):
    break_off(store, "links" if harm == "depth" else "full", 30)
    file = store.folder / SAVED
    if harm == "gone":
        file.unlink()
    elif harm == "tables":
        shutil.rmtree(store.folder / BUILT)
    elif harm == "other":
        file.write_text(file.read_text().replace(store.uuid, "00" * 16))
    elif harm != "depth":
        file.write_text({"junk": "\x00{", "list": "[]", "fields": '{"version": 1}'}[harm])
    report, first = resumed(store, "full")
    assert report.clean
    assert report.complete
    assert first < 30
    assert saved(store) == []


@pytest.mark.usefixtures("small_slices")
def test_two_checks_at_once_do_not_meet(store):
    """The second one cannot be resumed, and leaves the first alone."""
    break_off(store, "full", 30)
    with Checkpoints(store.folder) as held:
        state = held.load()
        assert store.fsck("full").clean
        assert store.fsck("links", resume=True).clean
        assert held.load() == state
    assert resumed(store, "full")[0].clean


# --- repair ---


def repaired(store):
    """The store and what was done, after a repair that left nothing to be found, unless no node is left at all."""
    store.close()
    try:
        again = open_store(store.root, clock=store._clock, entropy=store._entropy)
    except Damaged:
        again = open_store(store.root, stale=True, clock=store._clock, entropy=store._entropy)
    before = log_of(again).read_bytes()
    actions = again.repair()
    wrong = set() if again.count() else {"no_seed"}
    assert [codes(again.fsck(depth).findings) for depth in DEPTHS] == [wrong] * 3
    counted = end_of_what_counts(before)
    assert log_of(again).read_bytes()[:counted] == before[:counted]
    return again, actions


def end_of_what_counts(log):
    """Where the last transaction of a log ends; what lies behind was never finished."""
    ends = [item[-1].end for item in transactions(lambda at, size: log[at : at + size]) if not isinstance(item, Gap)]
    return ends[-1] if ends else 0


def works(store):
    """A store can be read and written, and what is derived is what would be made again."""
    store.nodes()[:].ids()
    for node in store.nodes().ids():
        assert store.node(node).id == node
        assert store.files(node)
        store.diff(node), store.runs(node), store.notes(node), store.adoptions(node)
    store.stats()
    store.gc(dry_run=True)
    assert list(store.board()) is not None
    parent = "@seed" if store.count() else None
    if parent:
        node = make_child(store, parent, {"model.py": f"LR = {store.count()}.5\n"})
        measure(store, node, 0.5, log=b"step\n" * 30)
        store.name("after", node)
        assert store.resolve("after") == node
    assert store.fsck("full").findings == ()
    before = scans(store, (*DERIVED, *KEPT, "place", FRAMES))
    count = store.reindex()
    assert count == store.fsck().objects
    assert scans(store, (*DERIVED, *KEPT, "place", FRAMES)) == before
    store.close()
    shutil.rmtree(store.folder / INDEX)  # as after a power cut
    (store.folder / "presence").unlink()
    with open_store(store.root) as again:
        assert scans(again, (*DERIVED, *KEPT, "place", FRAMES)) == before
        assert again.fsck("full").findings == ()


def test_a_store_that_is_whole_is_not_changed_by_a_repair(store):
    before = scans(store, (*DERIVED, *KEPT, "place", FRAMES))
    again, actions = repaired(store)
    assert actions == (f"built the indexes again from {again.fsck().objects} objects",)
    assert scans(again, (*DERIVED, *KEPT, "place", FRAMES)) == before
    assert not (again.folder / "quarantine").exists()
    works(again)


def test_what_a_repair_leaves_out_is_told_and_can_be_recorded_again(store):
    """A node is lost, and with it what builds on it; the rest of the store stays, and the node gets its id again."""
    a = next(store.children("@seed").ids())
    content = store.cat(a, "model.py")
    lost = {a, *store.descendants(a).ids()}
    kept = [node for node in store.nodes().ids() if node not in lost]
    frame = damage(store, where(store, a))
    again, actions = repaired(store)
    with closing(again):
        assert list(again.nodes().ids()) == kept
        report = again.fsck("full")
        assert report.left_out == len(report.quarantined) > 0
        outside = {one.what: one for one in report.quarantined}
        assert outside[f"node {str(a)[:8]}"].code == "lost"
        assert {f"node {one}" for one in lost - {a}} <= outside.keys()
        saved_bytes = (again.folder / "quarantine" / f"log-{frame.offset}").read_bytes()
        assert saved_bytes == log_of(again).read_bytes()[frame.offset : frame.end]
        assert f"log-{frame.offset}" in " ".join(actions)
        assert f"left out node {str(a)[:8]}" in " ".join(actions)
        assert make_child(again, "@seed", {"model.py": content}) == a
        assert again.resolve(str(a)[:12]) == a
        works(again)


@pytest.mark.parametrize("harm", ["delete", "cut", "swap"])
def test_a_damaged_file_goes_into_quarantine(store, harm):
    """Of a log: only the runs that have it are left out."""
    blob = harm_file(store, harm)
    file = BlobFiles(store.folder / "blobs").path(blob)
    harmed = file.read_bytes() if file.exists() else None
    nodes, runs = list(store.nodes().ids()), len(store.runs())
    again, actions = repaired(store)
    moved = again.folder / "quarantine" / str(blob)
    if harmed is not None:
        assert moved.read_bytes() == harmed
        assert f"moved the damaged file of blob {blob} to {moved}" in actions
    assert not file.exists()
    outside = {one.what: one for one in again.fsck().quarantined}
    assert outside[f"blob {blob}"].code == "damaged"
    assert again.count() + len(again.runs()) < len(nodes) + runs
    works(again)


def test_a_file_that_was_restored_takes_back_what_was_left_out(store):
    files, nodes, runs = blob_files(store), list(store.nodes().ids()), len(store.runs())
    whole = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(b"")
    again, _ = repaired(store)
    assert again.fsck().left_out
    for file, data in whole.items():
        file.write_bytes(data)
    once_more, _ = repaired(again)
    assert once_more.fsck().left_out == 0
    assert (list(once_more.nodes().ids()), len(once_more.runs())) == (nodes, runs)
    works(once_more)


def test_what_was_recorded_again_is_there_once_when_the_other_comes_back(store):
    """The object that was lost has a new record; the old one comes back, with all that needs it."""
    nodes = list(store.nodes().ids())
    owner = next(node for node in nodes if any(entry.path == "large.bin" for entry in store.files(node)))
    large = next(entry.blob for entry in store.files(owner) if entry.path == "large.bin")
    content, rest = store.cat(owner, "large.bin"), {"sub/empty": b""}
    parent = store.node(owner).primary
    file = BlobFiles(store.folder / "blobs").path(large)
    file.write_bytes(b"")
    again, _ = repaired(store)
    assert owner not in list(again.nodes().ids())
    assert make_child(again, parent, {"large.bin": content, **rest}) == owner
    assert again.cat(owner, "large.bin") == content
    once_more, _ = repaired(again)
    assert sorted(once_more.nodes().ids()) == sorted(nodes)
    assert {one.code for one in once_more.fsck().quarantined} == {"twice"}
    works(once_more)


@pytest.mark.parametrize("place", ["middle", "frame", "last", "tail"])
def test_a_log_that_was_cut_off_is_repaired_to_what_is_left(store, place):
    found = frames_of(store)
    size = {
        "middle": found[len(found) // 2].offset + 7,
        "frame": found[len(found) // 2].offset,
        "last": found[-1].offset,
        "tail": found[-1].end - 1,
    }[place]
    kept = [frame for frame in found if frame.end <= size]
    names = [str(node) for node in store.nodes().ids()]
    os.truncate(log_of(store), size)
    again, actions = repaired(store)
    assert again.fsck().objects == sum(len(frame.records) for frame in kept)
    assert [str(node) for node in again.nodes().ids()] == names[: again.count()]
    assert again.fsck().left_out == 0
    if place in ("middle", "frame"):
        assert "records are gone with the end of the log: " in " ".join(actions)
    works(again)


def test_only_what_is_damaged_at_the_end_of_the_log_is_lost(store):
    """After a power cut it would count as a write that was cut off; but the index knows that it was not."""
    last = next(frame for frame in reversed(frames_of(store)) if frame.records)
    names, whole = names_of_records(store), records(store)
    flip(log_of(store), 8 * last.offset + 200)
    bent = log_of(store).read_bytes()
    again, actions = repaired(store)
    assert (again.folder / "quarantine" / f"log-{last.offset}").read_bytes() == bent[last.offset : last.end]
    lost = range(last.first, last.first + len(last.records))
    outside = {one.record: one for one in again.fsck().quarantined}
    assert {number for number, one in outside.items() if one.code == "lost"} == set(lost)
    assert all(outside[number].what == names[number] for number in lost)
    assert all(f"left out {names[number]}" in " ".join(actions) for number in lost)
    assert again.fsck().objects == len(whole) - len(outside)
    works(again)


def test_one_damaged_frame_of_a_long_transaction_leaves_the_others(store):
    """The last one of all, so that no later frame speaks for it."""
    with store._write() as txn:
        for number in range(300):
            add_blob(store, txn, f"content {number} {Random(number).randbytes(40).hex()}".encode())
    frame = frames_of(store)[-2]
    assert not frame.last
    flip(log_of(store), 8 * frame.offset + 300)
    before = len(records(store))
    again, _ = repaired(store)
    assert again.fsck().left_out == len(frame.records)
    assert again.fsck().objects == before - len(frame.records)
    works(again)


def add_blob(store, txn, data):
    store._objects.put(txn, BlobId, data)


def test_an_index_is_not_given_up_for_a_log_that_is_damaged(store):
    """It knows what was in the damaged bytes, and that the end of the log is no write that was cut off."""
    last = frames_of(store)[-1]
    flip(log_of(store), 8 * last.offset + 200)
    with fresh(store) as again:
        before = scans(again, (*DERIVED, *KEPT, "place", FRAMES))
        with pytest.raises(Damaged, match=f"bytes {last.offset} to {last.end} of the log") as caught:
            again.reindex()
        assert "dag fsck --repair" in caught.value.hint
        assert scans(again, (*DERIVED, *KEPT, "place", FRAMES)) == before
        assert log_of(again).stat().st_size >= last.end


def test_what_was_set_in_damaged_bytes_is_known_to_the_index(store):
    """A name, a claim, a ticket: they stand in the log as well, and their bytes may be those that are damaged."""
    store.name("mine", "@last")
    claims, tickets = store.claims(), store.tickets()
    bare = [frame for frame in frames_of(store) if frame.ops and not frame.records]
    node = store.resolve("mine")
    store.note("@seed", "later")
    for frame in bare:
        flip(log_of(store), 8 * frame.offset + 8 * 30)
    assert "frame" in codes(findings(store, "links"))
    again, actions = repaired(store)
    assert again.resolve("mine") == node
    assert (again.claims(), again.tickets()) == (claims, tickets)
    assert "entered again what was set in damaged bytes" in " ".join(actions)
    assert again.fsck().left_out == 0
    works(again)


def test_what_was_said_of_a_lost_node_is_taken_away(store):
    b = store.resolve("base")
    queued = {ticket.node for ticket in store.tickets()}
    damage(store, where(store, b))
    again, actions = repaired(store)
    assert "base" not in again.names()
    assert f"took the name base away, whose node {b} is lost" in actions
    there = set(again.nodes().ids())
    assert all(ticket.node in there for ticket in again.tickets())
    assert all(claim.node in there for claim in again.claims())
    assert queued
    works(again)


def test_a_lost_seed_can_be_recorded_again(store):
    seed, root = store.resolve("@seed"), store.root
    content = {entry.path: store.cat("@seed", entry.path) for entry in store.files("@seed")}
    damage(store, where(store, seed))
    store.close()
    with open_store(root) as broken:
        again, actions = repaired(broken)
    assert "no node is left; record the project anew with `dag init`" in actions
    assert again.count() == 0
    again.close()
    for path, data in content.items():
        assert (root / path).read_bytes() == data
    assert init(root).node == seed
    with open_store(root) as again:
        assert again.resolve("@seed") == seed
        works(again)


@pytest.mark.parametrize("harm", ["hash", "kind", "twice", "form"])
def test_an_object_that_is_not_what_it_should_be_is_left_out(store, harm):
    data = b"what somebody stored\n"
    id = BlobId.of(data)
    if harm == "hash":
        add_record(store, BlobId, RAW, id, data + b"!")
    elif harm == "twice":
        add_record(store, BlobId, RAW, id, data)
        add_record(store, BlobId, RAW, id, data)
    elif harm == "kind":
        with store._storage.write() as txn:
            set_indexed(txn, txn.log(b"\xff what is this?"))
    else:
        add_record(store, NoteId, RAW, NoteId.of(data), data)
    again, _ = repaired(store)
    (outside,) = again.fsck().quarantined
    assert outside.code == {"hash": "damaged", "kind": "unreadable", "twice": "twice", "form": "damaged"}[harm]
    works(again)


def test_an_index_and_a_log_that_are_both_damaged(store):
    a = next(store.children("@seed").ids())
    frame = damage(store, where(store, a))
    store.close()
    index_of(store).write_bytes(b"nothing of that kind" * 1000)
    again, actions = repaired(store)
    assert a not in list(again.nodes().ids())
    assert f"log-{frame.offset}" in " ".join(actions)
    works(again)


def test_a_damaged_log_without_an_index_says_what_to_do(store):
    damage(store, where(store, next(store.children("@seed").ids())))
    store.close()
    shutil.rmtree(store.folder / INDEX)
    (store.folder / "presence").unlink()
    with pytest.raises(Damaged):
        open_store(store.root)
    again, _ = repaired(store)
    works(again)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_repair_that_was_broken_off_can_be_done_again(store, monkeypatch, after):
    a = next(store.children("@seed").ids())
    claims = store.claims()
    damage(store, where(store, a))
    for frame in [frame for frame in frames_of(store) if not frame.records][:3]:
        flip(log_of(store), 8 * frame.offset + 8 * 30)
    left = itertools.count()

    def leave_out(txn, one):
        if next(left) == after:
            raise Stop
        quarantine.leave_out(txn, one)

    with monkeypatch.context() as patched:
        patched.setattr(repair, "BATCH", 5)
        patched.setattr(repair, "leave_out", leave_out)
        with fresh(store) as broken, pytest.raises(Stop):
            broken.repair()
    again, _ = repaired(store)
    assert {claim.token for claim in again.claims()} <= {claim.token for claim in claims}
    assert a not in list(again.nodes().ids())
    works(again)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_can_be_repaired(filled, data):
    """Bits of the log, and perhaps its end: whatever is hit, what can be read afterwards is what it was."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(filled, place, dirs_exist_ok=True)
        with open_store(Path(place) / "project", entropy=Entropy(7)) as store:
            whole, names = records(store), set(store.nodes().ids())
        size = log_of(store).stat().st_size
        for bit in data.draw(st.lists(st.integers(0, 8 * size - 1), min_size=1, max_size=4)):
            flip(log_of(store), bit)
        if data.draw(st.booleans()):
            os.truncate(log_of(store), data.draw(st.integers(0, size)))
        again, _ = repaired(store)
        with again._storage.read() as txn:
            outside = records_left_out(txn, 1, txn.records())
            assert all(txn.record(one) == whole[one] for one in range(1, txn.records() + 1) if one not in outside)
        assert set(again.nodes().ids()) <= names
        if again.count():
            works(again)
        again.close()


# --- the command ---


@pytest.fixture
def dag(root, capsys):
    """Runs `dag fsck` on a store that nobody has open; its exit code, its answer and its error as JSON."""
    with open_store(root):
        pass

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["fsck", *words, "--json", "-C", str(root)])
        said, complained = capsys.readouterr()
        return ended.value.code, said and json.loads(said), complained and json.loads(complained)

    return run


def text_of(root, capsys, *words):
    with pytest.raises(SystemExit):
        main(["fsck", *words, "-C", str(root)])
    return capsys.readouterr().out


def test_the_command_says_what_is_wrong_and_what_to_do(dag, root, capsys):
    with open_store(root) as store:
        a = next(store.children("@seed").ids())
        frame = damage(store, where(store, a))
    code, report, error = dag("--full")
    assert (code, error["code"]) == (6, "damaged")
    assert report["findings"][0]["what"] == f"log byte {frame.offset}"
    assert error["hint"] == "restore a copy, or give up what is lost with `dag fsck --repair`"
    text = text_of(root, capsys, "--full")
    assert f"node {str(a)[:8]}" in text
    assert "more cannot be without these" in text
    code, report, error = dag("--full", "--repair")
    assert (code, error, report["findings"]) == (0, "", [])
    assert any(str(a)[:8] in action for action in report["actions"])
    assert {one["what"] for one in report["quarantined"]} >= {f"node {str(a)[:8]}"}
    assert f"{report['left_out']} objects left out since a repair" in text_of(root, capsys)


def test_the_command_makes_a_damaged_index_again(dag, root):
    (root / ".dag" / INDEX / DATA).write_bytes(b"nothing of that kind" * 1000)
    code, _, error = dag()
    assert (code, error["code"]) == (6, "damaged")
    assert "dag fsck --reindex" in error["hint"]
    code, report, error = dag("--full", "--reindex")
    assert (code, error, report["findings"], report["reindexed"]) == (0, "", [], report["objects"])


def test_the_command_tells_of_a_wrong_index(dag, root):
    with open_store(root) as store, store._storage.write() as txn:
        txn.delete("facts", next(txn.scan("facts"))[0])
    code, report, error = dag("--full")
    assert (code, error["hint"]) == (6, "run `dag fsck --reindex`")
    assert [(one["code"], one["what"]) for one in report["findings"]] == [("index", "facts")]


def test_a_store_that_cannot_be_opened_is_repaired(dag, root):
    with open_store(root) as store:
        damage(store, where(store, next(store.children("@seed").ids())))
    shutil.rmtree(root / ".dag" / INDEX)
    (root / ".dag" / "presence").unlink()
    code, _, error = dag("--full")
    assert code == 6
    assert "dag fsck --repair" in error["hint"]
    assert dag("--repair")[0] == 0
    assert dag("--full")[0] == 0


@pytest.mark.usefixtures("small_slices")
def test_the_command_ends_in_time_and_goes_on(dag, root, capsys):
    code, report, error = dag("--full", "--for", "1ms")
    assert (code, error) == (0, "")
    assert 0 < report["checked"] < report["objects"]
    text = text_of(root, capsys, "--full", "--resume", "--for", "1ms")
    assert f"of {report['objects']} objects; go on with `dag fsck --full --resume`" in text
    code, report, _ = dag("--full", "--resume")
    assert (code, report["checked"]) == (0, report["objects"])
    assert report["reindexed"] is report["actions"] is None


@pytest.mark.parametrize("words", [("--resume",), ("--for", "1m"), ("--reindex", "--repair"), ("--full", "--for", "x")])
def test_the_command_refuses_what_makes_no_sense(dag, words):
    code, _, error = dag(*words)
    assert (code, error["code"]) == (2, "usage")
