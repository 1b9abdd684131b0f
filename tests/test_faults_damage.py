"""Files that were cut off or have flipped bits: what is damaged is named, the rest can be read, and repaired."""

import os
import shutil

import pytest

import dagstore
from cli.main import main
from dagstore import Damaged
from dagstore.log import frames
from dagstore.testing.builders import make_child, make_store, measure
from dagstore.testing.children import run

LARGE = os.urandom(100_000)
FLIPS = 80

LOOK = """
def look(store):
    nodes = [place.node.id for place in store.subtree("@seed", limit=1000).nodes]
    for node in nodes:
        for entry in store.files(node):
            store.cat(node, entry.path)
    return len(nodes), len(store.frontier().nodes), len(store.runs()), len(store.board()), sorted(store.names())
"""
TRY = (
    LOOK
    + """
try:
    with dagstore.open(root) as store:
        say("fine", look(store))
except dagstore.Damaged as error:
    say("damaged", error.message, error.hint)
"""
)
TRY_FLIPS = (
    LOOK
    + """
import random
chance = random.Random(int(sys.argv[3]))
with dagstore.open(root) as store:
    look(store)  # imports what the children need
file = Path(root) / ".dag/index/data.mdb"
sound = file.read_bytes()
used = len(sound.rstrip(b"\\0"))
for number in range(int(sys.argv[2])):
    damaged = bytearray(sound)
    place = chance.randrange(used) if number % 2 else chance.randrange(used // 4096) * 4096 + chance.randrange(40)
    damaged[place] ^= 1 << chance.randrange(8)
    with open(file, "r+b") as out:
        out.write(damaged)
    child = os.fork()
    if not child:
        with open(os.devnull, "w") as quiet:
            os.dup2(quiet.fileno(), 2)
        store = dagstore.open(root)
        look(store)
        if number % 4 == 0:
            store.note("@seed", "written")
        os._exit(0)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with open(file, "r+b") as out:
    out.write(sound)
"""
)


class Filled:
    """A store of five nodes, of which two have a large file."""

    def __init__(self, path):
        with make_store(path) as store:
            self.root, self.folder = store.root, store.folder
            self.nodes = [make_child(store, "@seed", {"train.py": f"print({number})\n" * 50}) for number in range(5)]
            self.large = make_child(store, self.nodes[0], {"large.bin": LARGE})
            self.last = make_child(store, self.nodes[1], {"train.py": "print('the last')\n"}, why="the last")
            measure(store, self.nodes[2], 0.5)
            store.name("good", self.nodes[2])
        self.log = self.folder / "log"
        self.index = self.folder / "index" / "data.mdb"
        self.frames = list(frames(self._read))

    def _read(self, offset, length):
        return self.log.read_bytes()[offset : offset + length]

    def frame_of(self, node):
        """The frame that a node's record is in."""
        return next(frame for frame in self.frames if any(bytes(node) in record[:40] for record in frame.records))

    def open(self):
        return dagstore.open(self.root)


@pytest.fixture
def filled(tmp_path):
    return Filled(tmp_path)


def cut(file, size):
    os.truncate(file, size)


def flip(file, offset):
    with open(file, "r+b") as data:
        data.seek(offset)
        byte = data.read(1)[0]
        data.seek(offset)
        data.write(bytes([byte ^ 4]))


def damaged(read):
    with pytest.raises(Damaged) as caught:
        read()
    assert caught.value.hint
    return caught.value.message


def assert_repaired(filled, lost):
    """A repair gives up what is lost and nothing else."""
    with filled.open() as store:
        assert store.repair()
        assert store.fsck("full").findings == ()
        assert {node.id for node in store.children("@seed")} == set(filled.nodes) - {lost}
        node = make_child(store, "@seed", {"train.py": "print('after the repair')\n"})
    with filled.open() as store:
        assert store.cat(node, "train.py") == b"print('after the repair')\n"
        assert store.fsck("full").findings == ()


def names(finding, id):
    return finding.what.split()[-1] in str(id)[: len(finding.what.split()[-1])] and finding.what.split()[0] == id.kind


# --- the log ---


@pytest.mark.parametrize("where", ["at a boundary", "in a frame"])
def test_a_log_that_was_cut_off_keeps_what_is_left(filled, where):
    frame = filled.frame_of(filled.last)
    cut(filled.log, frame.offset + (40 if where == "in a frame" else 0))
    for _ in range(2):
        with filled.open() as store:
            assert store.cat(filled.nodes[3], "train.py") == b"print(3)\n" * 50
            assert store.cat(filled.large, "large.bin") == LARGE
            assert f"node {filled.last}" in damaged(lambda: store.cat(filled.last, "train.py"))
            assert "log" in damaged(lambda: store.note("@seed", "no"))
            report = store.fsck("full")
            assert any(names(finding, filled.last) for finding in report.findings)
            assert any(finding.code == "cut_off" for finding in report.findings)
    assert_repaired(filled, filled.last)


