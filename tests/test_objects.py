"""Objects under their ids: packed in bounded chains, checked when read, large ones in files."""

from random import Random

import pytest

from dagstore import objects as module
from dagstore.codec import encode, pack, unpack
from dagstore.deltas import compress, decompress
from dagstore.errors import Damaged, NotFound, Unavailable
from dagstore.files import BlobFiles
from dagstore.ids import BlobId, NodeId, NoteId, TreeId
from dagstore.model import Entry, Mode, Node, Note, Tree
from dagstore.objects import (
    DELTA,
    FILE,
    FILE_BYTES,
    MAX_DEPTH,
    RAW,
    ZSTD,
    Objects,
    every,
    find,
    id_of,
    key,
    next_seq,
    short,
    with_prefix,
)
from dagstore.storage_memory import MemoryStorage


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def objects(tmp_path):
    return Objects(BlobFiles(tmp_path / "blobs"))


def put(storage, objects, data, base=0, kind=BlobId):
    with storage.write() as txn:
        return objects.put(txn, kind, data, base)[0]


def noise(size, seed=0):
    return Random(seed).randbytes(size)


def source(number):
    """26 kB of lines of which one says `number`."""
    lines = [f"parameter_{line} = {line * line}  # {'x' * (line % 7)}" for line in range(800)]
    lines[400] = f"LEARNING_RATE = {number}"
    return "\n".join(lines).encode()


def test_an_object_has_one_number_and_can_be_read_by_it_or_its_id(storage, objects):
    with storage.write() as txn:
        assert objects.put(txn, BlobId, b"one") == (1, True)
        assert objects.put(txn, BlobId, b"two") == (2, True)
        assert objects.put(txn, BlobId, b"one") == (1, False)
        assert objects.put(txn, NoteId, b"one") == (3, True)
        assert next_seq(txn) == 4
    with storage.read() as txn:
        assert objects.get(txn, 2) == objects.read(txn, BlobId.of(b"two")) == b"two"
        assert (find(txn, BlobId.of(b"one")), find(txn, NodeId.of(b"one"))) == (1, 0)
        assert id_of(txn, 3) == NoteId.of(b"one")
        assert [(seq, envelope.id) for seq, envelope in every(txn)] == [
            (1, BlobId.of(b"one")),
            (2, BlobId.of(b"two")),
            (3, NoteId.of(b"one")),
        ]


def test_what_is_not_there_is_said_to_be_missing(storage, objects):
    with storage.read() as txn:
        with pytest.raises(NotFound, match=str(BlobId.of(b"x"))):
            objects.read(txn, BlobId.of(b"x"))
        with pytest.raises(Damaged, match="object number 7 is missing"):
            objects.get(txn, 7)
        with pytest.raises(Damaged, match="object number 7 is missing"):
            id_of(txn, 7)


@pytest.mark.parametrize(
    ("data", "codec"),
    [(b"", RAW), (b"short", RAW), (b"\0" * 10_000, ZSTD), (noise(1000), RAW), (noise(FILE_BYTES + 1), FILE)],
)
def test_bytes_are_stored_in_the_form_that_suits_them(storage, objects, data, codec):
    seq = put(storage, objects, data)
    with storage.read() as txn:
        assert objects.envelope(txn, seq).codec == codec
        assert objects.get(txn, seq) == data


def test_an_edit_of_one_line_costs_few_bytes(storage, objects):
    base = put(storage, objects, source(1))
    seq = put(storage, objects, source(0.002), base)
    with storage.read() as txn:
        envelope = objects.envelope(txn, seq)
        assert (envelope.codec, envelope.base) == (DELTA, base)
        assert len(envelope.payload) <= 60
        assert objects.get(txn, seq) == source(0.002)


