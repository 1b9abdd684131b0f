"""fsck finds what is wrong and names it, says nothing about what is right, and rebuilds what is derived."""

import itertools
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from dagstore import open as open_store
from dagstore.check import DEPTHS
from dagstore.codec import pack, unpack
from dagstore.errors import BadInput
from dagstore.index import DERIVED
from dagstore.model import Status
from dagstore.objects import DELTA, FILE, NUMBER, RAW, ZSTD, every, key
from dagstore.storage_lmdb import LmdbStorage
from dagstore.testing.builders import FILES, make_child, make_store, measure, write_files

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
    store.note(adopted, "promising")
    store.name("base", b)
    store.queue([c, same], repeat=2)
    store.take("worker", 60)
    store.spawn(c)
    make_child(store, b, {"large.bin": Random(2).randbytes(200_000), "sub/empty": b""})
    unlocked = Path(store.spawn(a).workspace)
    write_files(unlocked, {"prepare.py": "DATA = 2\n"})
    measure(store, store.seal(unlocked, unlock=True).node, 0.2)


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path, {**FILES, "model.py": MODEL}) as store:
        fill(store)
        yield store


def fresh(store):
    """The same store in another process, as far as what is kept in memory goes."""
    store.close()
    return open_store(store.root)


def findings(store, depth="full"):
    with fresh(store) as again:
        return again.fsck(depth).findings


def scans(store):
    with store._storage.read() as txn:
        return {table: list(txn.scan(table)) for table in DERIVED}


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_store_that_was_used_is_clean(store, depth):
    report = store.fsck(depth)
    assert report.findings == ()
    assert report.clean
    assert (report.depth, report.nodes, report.runs) == (depth, store.count(), len(store.runs()))
    assert report.objects == sum(kind.count for kind in store.stats().kinds.values())


def test_the_store_of_these_tests_has_every_kind_of_object_in_every_form(store):
    with store._storage.read() as txn:
        envelopes = [envelope for _, envelope in every(txn)]
    assert {envelope.kind for envelope in envelopes} == set(NUMBER)
    assert {envelope.codec for envelope in envelopes} == {RAW, ZSTD, DELTA, FILE}
    assert all(table for table in scans(store).values())


def test_there_are_three_depths(store):
    with pytest.raises(BadInput, match="no depth 'deep'"):
        store.fsck("deep")