def test_a_flipped_bit_in_the_log_costs_what_is_in_that_frame(filled):
    lost = filled.nodes[3]
    frame = filled.frame_of(lost)
    flip(filled.log, frame.offset + frame.size // 2)
    with filled.open() as store:
        for number in (0, 1, 2, 4):
            assert store.cat(filled.nodes[number], "train.py") == b"print(%d)\n" % number * 50
        assert store.frontier().nodes[0].id == filled.nodes[2]
        assert f"node {lost}" in damaged(lambda: store.cat(lost, "train.py"))
        assert any(names(finding, lost) for finding in store.fsck("full").findings)
        make_child(store, filled.nodes[4], {"train.py": "print('others go on')\n"})
    assert_repaired(filled, lost)


def test_a_flipped_bit_in_a_log_without_its_index_is_named_and_can_be_repaired(filled, capsys):
    lost = filled.nodes[3]
    frame = filled.frame_of(lost)
    flip(filled.log, frame.offset + frame.size // 2)
    shutil.rmtree(filled.index.parent)
    damaged(filled.open)
    code, said = dag(capsys, filled, "fsck", "--full")
    assert (code, "dag fsck --repair" in said) == (6, True)
    assert dag(capsys, filled, "fsck", "--repair")[0] == 0
    assert_sound(filled, 7)


# --- files of blobs ---


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: cut(file, 50_000),
        lambda file: cut(file, 0),
        lambda file: flip(file, 50_000),
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"something else"),
    ],
    ids=["cut off", "empty", "flipped", "missing", "another"],
)
def test_a_damaged_file_of_a_blob_costs_that_blob(filled, harm):
    (file,) = filled.folder.glob("blobs/*/*")
    blob = file.parent.name + file.name
    harm(file)
    with filled.open() as store:
        assert f"blob {blob}" in damaged(lambda: store.cat(filled.large, "large.bin"))
        assert store.cat(filled.large, "train.py") == b"print(0)\n" * 50
        assert store.fsck().clean
        findings = store.fsck("full").findings
        assert findings[0].what == f"blob {blob}"
        assert all(blob in finding.message for finding in findings)  # the others need it
        store.repair()
        assert store.fsck("full").findings == ()
        again = make_child(store, "@seed", {"large.bin": LARGE})
        assert store.cat(again, "large.bin") == LARGE


# --- the index ---


def dag(capsys, filled, *words):
    """Exit code and what a command line said."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["-C", str(filled.root), *words])
    said = capsys.readouterr()
    return stop.value.code, said.out + said.err


def assert_sound(filled, children):
    with filled.open() as store:
        assert store.fsck("full").findings == ()
        assert store.count() == children


@pytest.mark.parametrize("left", [0, 1, 100, 4096, 8192, 40960, "half"])
def test_an_index_that_was_cut_off_is_made_again_without_a_crash(filled, capsys, left):
    cut(filled.index, filled.index.stat().st_blocks * 512 // 2 if left == "half" else left)
    (said,) = run(TRY, filled.root)
    assert said.startswith("fine (8, 1, 1" if left == 0 else "damaged")
    assert left == 0 or "dag fsck --reindex" in said
    code, said = dag(capsys, filled, "fsck", "--reindex")
    assert (code, "clean" in said) == (0, True)
    assert_sound(filled, 8)


def test_an_index_with_a_flipped_bit_never_kills_its_reader(filled, capsys):
    said = run(TRY_FLIPS, filled.root, FLIPS, 1)
    assert len(said) == FLIPS
    assert {int(code) for code in said} <= {0, 1}
    assert dag(capsys, filled, "fsck", "--reindex")[0] == 0
    with filled.open() as store:
        assert store.fsck("full").findings == ()
        assert {node.id for node in store.children("@seed")} >= set(filled.nodes)


def test_an_index_whose_last_pages_are_free_is_not_taken_for_one_that_was_cut_off(filled):
    """LMDB does not write pages that a transaction made and gave up again."""
    with filled.open() as store, store._storage.write() as txn:
        for number in range(50):
            txn.put("hints", b"%d" % number, bytes(50_000))
        for number in range(50):
            txn.delete("hints", b"%d" % number)
    assert_sound(filled, 8)


@pytest.mark.parametrize("version", [0, 2, 999])
def test_an_index_in_another_format_of_lmdb_is_made_again(filled, capsys, version):
    data = bytearray(filled.index.read_bytes())
    for page in (0, 4096):
        assert data[page + 16 : page + 20] == b"\xde\xc0\xef\xbe"
        data[page + 20 : page + 24] = version.to_bytes(4, "little")
    with open(filled.index, "r+b") as file:
        file.write(data)
    code, said = dag(capsys, filled, "log")
    assert (code, "dag fsck --reindex" in said) == (6, True)
    code, said = dag(capsys, filled, "fsck", "--reindex", "--full")
    assert (code, "clean" in said) == (0, True)
    assert_sound(filled, 8)