def test_chains_are_bounded_in_depth_and_in_bytes(storage, objects):
    random, data, base = Random(1), source(0), 0
    versions = []
    for number in range(300):
        at = random.randrange(len(data))
        data = data[:at] + (random.randbytes(2000) if number % 50 == 10 else b"%d" % number) + data[at:]
        base = put(storage, objects, data, base)
        versions.append(data)
    with storage.read() as txn:
        envelopes = [envelope for _, envelope in every(txn)]
        assert [objects.get(txn, seq) for seq in range(1, 301)] == versions
    assert {envelope.codec for envelope in envelopes} == {ZSTD, DELTA}
    assert max(envelope.depth for envelope in envelopes) == MAX_DEPTH
    assert all(envelope.chain <= envelope.size // 2 for envelope in envelopes if envelope.codec == DELTA)
    for envelope in envelopes:
        if envelope.codec == DELTA:
            under = envelopes[envelope.base - 1]
            assert envelope.depth == under.depth + 1
            assert envelope.chain == len(envelope.payload) + (under.chain if under.base else 0)


def test_a_base_that_is_not_like_the_object_is_no_base(storage, objects):
    base = put(storage, objects, noise(5000, 1))
    seq = put(storage, objects, noise(5000, 2), base)
    with storage.read() as txn:
        assert objects.envelope(txn, seq).codec == RAW


def test_a_long_file_may_differ_from_its_base_anywhere(storage, objects):
    """Matches far apart are found, so that one edit of a large file is small as well."""
    data = noise(3 << 20)
    base = put(storage, objects, data)
    edited = b"first" + data[100:] + b"last"
    seq = put(storage, objects, edited, base)
    with storage.read() as txn:
        assert objects.envelope(txn, seq).codec == DELTA
        assert len(objects.envelope(txn, seq).payload) < 10_000
        assert objects.get(txn, seq) == edited


def test_large_blobs_are_files(storage, objects, tmp_path):
    data = noise(200_000)
    id = BlobId.of(data)
    put(storage, objects, data)
    file = tmp_path / "blobs" / str(id)[:2] / str(id)[2:]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert decompress(file.read_bytes(), len(data)) == data
    assert list(BlobFiles(tmp_path / "blobs").names()) == [id]


def test_a_file_that_another_user_may_not_read_would_be_no_shared_store(storage, objects, tmp_path):
    put(storage, objects, noise(100_000))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    (tmp_path / "plain").touch()
    assert file.stat().st_mode & 0o044 == (tmp_path / "plain").stat().st_mode & 0o044


def test_a_file_is_written_once(objects, storage, tmp_path):
    files, data = BlobFiles(tmp_path), noise(100)
    files.save(BlobId.of(data), data)
    stat = files.path(BlobId.of(data)).stat()
    files.save(BlobId.of(data), data)
    again = files.path(BlobId.of(data)).stat()
    assert (stat.st_ino, stat.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(Unavailable, match="blobs") as caught:
        BlobFiles(tmp_path / "blobs").save(BlobId.of(b""), b"")
    assert caught.value.hint
    assert list(BlobFiles(tmp_path / "blobs").names()) == []


def test_names_of_files_pass_over_what_is_no_blob(tmp_path):
    files = BlobFiles(tmp_path)
    assert list(files.names()) == []
    ids = sorted(BlobId.of(bytes([number])) for number in range(20))
    for number in range(20):
        files.save(BlobId.of(bytes([number])), bytes([number]))
    (tmp_path / "note.txt").touch()
    (tmp_path / str(ids[0])[:2] / "tmp-1").touch()
    assert list(files.names()) == ids


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "flipped", "other"])
def test_a_broken_file_is_found_and_the_blob_named(storage, objects, tmp_path, harm):
    data = noise(100_000)
    seq = put(storage, objects, data)
    file = BlobFiles(tmp_path / "blobs").path(BlobId.of(data))
    frame = file.read_bytes()
    flipped = frame[:5000] + bytes([frame[5000] ^ 1]) + frame[5001:]
    file.write_bytes({"cut": frame[:-1], "flipped": flipped, "other": compress(noise(100_000, 9))}.get(harm, b""))
    if harm == "missing":
        file.unlink()
    with storage.read() as txn, pytest.raises(Damaged, match=str(BlobId.of(data))):
        objects.get(txn, seq)


def bend(storage, seq, **changes):
    """Change fields of an envelope where it lies."""
    names = ("kind", "codec", "id", "size", "base", "chain", "depth", "payload")
    with storage.write() as txn:
        row = dict(zip(names, unpack(txn.get("obj", key(seq))), strict=True)) | changes
        txn.put("obj", key(seq), pack(list(row.values())))


