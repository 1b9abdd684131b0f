"""Objects under their ids: packed in bounded chains, checked when read, large ones in files."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore import objects as module
from dagstore.chains import MAX_DEPTH, id_of, packed_of, root_of, size_of
from dagstore.codec import encode
from dagstore.deltas import compress, decompress, splice, unsplice
from dagstore.errors import Damaged, NotFound, Refused, Unavailable
from dagstore.files import BlobFiles
from dagstore.finding import enter, find, kind_of, newest, short, with_prefix
from dagstore.ids import SIZE, BlobId, NodeId, NoteId, RunId, TreeId
from dagstore.index import add, clear
from dagstore.model import Adoption, Decision, Entry, Mode, Node, Note, Side, Tree, names_of
from dagstore.objects import FILE_BYTES, Objects
from dagstore.records import (
    DELTA,
    FILE,
    NODE,
    RAW,
    REFS,
    REFS_ZSTD,
    SPLICE,
    TREE,
    ZSTD,
    Packed,
    read_record,
    read_tree,
    write_packed,
    write_record,
)
from dagstore.storage_memory import MemoryStorage


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def objects(tmp_path):
    return Objects(BlobFiles(tmp_path / "blobs"))


def put(storage, objects, data, base=0, kind=BlobId, names=()):
    with storage.write() as txn:
        return objects.put(txn, kind, data, base, names)[0]


def get(storage, objects, number):
    with storage.read() as txn:
        return objects.get(txn, number)


def codec(storage, number):
    with storage.read() as txn:
        return read_record(txn.record(number), number).codec


def noise(size, seed=0):
    return Random(seed).randbytes(size)


def source(number, width=1):
    """26 kB of lines of which one says `number` and another one `width`."""
    lines = [f"parameter_{line} = {line * line}  # {'x' * (line % 7)}" for line in range(800)]
    lines[400] = f"LEARNING_RATE = {number}"
    lines[700] = f"WIDTH = {width}"
    return "\n".join(lines).encode()


def test_an_object_has_one_number_and_can_be_read_by_it_or_its_id(storage, objects):
    with storage.write() as txn:
        assert objects.put(txn, BlobId, b"one") == (1, True)
        assert objects.put(txn, BlobId, b"two") == (2, True)
        assert objects.put(txn, BlobId, b"one") == (1, False)
        assert objects.put(txn, NoteId, b"one") == (3, True)
        assert txn.records() == 3
    with storage.read() as txn:
        assert objects.get(txn, 2) == objects.read(txn, BlobId.of(b"two")) == b"two"
        assert objects.get(txn, 3) == objects.recall(txn, NoteId.of(b"one")) == b"one"
        assert (find(txn, BlobId.of(b"one")), find(txn, NodeId.of(b"one"))) == (1, 0)
        assert [id_of(txn, number) for number in (1, 2, 3)] == [BlobId.of(b"one"), BlobId.of(b"two"), NoteId.of(b"one")]
        assert [kind_of(txn, number) for number in (1, 2, 3)] == [BlobId, BlobId, NoteId]
        assert (list(newest(txn, BlobId)), list(newest(txn, NoteId)), list(newest(txn, RunId))) == ([2, 1], [3], [])


def test_what_is_not_there_is_said_to_be_missing(storage, objects):
    with storage.read() as txn:
        with pytest.raises(NotFound, match=str(BlobId.of(b"x"))):
            objects.read(txn, BlobId.of(b"x"))
        with pytest.raises(Damaged, match="object number 7 is missing"):
            objects.get(txn, 7)
        with pytest.raises(Damaged, match="object number 7 is missing"):
            id_of(txn, 7)


@pytest.mark.parametrize(
    ("data", "form"),
    [(b"", RAW), (b"short", RAW), (b"\0" * 10_000, ZSTD), (noise(1000), RAW), (noise(FILE_BYTES + 1), FILE)],
)
def test_bytes_are_stored_in_the_form_that_suits_them(storage, objects, data, form):
    number = put(storage, objects, data)
    assert codec(storage, number) == form
    assert get(storage, objects, number) == data
    with storage.read() as txn:
        assert size_of(read_record(txn.record(number), number), number) == len(data)


def test_one_changed_place_costs_its_own_bytes(storage, objects):
    base = put(storage, objects, source(1))
    number = put(storage, objects, source(0.002), base)
    assert codec(storage, number) == SPLICE
    with storage.read() as txn:
        packed = packed_of(txn, number)
        assert (packed.base, packed.depth, packed.size) == (base, 1, len(source(0.002)))
        assert len(txn.record(number)) < 1 + SIZE + 20
        assert (root_of(txn, number), root_of(txn, base), packed_of(txn, base)) == (base, base, None)
    assert get(storage, objects, number) == source(0.002)


def test_changed_places_far_apart_cost_few_bytes(storage, objects):
    base = put(storage, objects, source(1))
    number = put(storage, objects, source(0.002, 17), base)
    assert codec(storage, number) == DELTA
    with storage.read() as txn:
        assert len(packed_of(txn, number).payload) <= 80
    assert get(storage, objects, number) == source(0.002, 17)


def test_chains_are_bounded_in_depth_and_in_bytes(storage, objects):
    random, data, base = Random(1), source(0), 0
    versions = []
    for number in range(300):
        at, other = random.randrange(len(data)), random.randrange(len(data))
        data = data[:at] + (random.randbytes(2000) if number % 50 == 10 else b"%d" % number) + data[at:]
        data = data[:other] + b"#" * (number % 3) + data[other:]
        base = put(storage, objects, data, base)
        versions.append(data)
    fresh = Objects(objects._files)
    with storage.read() as txn:
        assert [fresh.get(txn, number) for number in range(1, 301)] == versions
        packed = {number: packed_of(txn, number) for number in range(1, 301)}
    assert {codec(storage, number) for number in packed} == {ZSTD, DELTA, SPLICE}
    assert max(one.depth for one in packed.values() if one) == MAX_DEPTH
    for one in filter(None, packed.values()):
        under = packed[one.base]
        assert one.depth == (under.depth if under else 0) + 1
        assert one.chain == len(one.payload) + (under.chain if under else 0)
        assert one.chain <= one.size // 2


def test_a_chain_at_its_longest_begins_anew_from_its_full_version(storage, objects):
    base = put(storage, objects, source(0))
    numbers = [base := put(storage, objects, source(value), base) for value in range(1, MAX_DEPTH + 3)]
    with storage.read() as txn:
        assert [packed_of(txn, number).depth for number in numbers] == [*range(1, MAX_DEPTH + 1), 1, 2]
        assert packed_of(txn, numbers[-2]).base == 1


def test_a_base_that_is_not_like_the_object_is_no_base(storage, objects):
    base = put(storage, objects, noise(5000, 1))
    assert codec(storage, put(storage, objects, noise(5000, 2), base)) == RAW


def test_a_long_file_may_differ_from_its_base_anywhere(storage, objects):
    """Matches far apart are found, so that one edit of a large file is small as well."""
    data = noise(3 << 20)
    base = put(storage, objects, data)
    edited = b"first" + data[100:1000] + b"middle" + data[2000:] + b"last"
    number = put(storage, objects, edited, base)
    with storage.read() as txn:
        assert len(packed_of(txn, number).payload) < 10_000
    assert codec(storage, number) == DELTA
    assert get(storage, objects, number) == edited


# --- files ---


def test_large_blobs_are_files(storage, objects, tmp_path):
    data = noise(200_000)
    id = BlobId.of(data)
    put(storage, objects, data)
    file = tmp_path / "blobs" / str(id)[:2] / str(id)[2:]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert decompress(file.read_bytes(), len(data)) == data
    assert list(BlobFiles(tmp_path / "blobs").names()) == [id]


def test_a_blob_that_may_be_removed_some_day_is_a_file_however_small_it_packs(storage, objects, tmp_path):
    with storage.write() as txn:
        numbers = [objects.put(txn, BlobId, data, file_over=1000)[0] for data in (bytes(1000), bytes(1001))]
    assert [codec(storage, number) for number in numbers] == [ZSTD, FILE]
    assert list(BlobFiles(tmp_path / "blobs").names()) == [BlobId.of(bytes(1001))]
    assert get(storage, objects, numbers[1]) == bytes(1001)


def test_a_file_that_another_user_may_not_read_would_be_no_shared_store(storage, objects, tmp_path):
    put(storage, objects, noise(100_000))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    (tmp_path / "plain").touch()
    assert file.stat().st_mode & 0o044 == (tmp_path / "plain").stat().st_mode & 0o044


def test_a_file_is_written_once(objects, storage, tmp_path):
    files, data = BlobFiles(tmp_path), noise(100)
    files.save(BlobId.of(data), data)
    files.path(BlobId.of(data)).write_bytes(b"")
    files.save(BlobId.of(data), data)
    assert files.path(BlobId.of(data)).read_bytes() == b""


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
    number = put(storage, objects, data)
    file = BlobFiles(tmp_path / "blobs").path(BlobId.of(data))
    frame = file.read_bytes()
    flipped = frame[:5000] + bytes([frame[5000] ^ 1]) + frame[5001:]
    file.write_bytes({"cut": frame[:-1], "flipped": flipped, "other": compress(noise(100_000, 9))}.get(harm, b""))
    if harm == "missing":
        file.unlink()
    with storage.read() as txn, pytest.raises(Damaged, match=str(BlobId.of(data))):
        objects.get(txn, number)


# --- damage ---


def bend(storage, number, data):
    """Other bytes where a record is."""
    storage._records[number - 1] = data


def record_of(storage, number):
    with storage.read() as txn:
        return txn.record(number)


@pytest.mark.parametrize("data", [b"plain", b"\0" * 1000, source(1)])
def test_other_bytes_under_an_id_are_damage_and_the_id_is_named(storage, objects, data):
    put(storage, objects, data)
    other = record_of(storage, put(storage, objects, data[:-1] + b"?"))
    bend(storage, 1, other[:1] + BlobId.of(data) + other[1 + SIZE :])
    with storage.read() as txn, pytest.raises(Damaged, match=f"blob {BlobId.of(data)} holds other bytes"):
        objects.get(txn, 1)


@pytest.mark.parametrize("value", [source(2), source(2, 3)])
def test_a_change_to_another_base_is_damage(storage, objects, value):
    first, second = put(storage, objects, source(1)), put(storage, objects, noise(30_000))
    number = put(storage, objects, value, first)
    with storage.read() as txn:
        packed = packed_of(txn, number)
    rest = write_packed(number, packed._replace(base=second))
    bend(storage, number, write_record(BlobId, codec(storage, number), BlobId.of(value), rest))
    with storage.read() as txn, pytest.raises(Damaged, match=str(BlobId.of(value))):
        objects.get(txn, number)


def test_a_chain_without_an_end_is_damage(storage, objects):
    put(storage, objects, b"x" * 100)
    with storage.write() as txn:
        for number in range(2, MAX_DEPTH + 5):
            rest = write_packed(number, Packed(100, number - 1, 2, 1, b"\x64\x00"))
            txn.log(write_record(BlobId, SPLICE, BlobId.of(b"x" * 100), rest))
    with storage.read() as txn:
        assert objects.get(txn, MAX_DEPTH + 1) == b"x" * 100
        with pytest.raises(Damaged, match=f"blob {BlobId.of(b'x' * 100)}.*no end"):
            objects.get(txn, MAX_DEPTH + 4)
        with pytest.raises(Damaged, match="no end"):
            root_of(txn, MAX_DEPTH + 4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        bytes([0 << 4 | 9]) + bytes(40),  # no such codec
        bytes([8 << 4 | RAW]) + bytes(40),  # no such kind
        bytes([RAW]) + bytes(31),
        bytes([SPLICE]) + bytes(32),
        bytes([SPLICE]) + bytes(32) + b"\x05\x00\x01\x01",  # lies 0 after its base
        bytes([SPLICE]) + bytes(32) + b"\x05\x07\x01\x01",  # begins before the log does
        bytes([DELTA]) + bytes(32) + b"\xff" * 12,  # a number without an end
        bytes([ZSTD]) + bytes(32) + b"\x05none",
        bytes([NODE]) + bytes(32) + b"\x01",  # a blob that would be a node
        bytes([1 << 4 | FILE]) + bytes(32) + b"\x01",  # a tree that would be a file
        bytes([2 << 4 | NODE]) + bytes(32),
        bytes([2 << 4 | NODE]) + bytes(32) + b"\x00",
        bytes([2 << 4 | NODE]) + bytes(32) + b"\x09",
        bytes([1 << 4 | TREE]) + bytes(32) + b"\x05",
        bytes([1 << 4 | TREE]) + bytes(32) + b"\x05\x00\x02\xff\xfe\x01\x01",  # a path that is no text
        bytes([1 << 4 | TREE]) + bytes(32) + b"\x05\x00\x01a\x07\x01",  # no such mode
        bytes([1 << 4 | TREE]) + bytes(32) + b"\x05\x00\x01a\x00\x05",
        bytes([1 << 4 | TREE]) + bytes(32) + b"\x05\x01\x08\x00\x01",
        bytes([4 << 4 | REFS]) + b"\x05\x01\x00\x00",
        bytes([4 << 4 | REFS]) + b"\x05\x02\x00\x01",
    ],
)
def test_a_record_that_cannot_be_is_damage(storage, objects, data):
    put(storage, objects, b"something before it")
    number = put(storage, objects, b"something else")
    bend(storage, number, data)
    with storage.read() as txn, pytest.raises(Damaged):
        objects.get(txn, number)


def test_every_changed_bit_of_a_record_is_noticed_or_harmless(storage, objects):
    """Whatever happens to a record that carries its id, reading it gives the right bytes or says that it is damaged."""
    base = put(storage, objects, source(1))
    for data, under in ((b"raw", 0), (b"\0" * 1000, 0), (source(2), base), (source(2, 2), base)):
        number = put(storage, objects, data, under)
        right = record_of(storage, number)
        for bit in range(8 * len(right)):
            bent = bytearray(right)
            bent[bit // 8] ^= 1 << bit % 8
            bend(storage, number, bytes(bent))
            with storage.read() as txn:
                try:
                    found = objects.get(txn, number)
                    assert found == data or id_of(txn, number).of(found) == id_of(txn, number)
                except Damaged:
                    continue
        bend(storage, number, right)


def test_a_transaction_that_is_given_up_leaves_no_decoded_object(storage, objects):
    """The same number, given again, means another object."""
    notes = [Note(NodeId.of(b"n"), "", 0, "remark", text) for text in ("given up", "kept")]
    with pytest.raises(KeyError):
        put_and_fail(storage, objects, notes[0])
    number = put(storage, objects, encode(notes[1]), kind=NoteId)
    with storage.read() as txn:
        assert (number, objects.load(txn, number)) == (1, notes[1])


def put_and_fail(storage, objects, note):
    with storage.write() as txn:
        objects.load(txn, objects.put(txn, NoteId, encode(note))[0])
        raise KeyError


# --- what names other objects ---


@pytest.fixture
def project(storage, objects):
    """A tree of 100 files; its entries and its number."""
    with storage.write() as txn:
        clear(txn)
        for number in range(100):
            objects.put(txn, BlobId, bytes([number]))
        entries = [Entry(f"file{number}", Mode.FILE, BlobId.of(bytes([number]))) for number in range(100)]
        _, number, new = objects.put_tree(txn, Tree.of(entries))
        assert new
    return entries, number


def test_a_tree_is_the_changes_to_a_whole_one(storage, objects, project):
    entries, base = project
    blob = put(storage, objects, b"new")
    trees = [Tree.of(entries)]
    numbers = [base]
    for name in ("file50", "file7", "added", "file99"):
        kept = [entry for entry in trees[-1] if entry.path != name]
        trees.append(Tree.of([*kept, Entry(name, Mode.EXECUTABLE, BlobId.of(b"new"))] if name != "file7" else kept))
        with storage.write() as txn:
            numbers.append(objects.put_tree(txn, trees[-1], numbers[-1])[1])
    fresh = Objects(objects._files)
    with storage.read() as txn:
        assert [fresh.load(txn, number) for number in numbers] == trees
        assert [fresh.get(txn, number) for number in numbers] == [encode(tree) for tree in trees]
        assert [read_tree(txn.record(number)[33:], number)[1] for number in numbers] == [0, base, base, base, base]
        assert all(len(txn.record(number)) < 100 for number in numbers[1:])
        assert find(txn, TreeId.of(encode(trees[2]))) == numbers[2]
    assert blob < numbers[1]


def test_a_tree_that_is_quite_another_one_is_whole(storage, objects, project):
    entries, base = project
    with storage.write() as txn:
        _, number, _ = objects.put_tree(txn, Tree.of(entries[:40]), base)
        assert read_tree(txn.record(number)[33:], number)[1] == 0
        assert objects.put_tree(txn, Tree.of(entries), number) == (TreeId.of(encode(Tree.of(entries))), base, False)


def test_the_order_of_paths_is_that_of_their_bytes(storage, objects):
    paths = ["a", "a.b", "b/c", "ä", "\U0001f525", "\uffee", "Z"]
    put(storage, objects, b"x")
    tree = Tree.of([Entry(path, Mode.FILE, BlobId.of(b"x")) for path in paths])
    more = Tree.of([*tree, Entry("\U0001f526", Mode.FILE, BlobId.of(b"x"))])
    with storage.write() as txn:
        _, base, _ = objects.put_tree(txn, tree)
        _, number, _ = objects.put_tree(txn, more, base)
    fresh = Objects(objects._files)
    with storage.read() as txn:
        assert (fresh.load(txn, base), fresh.load(txn, number)) == (tree, more)


def test_a_tree_needs_its_blobs(storage, objects):
    with storage.write() as txn, pytest.raises(Refused, match=r"the content of missing\.py is not at hand"):
        objects.put_tree(txn, Tree.of([Entry("missing.py", Mode.FILE, BlobId.of(b"x"))]))


def put_node(txn, objects, node):
    id, record, new = objects.put_node(txn, node)
    if new:
        enter(txn, id, add(txn, objects, record, node))
    return record


def test_a_node_is_a_few_bytes_beside_its_id(storage, objects, project):
    tree = TreeId.of(encode(Tree.of(project[0])))
    seed = Node.of([], tree)
    below = [Node.of([NodeId.of(encode(seed))], tree)]
    both = Node.of([NodeId.of(encode(seed)), NodeId.of(encode(below[0]))], tree)
    with storage.write() as txn:
        numbers = [put_node(txn, objects, node) for node in (seed, *below, both)]
        assert [len(txn.record(number)) for number in numbers] == [1 + SIZE + 1, 1 + SIZE + 2, 1 + SIZE + 3]
        assert objects.put_node(txn, below[0]) == (NodeId.of(encode(below[0])), 2, False)
    fresh = Objects(objects._files)
    with storage.read() as txn:
        assert [fresh.load(txn, number) for number in numbers] == [seed, *below, both]
        assert fresh.read(txn, NodeId.of(encode(both))) == encode(both)
        assert [id_of(txn, number) for number in numbers] == [NodeId.of(encode(node)) for node in (seed, *below, both)]


def test_what_a_node_names_must_be_there(storage, objects):
    with storage.write() as txn:
        clear(txn)
        with pytest.raises(Damaged, match=r"tree .* is referred to but not in the store"):
            objects.put_node(txn, Node.of([], TreeId.of(b"")))
        with pytest.raises(Damaged, match=r"node .* is referred to but not in the store"):
            objects.put_node(txn, Node.of([NodeId.of(b"")], TreeId.of(b"")))


@pytest.mark.parametrize(("text", "form"), [("short", REFS), ("long " * 1000, REFS_ZSTD)])
def test_ids_in_an_object_cost_a_few_bytes(storage, objects, project, text, form):
    seed = Node.of([], TreeId.of(encode(Tree.of(project[0]))))
    note = Note(NodeId.of(encode(seed)), "ada", 1, "remark", text)
    with storage.write() as txn:
        put_node(txn, objects, seed)
        number, _ = objects.put(txn, NoteId, encode(note), names=names_of(note))
        assert note.node not in txn.record(number)
        assert len(txn.record(number)) < 60
    assert codec(storage, number) == form
    fresh = Objects(objects._files)
    with storage.read() as txn:
        assert (fresh.load(txn, number), id_of(txn, number)) == (note, NoteId.of(encode(note)))
        assert size_of(read_record(txn.record(number), number), number) == len(encode(note))


def test_bytes_that_look_like_ids_are_no_harm(storage, objects, project):
    """An id may stand in somebody's text, and even overlap with another one there."""
    tree = TreeId.of(encode(Tree.of(project[0])))
    ids, nodes = {}, [Node.of([], tree)]
    with storage.write() as txn:
        while not any(other[0] == id[-1] for id in ids for other in ids if other != id):
            put_node(txn, objects, nodes[-1])
            ids[NodeId.of(encode(nodes[-1]))] = nodes[-1]
            nodes.append(Node.of([NodeId.of(encode(nodes[-1]))], tree))
    one, other = next((id, other) for id in ids for other in ids if other != id and other[0] == id[-1])
    text = one + other[1:] + b"between" + one + one[:-1]
    sides = (Side((one,), text), Side((other,), b""))
    adoption = Adoption(one, one, (other,), (Decision("a", "b", "c", (one,), sides, True),), "ada", 1)
    number = put(storage, objects, encode(adoption), 0, type(names_of(adoption)[0]), names_of(adoption))
    assert get(storage, Objects(objects._files), number) == encode(adoption)


