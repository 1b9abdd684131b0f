"""A power cut: the log ends anywhere behind the last sync, the index is gone or torn, and the machine was restarted."""

import os
import random
import shutil

import pytest

import dagstore
from cli.main import main
from dagstore import Status
from dagstore.log import Gap, frames
from dagstore.testing.builders import make_child, make_run, make_store, measure

OTHER_BOOT = "00000000-1111-2222-3333-444444444444"
CUTS = 24
LARGE = os.urandom(70_000)


class Template:
    """A store, and how it looked after each transaction of its log."""

    def __init__(self, path):
        self.looks = {}
        with make_store(path) as store:
            self.root = store.root
            self.folder = store.folder
            self._live(store)
        self.data = (self.folder / "log").read_bytes()
        self.frames = list(frames(self._read))
        assert not any(isinstance(frame, Gap) for frame in self.frames)
        self.ends = [frame.end for frame in self.frames if frame.last]
        assert self.ends[-1] == len(self.data)
        self.looks = {count: look for count, look in self.looks.items() if count}

    def _read(self, offset, length):
        return self.data[offset : offset + length]

    def _live(self, store):
        self._after(store)
        for number in range(4):
            workspace = store.spawn("@seed", agent="ada").workspace
            self._after(store)
            with open(f"{workspace}/train.py", "w") as file:
                file.write(f"print({number})\n" * (1 + 2000 * (number == 1)))
            for part in range(6 * (number == 2)):  # several frames
                with open(f"{workspace}/{part}.bin", "wb") as file:
                    file.write(random.Random(part).randbytes(3000))
            with open(f"{workspace}/large.bin", "wb") as file:
                file.write(LARGE * (number == 3))
            self._after(store, store.seal(workspace))
            self._after(store, store.name(f"name-{number % 2}", "@last"))
        self._after(store, store.queue(["@last", "@seed"], repeat=2))
        taken = store.take("trainer", 1000)
        self._after(store, taken)
        run, protocol = make_run(store, taken.ticket.node, 0.5)
        self._after(store, store.complete(taken.claim, run, protocol, {"log": b"step 1\n" * 100}))
        self._after(store, measure(store, "@seed", 0.7, Status.CRASHED))
        self._after(store, store.note("@last", "the last word"))

    def _after(self, store, _=None):
        """Remember how the store looks after so many transactions."""
        data = (store.folder / "log").read_bytes()
        ended = (frame for frame in frames(lambda offset, length: data[offset : offset + length]) if frame.last)
        self.looks[sum(1 for _ in ended)] = look(store)

    def expected(self, cut):
        """How a store with a log of so many bytes looks; None if it never began."""
        return self.looks.get(sum(1 for end in self.ends if end <= cut))

    def copy(self, to, *, index="gone", data=None):
        """The store after a power cut that left `data` of the log, and the index in that state."""
        shutil.copytree(self.root, to)
        (to / ".dag" / "log").write_bytes(self.data if data is None else data)
        DAMAGE[index](to / ".dag" / "index" / "data.mdb")
        forget_boot(to / ".dag")
        return to


def look(store):
    """All that a user can see of a store."""
    with store._storage.read() as txn:
        kept = {table: dict(txn.scan(table)) for table in ("meta", "state")}
    nodes = sorted(node.node.id for node in store.subtree("@seed", limit=1000).nodes)
    files = {node: {entry.path: store.cat(node, entry.path) for entry in store.files(node)} for node in nodes}
    answers = [getattr(store, name)() for name in ("names", "claims", "tickets", "runs", "board", "frontier", "count")]
    return files, kept, [repr(answer) for answer in answers]


def gone(file):
    shutil.rmtree(file.parent)


def garbled(file):
    file.write_bytes(random.Random(1).randbytes(file.stat().st_size))


def torn(file):
    """Every other page never reached the disk."""
    pages = file.read_bytes()
    with open(file, "r+b") as out:
        for offset in range(4096, len(pages), 8192):
            out.seek(offset)
            out.write(bytes(4096))