def test_checking_changes_nothing_and_tells_how_far_it_is(store):
    seen = []
    before = scans(store)
    report = store.fsck("full", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (report.objects, report.objects)
    assert scans(store) == before


def test_rebuilt_indexes_are_the_same_to_the_byte(store):
    before = scans(store)
    frontier = store.frontier()
    with fresh(store) as again:
        assert again.reindex() == again.fsck().objects
        assert scans(again) == before
        assert again.frontier() == frontier


def test_indexes_can_be_lost(store):
    before = scans(store)
    store.close()
    with closing(LmdbStorage(store.folder)) as storage, storage.write() as txn:
        for table in DERIVED:
            for row, _ in list(txn.scan(table)):
                txn.delete(table, row)
    with open_store(store.root) as again:
        assert {finding.what for finding in again.fsck("full").findings} == set(DERIVED)
        again.reindex()
        assert scans(again) == before
        assert again.fsck("full").clean


@pytest.mark.parametrize("table", DERIVED)
def test_a_wrong_index_is_found(store, table):
    with store._storage.write() as txn:
        rows = list(txn.scan(table))
        place, value = rows[len(rows) // 2]
        txn.put(table, place, value + b"\xc0")
    (finding,) = findings(store)
    assert (finding.code, finding.what) == ("index", table)
    assert place.hex() in finding.message


@pytest.mark.parametrize("table", DERIVED)
def test_an_index_row_too_few_or_too_many_is_found(store, table):
    with store._storage.write() as txn:
        row, value = next(txn.scan(table, reverse=True))
        txn.delete(table, row)
    assert [finding.what for finding in findings(store)] == [table]
    with closing(LmdbStorage(store.folder)) as storage, storage.write() as txn:
        txn.put(table, row, value)
        txn.put(table, row + b"\0", b"")
    assert [finding.what for finding in findings(store)] == [table]


def test_any_changed_bit_of_an_object_is_found(store):
    """One bit in each envelope in turn, drawn by a fixed seed. Headers of zstd have bits that mean nothing."""
    random = Random(3)
    with store._storage.read() as txn:
        rows = list(txn.scan("obj"))
        envelopes = dict(every(txn))
    missed = []
    for place, row in rows:
        seq = int.from_bytes(place, "big")
        bit = random.randrange(8 * len(row))
        replace_row(store, place, flipped(row, bit))
        told = [finding.what + finding.message for finding in store.fsck("full").findings]
        name = f"{envelopes[seq].kind.kind} {envelopes[seq].id}"
        if not any(name in text or f"object number {seq} " in text for text in told):
            missed.append((name, row, bit))
        replace_row(store, place, row)
    for name, row, bit in missed:
        header = row.index(b"\x28\xb5\x2f\xfd") + 4
        assert header <= bit // 8 < header + 2, (name, row, bit)
    assert store.fsck("full").clean


def flipped(row, bit):
    bent = bytearray(row)
    bent[bit // 8] ^= 1 << bit % 8
    return bytes(bent)


def replace_row(store, place, row):
    with store._storage.write() as txn:
        txn.put("obj", place, row)


@pytest.mark.parametrize("codec", [RAW, ZSTD, DELTA])
def test_a_changed_bit_of_content_is_found_and_the_object_named(store, codec):
    with store._storage.write() as txn:
        seq, envelope = next((seq, envelope) for seq, envelope in every(txn) if envelope.codec == codec)
        row = txn.get("obj", key(seq))
        txn.put("obj", key(seq), flipped(row, 8 * (len(row) - len(envelope.payload) // 2) - 6))
    found = findings(store)
    assert ("damaged", f"{envelope.kind.kind} {envelope.id}") in [(one.code, one.what) for one in found]
    assert findings(store, "quick") == ()


def test_every_damaged_object_is_told_and_not_only_the_first(store):
    with store._storage.write() as txn:
        for seq in (2, 4, 6):
            txn.put("obj", key(seq), b"\xc1")
    messages = [finding.message for finding in findings(store, "quick") if finding.code == "unreadable"]
    assert len(messages) == 3
    for seq, message in zip((2, 4, 6), messages, strict=True):
        assert f"object number {seq} cannot be read" in message


@pytest.mark.parametrize("field", [3, 4, 5, 6])
def test_a_wrong_number_in_an_envelope_is_found(store, field):
    """Size, base, chain and depth decide how later versions are stored, so they must be right too."""
    with store._storage.write() as txn:
        seq, envelope = [(seq, envelope) for seq, envelope in every(txn) if envelope.codec == DELTA][-1]
        row = unpack(txn.get("obj", key(seq)))
        row[field] += 1
        txn.put("obj", key(seq), pack(row))
    assert f"{envelope.kind.kind} {envelope.id}" in [finding.what for finding in findings(store)]


@pytest.mark.parametrize("harm", ["delete", "cut", "swap"])
def test_a_file_of_a_blob_that_is_not_what_it_was_is_found(store, harm):
    files = sorted(path for path in store.folder.glob("blobs/*/*"))
    assert len(files) >= 2
    data = files[0].read_bytes()
    files[0].write_bytes({"delete": b"", "cut": data[:-1], "swap": files[1].read_bytes()}[harm])
    if harm == "delete":
        files[0].unlink()
    found = findings(store)
    assert f"blob {files[0].parent.name}{files[0].name}" in [finding.what for finding in found]
    assert {finding.code for finding in found} == {"damaged"}


def test_an_object_that_is_not_found_by_its_id_is_told(store):
    with store._storage.write() as txn:
        rows = list(txn.scan("id"))
        txn.put("id", rows[3][0], rows[4][1])
    assert "id" in {finding.code for finding in findings(store, "quick")}


def test_a_lost_id_is_told(store):
    with store._storage.write() as txn:
        txn.delete("id", next(txn.scan("id"))[0])
    assert {"count", "id"} <= {finding.code for finding in findings(store, "quick")}


def test_a_lost_object_is_told_with_all_that_name_it(store):
    with store._storage.write() as txn:
        tree = next(seq for seq, envelope in every(txn) if envelope.kind.kind == "tree")
        txn.delete("obj", key(tree))
    codes = {finding.code for finding in findings(store, "quick")}
    assert {"count", "gap"} <= codes


def test_what_an_object_names_must_be_there_and_before_it(store):
    with store._storage.write() as txn:
        blobs = [row for row, _ in txn.scan("id", b"\0", b"\1")]
        last = next(txn.scan("obj", reverse=True))[0]
        txn.delete("id", blobs[0])
        txn.put("id", blobs[1], last)
    found = findings(store, "links")
    assert {"missing", "order"} <= {finding.code for finding in found}
    assert blobs[0][1:].hex() in "".join(finding.message for finding in found)


@pytest.mark.parametrize("seed", [None, b"x", bytes(32)])
def test_a_store_without_its_seed_is_told(store, seed):
    with store._storage.write() as txn:
        txn.delete("meta", b"seed") if seed is None else txn.put("meta", b"seed", seed)
    assert [finding.code for finding in findings(store, "quick")] == ["no_seed"]


def test_equal_histories_make_equal_stores(tmp_path):
    """Nothing that is stored depends on the clock of the machine, on memory addresses or on the order of hashing."""
    tables = []
    for name in ("a", "b"):
        with make_store(tmp_path / name, {**FILES, "model.py": MODEL}) as store:
            fill(store)
            with store._storage.read() as txn:
                tables.append([list(txn.scan(table)) for table in ("obj", "id", "meta", *DERIVED)])
    for one, other in itertools.pairwise(tables):
        assert one == other