@pytest.mark.parametrize("data", [b"plain", b"\0" * 1000, source(1)])
def test_other_bytes_under_an_id_are_damage_and_the_id_is_named(storage, objects, data):
    put(storage, objects, data)
    with storage.read() as txn:
        other = objects._pack(txn, BlobId, BlobId.of(data), data[:-1] + b"?", 0)
    bend(storage, 1, payload=other.payload)
    with storage.read() as txn, pytest.raises(Damaged, match=f"blob {BlobId.of(data)} holds other bytes"):
        objects.get(txn, 1)


def test_a_delta_against_another_base_is_damage(storage, objects):
    first, second = put(storage, objects, source(1)), put(storage, objects, noise(30_000))
    seq = put(storage, objects, source(2), first)
    bend(storage, seq, base=second)
    with storage.read() as txn, pytest.raises(Damaged):
        objects.get(txn, seq)


def test_a_chain_without_an_end_is_damage(storage, objects):
    seq = put(storage, objects, source(2), put(storage, objects, source(1)))
    bend(storage, seq, base=seq)
    with storage.read() as txn, pytest.raises(Damaged, match=f"blob {BlobId.of(source(2))}.*no end"):
        objects.get(txn, seq)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 99},
        {"kind": -1},
        {"kind": "blob"},
        {"id": 40},
        {"id": b"short"},
        {"id": "x" * 32},
        {"size": -1},
        {"size": "1"},
        {"base": "1"},
        {"codec": "delta"},
        {"depth": None},
        {"payload": "text"},
        {"payload": None},
    ],
)
def test_an_envelope_that_cannot_be_is_damage(storage, objects, changes):
    seq = put(storage, objects, source(1))
    bend(storage, seq, **changes)
    with storage.read() as txn, pytest.raises(Damaged, match="object number 1"):
        objects.get(txn, seq)


@pytest.mark.parametrize("row", [b"", b"\xc1", b"\x98\x00", b"\x90", b"\xc0", b"\x00" * 8])
def test_a_row_that_is_no_envelope_is_damage(storage, objects, row):
    with storage.write() as txn:
        txn.put("obj", key(1), row)
    with storage.read() as txn:
        with pytest.raises(Damaged, match="object number 1 cannot be read"):
            objects.get(txn, 1)
        with pytest.raises(Damaged, match="object number 1 cannot be read"):
            list(every(txn))


