"""Trees into directories: nothing outside, nothing half done, and a stat cache that can be trusted at once."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dagstore.errors import BadInput, Damaged, Refused, Unavailable
from dagstore.ids import BlobId
from dagstore.materialise import materialise
from dagstore.model import Entry, Mode, Tree
from dagstore.snapshot import snapshot


def take(root, **options):
    return snapshot(root, file_limit=1 << 20, **options)


def make_tree(files):
    """A tree and its blobs from path → (mode, bytes)."""
    blobs = {BlobId.of(data): data for _, data in files.values()}
    return Tree.of(Entry(path, mode, BlobId.of(data)) for path, (mode, data) in files.items()), blobs


def test_the_root_must_be_empty(tmp_path):
    tree, blobs = make_tree({"a": (Mode.FILE, b"1")})
    materialise(tree, blobs.__getitem__, tmp_path)
    with pytest.raises(Refused, match="is not empty: it holds 'a'"):
        materialise(tree, blobs.__getitem__, tmp_path)
    with pytest.raises(Refused, match="is not a directory"):
        materialise(tree, blobs.__getitem__, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_an_empty_tree_makes_the_root(tmp_path):
    assert materialise(Tree(()), {}.__getitem__, tmp_path / "deep" / "root") == {}
    assert (tmp_path / "deep" / "root").is_dir()


def test_executables_are_and_files_are_not(tmp_path):
    tree, blobs = make_tree({"run": (Mode.EXECUTABLE, b"1"), "read": (Mode.FILE, b"2")})
    materialise(tree, blobs.__getitem__, tmp_path)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) & 0o100
    assert not stat.S_IMODE((tmp_path / "read").stat().st_mode) & 0o111


def test_the_first_snapshot_of_a_workspace_reads_nothing(tmp_path):
    tree, blobs = make_tree({"a/b": (Mode.FILE, b"1"), "c": (Mode.LINK, b"a/b")})
    cache = materialise(tree, blobs.__getitem__, tmp_path)
    taken = take(tmp_path, cache=cache, cached_at_ns=time.time_ns())
    # Links, which cost next to nothing to read, are not dated back.
    assert (taken.tree, list(taken.contents.values())) == (tree, [b"a/b"])


def test_an_edit_right_after_is_seen_and_the_rest_is_not_read(tmp_path):
    """Same size, same clock tick: only that files are dated back tells these apart."""
    tree, blobs = make_tree({name: (Mode.FILE, name.encode()) for name in ("a", "b", "sub/c")})
    for number in range(100):
        root = tmp_path / str(number)
        cache = materialise(tree, blobs.__getitem__, root)
        (root / "b").write_bytes(b"B")
        taken = take(root, cache=cache, cached_at_ns=time.time_ns())
        assert taken.contents == {BlobId.of(b"B"): b"B"}
        assert taken.tree.by_path["b"].blob == BlobId.of(b"B")


def test_a_replacement_of_the_same_size_and_date_is_seen(tmp_path):
    tree, blobs = make_tree({"a": (Mode.FILE, b"1")})
    cache = materialise(tree, blobs.__getitem__, tmp_path / "root")
    file, spare = tmp_path / "root" / "a", tmp_path / "spare"
    spare.write_bytes(b"2")
    os.utime(spare, ns=(0, file.stat().st_mtime_ns))
    spare.rename(file)
    assert list(take(tmp_path / "root", cache=cache, cached_at_ns=time.time_ns()).contents.values()) == [b"2"]


def test_files_are_one_second_old(tmp_path):
    tree, blobs = make_tree({"a": (Mode.EXECUTABLE, b"1")})
    materialise(tree, blobs.__getitem__, tmp_path / "root")
    (tmp_path / "now").touch()
    age = (tmp_path / "now").stat().st_mtime_ns - (tmp_path / "root" / "a").stat().st_mtime_ns
    assert 1e9 <= age < 60e9


@pytest.mark.parametrize("target", [b"/etc", b"../x", b"a/../..", b".git/hooks", b"", b"a\0b", b"x" * 5000])
def test_a_hostile_link_is_refused_and_nothing_stays(tmp_path, target):
    tree, blobs = make_tree({"a/file": (Mode.FILE, b"1"), "z": (Mode.LINK, target)})
    with pytest.raises(BadInput, match="'z' is a link"):
        materialise(tree, blobs.__getitem__, tmp_path / "deep" / "root")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "paths", [["../x"], ["/x"], ["a", "a"], ["a", "a/b"], ["b", "a"], [".git/config"], ["a/../../x"], ["a", "A"]]
)
def test_a_hostile_tree_is_refused(tmp_path, paths):
    tree = Tree(tuple(Entry(path, Mode.LINK, BlobId.of(b"b")) for path in paths))
    with pytest.raises(BadInput):
        materialise(tree, lambda _: b"b", tmp_path / "root")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_blob_leaves_nothing(tmp_path):
    tree, _ = make_tree({"a/b/c": (Mode.FILE, b"1"), "d": (Mode.FILE, b"2")})

    def read(blob):
        if blob == BlobId.of(b"2"):
            raise Damaged("blob is damaged")
        return b"1"

    with pytest.raises(Damaged):
        materialise(tree, read, tmp_path)
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_others_made_meanwhile_stays(tmp_path):
    tree, _ = make_tree({"a": (Mode.FILE, b"1"), "b": (Mode.FILE, b"2")})

    def read(blob):
        (tmp_path / "b").write_text("theirs")
        return b"1"

    with pytest.raises(Unavailable, match=r"cannot write .*/b: File exists"):
        materialise(tree, read, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b": "theirs"}


def test_a_folder_that_is_swapped_for_a_link_is_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    tree, _ = make_tree({"a/1": (Mode.FILE, b"1"), "a/b/2": (Mode.FILE, b"2")})

    def read(blob):
        if blob == BlobId.of(b"2"):
            (root / "a").rename(root / "moved")
            (root / "a").symlink_to(outside)
        return b""

    materialise(tree, read, root)
    assert list(outside.iterdir()) == []
    assert (root / "moved" / "b" / "2").is_file()


FULL = """
import resource, signal, sys
from pathlib import Path
from dagstore.errors import Unavailable
from dagstore.ids import BlobId
from dagstore.materialise import materialise
from dagstore.model import Entry, Mode, Tree
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
tree = Tree.of([Entry("a/small", Mode.FILE, BlobId.of(b"")), Entry("b", Mode.FILE, BlobId.of(b"b"))])
try:
    materialise(tree, lambda blob: b"" if blob == BlobId.of(b"") else b"x" * 5000, Path(sys.argv[1]) / "root")
except Unavailable as error:
    sys.exit(0 if "root/b" in error.message and error.hint else 3)
"""


def test_a_machine_that_will_not_write_is_named_and_nothing_stays(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