def test_decoded_objects_are_kept_within_bounds(storage, objects, project, monkeypatch):
    monkeypatch.setattr(module, "MAX_DECODED", 3)
    tree = TreeId.of(encode(Tree.of(project[0])))
    with storage.write() as txn:
        nodes = [Node.of([], tree)]
        for _ in range(10):
            nodes.append(Node.of([NodeId.of(encode(nodes[-1]))], tree))
        numbers = [put_node(txn, objects, node) for node in nodes]
    with storage.read() as txn:
        for _ in range(2):
            assert [objects.load(txn, number) for number in numbers] == nodes
            assert len(objects._decoded) <= 3


# --- ids by their beginning ---


@pytest.fixture
def crowd(storage, objects):
    """Ids of 2,000 blobs, enough for common prefixes of 4 digits, among as many others."""
    datas = [number.to_bytes(2, "big") for number in range(2000)]
    with storage.write() as txn:
        for data in datas:
            objects.put(txn, NoteId, data)
            objects.put(txn, BlobId, data)
            objects.put(txn, RunId, data)
    return sorted(BlobId.of(data) for data in datas)


@pytest.mark.parametrize("digits", [0, 1, 2, 3, 4, 5, 8, 9, 64])
def test_ids_are_found_by_any_prefix(storage, crowd, digits):
    with storage.read() as txn:
        for id in crowd[::100]:
            prefix = str(id)[:digits]
            expected = [other for other in crowd if str(other).startswith(prefix)]
            assert with_prefix(txn, BlobId, prefix, 5000) == expected
            assert with_prefix(txn, BlobId, prefix, 2) == expected[:2]