def test_every_changed_bit_of_an_envelope_is_noticed_or_harmless(storage, objects):
    """Whatever happens to a row, reading it gives the right bytes or says that it is damaged."""
    base = put(storage, objects, source(1))
    for data, under in ((b"raw", 0), (b"\0" * 1000, 0), (source(2), base)):
        seq = put(storage, objects, data, under)
        with storage.read() as txn:
            row = txn.get("obj", key(seq))
        for bit in range(8 * len(row)):
            bent = bytearray(row)
            bent[bit // 8] ^= 1 << bit % 8
            with storage.write() as txn:
                txn.put("obj", key(seq), bytes(bent))
                try:
                    assert BlobId.of(objects.get(txn, seq)) == objects.envelope(txn, seq).id
                except Damaged:
                    continue
        with storage.write() as txn:
            txn.put("obj", key(seq), row)


def test_a_transaction_that_is_given_up_leaves_no_decoded_object(storage, objects):
    """The same number, given again, means another object."""
    notes = [Note(NodeId.of(b"n"), "", 0, "remark", text) for text in ("given up", "kept")]
    with pytest.raises(KeyError):
        put_and_fail(storage, objects, notes[0])
    seq = put(storage, objects, encode(notes[1]), kind=NoteId)
    with storage.read() as txn:
        assert (seq, objects.load(txn, seq)) == (1, notes[1])


def put_and_fail(storage, objects, note):
    with storage.write() as txn:
        objects.load(txn, objects.put(txn, NoteId, encode(note))[0])
        raise KeyError


def test_decoded_objects_are_kept_within_bounds(storage, objects, monkeypatch):
    monkeypatch.setattr(module, "MAX_DECODED", 3)
    tree = TreeId.of(b"")
    nodes = [Node.of([NodeId.of(bytes([number]))], tree) for number in range(10)]
    with storage.write() as txn:
        for node in nodes:
            objects.put(txn, NodeId, encode(node))
        for _ in range(2):
            assert [objects.load(txn, seq) for seq in range(1, 11)] == nodes


def test_a_tree_is_a_delta_of_the_tree_before(storage, objects):
    entries = [Entry(f"file{number}", Mode.FILE, BlobId.of(bytes([number]))) for number in range(100)]
    base = put(storage, objects, encode(Tree.of(entries)), kind=TreeId)
    entries[50] = Entry("file50", Mode.FILE, BlobId.of(b"new"))
    seq = put(storage, objects, encode(Tree.of(entries)), base, kind=TreeId)
    with storage.read() as txn:
        assert len(objects.envelope(txn, seq).payload) < 100
        assert objects.load(txn, seq) == Tree.of(entries)


# --- ids by their beginning ---


@pytest.fixture
def crowd(storage, objects):
    """Ids of 2,000 nodes, enough for common prefixes of 4 digits."""
    datas = [number.to_bytes(2, "big") for number in range(2000)]
    with storage.write() as txn:
        for data in datas:
            objects.put(txn, NodeId, data)
            objects.put(txn, BlobId, data)
    return sorted(NodeId.of(data) for data in datas)


@pytest.mark.parametrize("digits", [0, 1, 2, 3, 4, 5, 64])
def test_ids_are_found_by_any_prefix(storage, crowd, digits):
    with storage.read() as txn:
        for id in crowd[::100]:
            prefix = str(id)[:digits]
            expected = [other for other in crowd if str(other).startswith(prefix)]
            assert with_prefix(txn, NodeId, prefix, 5000) == expected
            assert with_prefix(txn, NodeId, prefix, 2) == expected[:2]


@pytest.mark.parametrize("prefix", ["f", "ff", "fff", "ffff", "0", "00"])
def test_prefixes_at_the_ends(storage, crowd, prefix):
    with storage.read() as txn:
        assert with_prefix(txn, NodeId, prefix, 5000) == [id for id in crowd if str(id).startswith(prefix)]


def test_short_ids_are_unique_and_no_longer_than_needed(storage, crowd):
    with storage.read() as txn:
        shorts = [short(txn, id, least=2) for id in crowd]
        assert len(set(shorts)) == len(crowd)
        for id, text in zip(crowd, shorts, strict=True):
            assert with_prefix(txn, NodeId, text, 2) == [id]
            assert len(text) == 2 or len(with_prefix(txn, NodeId, text[:-1], 2)) == 2
        assert all(short(txn, id) == str(id)[:8] for id in crowd)


def test_the_only_object_of_its_kind_has_a_short_id(storage, objects):
    put(storage, objects, b"x")
    with storage.read() as txn:
        assert short(txn, BlobId.of(b"x")) == str(BlobId.of(b"x"))[:8]


# --- packing ---


@pytest.mark.parametrize("data", [b"", b"a", noise(100), b"x" * 100_000, noise(1 << 20)])
@pytest.mark.parametrize("prefix", [b"", b"short", noise(100)])
def test_frames_unpack_to_what_was_packed(data, prefix):
    assert decompress(compress(data, prefix), len(data), prefix) == data


def test_frames_carry_a_checksum():
    frame = compress(b"x" * 1000)
    with pytest.raises(Damaged):
        decompress(frame[:-1] + bytes([frame[-1] ^ 1]), 1000)


def test_a_wrong_prefix_is_noticed():
    frame = compress(source(2), source(1))
    with pytest.raises(Damaged):
        decompress(frame, len(source(2)), source(1).replace(b"parameter", b"parametre"))


@pytest.mark.parametrize("size", [0, 999, 1001, 1 << 40])
def test_a_wrong_size_is_noticed_without_unpacking_more(size):
    with pytest.raises(Damaged):
        decompress(compress(b"x" * 1000), size)


def test_a_bomb_is_not_unpacked():
    with pytest.raises(Damaged, match="10 bytes"):
        decompress(compress(bytes(200 << 20)), 10)