def cut_off(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def whole(file):
    """Whole as it is, it may be of another moment than the log."""


DAMAGE = {made.__name__: made for made in (gone, garbled, torn, cut_off, empty, whole)}


def forget_boot(folder):
    """Let the store say that it was in use when the machine stopped."""
    from dagstore.presence import NAME, _identity

    words = (folder / NAME).read_text("ascii").split()
    words[2:5] = ["dirty", _identity(folder / "index" / "data.mdb"), OTHER_BOOT]
    line = " ".join(word.ljust(width) for word, width in zip(words[2:], (5, 52, 36, 36, 20), strict=True))
    (folder / NAME).write_text(f"dagstore-presence 1 {line}\n", "ascii")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Template(tmp_path_factory.mktemp("template"))


def assert_as_it_was(root, expected):
    """The store shows exactly that, can be written, and shows it again."""
    with dagstore.open(root) as store:
        assert look(store) == expected
        assert store.fsck("full").findings == ()
        node = make_child(store, "@seed", {"train.py": "print('after the cut')\n"})
    with dagstore.open(root) as store:
        assert store.cat(node, "train.py") == b"print('after the cut')\n"
        assert store.fsck("full").findings == ()


def test_nothing_is_lost_whatever_became_of_the_index(template, tmp_path):
    for index in DAMAGE:
        root = template.copy(tmp_path / index, index=index)
        assert_as_it_was(root, template.expected(len(template.data)))


def test_a_log_that_ends_between_two_frames_holds_every_transaction_that_is_whole(template, tmp_path):
    assert len(template.frames) > len(template.ends) + 2  # some transactions have several frames
    damage = list(DAMAGE)
    for number, frame in enumerate(template.frames):
        if template.expected(frame.end) is not None:
            index = damage[number % len(damage)]
            root = template.copy(tmp_path / str(number), index=index, data=template.data[: frame.end])
            assert_as_it_was(root, template.expected(frame.end))


def test_a_log_that_ends_anywhere_holds_every_transaction_that_is_whole(template, tmp_path):
    chance = random.Random(5)
    for number in range(CUTS):
        cut = chance.randrange(template.ends[0], len(template.data))
        rest = (b"", bytes(5000), chance.randbytes(3000), template.data[cut : cut + 9] + bytes(4096))[number % 4]
        root = template.copy(tmp_path / str(number), data=template.data[:cut] + rest)
        assert_as_it_was(root, template.expected(cut))


def test_a_transaction_whose_first_frames_never_reached_the_disk_does_not_count(template, tmp_path):
    """The file system may write the end of the log before what lies in front of it."""
    groups = [
        [one for one in template.frames if low < one.end <= high]
        for low, high in zip([0, *template.ends[:-1]], template.ends, strict=True)
    ]
    place, group = max(enumerate(groups[1:], start=1), key=lambda pair: len(pair[1]))
    assert len(group) > 2
    first = group[0]
    until = template.data[: group[-1].end]
    torn_log = until[: first.offset] + bytes(first.size) + until[first.end :]
    root = template.copy(tmp_path / "project", data=torn_log)
    assert_as_it_was(root, template.looks[place])


def test_a_question_on_the_command_line_waits_for_the_index_and_is_answered(template, tmp_path, capsys):
    root = template.copy(tmp_path / "project", index="torn")
    with pytest.raises(SystemExit) as stop:
        main(["-C", str(root), "log", "--json"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(str(node) in said for node in template.expected(len(template.data))[0])


def test_a_cut_while_the_store_was_being_made_leaves_room_for_a_new_one(template, tmp_path):
    root = template.copy(tmp_path / "project", data=template.data[: template.ends[0] - 1])
    with pytest.raises(dagstore.NotFound) as caught:
        dagstore.open(root)
    assert "dag init" in caught.value.hint
    dagstore.init(root)
    with dagstore.open(root) as store:
        assert (store.count(), store.fsck("full").findings) == (1, ())