@pytest.mark.parametrize("prefix", ["f", "ff", "fff", "ffff", "0", "00", "ffffffffffff"])
def test_prefixes_at_the_ends(storage, crowd, prefix):
    with storage.read() as txn:
        assert with_prefix(txn, BlobId, prefix, 5000) == [id for id in crowd if str(id).startswith(prefix)]


def test_short_ids_are_unique_and_no_longer_than_needed(storage, crowd):
    with storage.read() as txn:
        shorts = [short(txn, id, least=2) for id in crowd]
        assert len(set(shorts)) == len(crowd)
        for id, text in zip(crowd, shorts, strict=True):
            assert with_prefix(txn, BlobId, text, 2) == [id]
            assert len(text) == 2 or len(with_prefix(txn, BlobId, text[:-1], 2)) == 2
        assert all(short(txn, id) == str(id)[:8] for id in crowd)


def test_the_only_object_of_its_kind_has_a_short_id(storage, objects):
    put(storage, objects, b"x")
    with storage.read() as txn:
        assert short(txn, BlobId.of(b"x")) == str(BlobId.of(b"x"))[:8]


TWINS = [(BlobId, b"638", b"144475"), (NoteId, b"8642", b"10282")]
"""Bytes whose ids agree in the first 32 bits."""


@pytest.mark.parametrize(("kind", "one", "other"), TWINS)
def test_ids_that_begin_alike_are_told_apart(storage, objects, kind, one, other):
    ids = sorted([kind.of(one), kind.of(other)])
    assert ids[0][:4] == ids[1][:4]
    put(storage, objects, one, kind=kind)
    with storage.read() as txn:
        assert (find(txn, kind.of(one)), find(txn, kind.of(other))) == (1, 0)
        assert short(txn, kind.of(one)) == str(kind.of(one))[:8]
    put(storage, objects, other, kind=kind)
    with storage.read() as txn:
        assert (find(txn, kind.of(one)), find(txn, kind.of(other))) == (1, 2)
        assert objects.read(txn, kind.of(other)) == other
        assert [with_prefix(txn, kind, str(id)[:12], 5) for id in ids] == [[id] for id in ids]
        for digits in range(9):
            assert with_prefix(txn, kind, str(ids[0])[:digits], 5) == ids
        shorts = [short(txn, id) for id in ids]
        assert shorts == [str(id)[: len(shorts[0])] for id in ids]
        assert 8 < len(shorts[0]) < 64
        assert shorts[0][:-1] == shorts[1][:-1]


# --- packing ---


@pytest.mark.parametrize("data", [b"", b"a", noise(100), b"x" * 100_000, noise(1 << 20)])
@pytest.mark.parametrize("prefix", [b"", b"short", noise(100)])
def test_frames_unpack_to_what_was_packed(data, prefix):
    assert decompress(compress(data, prefix), len(data), prefix) == data


def test_frames_carry_a_checksum():
    frame = compress(b"x" * 1000)
    with pytest.raises(Damaged):
        decompress(frame[:-1] + bytes([frame[-1] ^ 1]), 1000)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_splices_give_back_what_was_spliced(data, base):
    head, tail, middle = splice(data, base)
    assert unsplice(head, tail, middle, len(data), base) == data
    assert not middle or head + tail <= min(len(data), len(base))


@pytest.mark.parametrize(("head", "tail", "size"), [(3, 3, 8), (2, 2, 7), (6, 0, 8), (0, 6, 8)])
def test_a_splice_that_does_not_fit_is_damage(head, tail, size):
    with pytest.raises(Damaged, match=f"{size} bytes"):
        unsplice(head, tail, b"xy", size, b"base!")


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
