"""No room: a full disk or a limit on file size refuses a write, harms nothing, and later the write succeeds."""

import shutil
import subprocess

import pytest

from dagstore.testing.builders import make_store
from dagstore.testing.children import run

MOUNT = 'mount -t tmpfs -o size=6m none "$1" && shift && exec "$@"'

WRITES = """
import resource

def note(store):
    store.note("@seed", os.urandom(1_500_000).hex())

def seal_many(store):
    with store.batch() as batch:
        for number in range(400):
            batch.record(["@seed"], {f"{number}.py": b"x"})

def notes(store):
    for _ in range(10_000):
        store.note("@seed", "a few words " * 20)

def seal_large(store):
    store.seal(workspace)

def prepare(store):
    made = store.spawn("@seed").workspace
    (Path(made) / "large.bin").write_bytes(os.urandom(700_000))
    return made

def look(store):
    files = [store.cat("@seed", entry.path) for entry in store.files("@seed")]
    return len(store.subtree("@seed", limit=10_000).nodes), len(store.notes("@seed")), files

def refused(store, write):
    try:
        write(store)
    except dagstore.Unavailable as error:
        assert str(store.folder) in error.message, error.message
        assert "free some space" in error.hint
        say(error.message.removeprefix(str(store.folder)))
        return
    raise AssertionError("there was room")
"""
FULL_DISK = (
    WRITES
    + """
from dagstore.testing.builders import make_store
disk, write = Path(root), globals()[sys.argv[2]]

def fill(ballast):
    size = 1 << 16
    while size:
        try:
            ballast.write(bytes(size))
        except OSError:
            size //= 2

with make_store(disk) as store:
    workspace = prepare(store)
    store.note("@seed", "the log has room")
    seen = look(store)
    with open(disk / "ballast", "wb", buffering=0) as ballast:
        fill(ballast)
        refused(store, write)
        if write is not notes:
            assert look(store) == seen
        seen = look(store)
        fill(ballast)
        store.close()
        if len(sys.argv) > 3:
            for name in sys.argv[3:]:
                (disk / "project/.dag/index" / name).unlink()
            fill(ballast)
            try:
                dagstore.open(disk / "project")
            except dagstore.Unavailable as error:
                assert "free some space" in error.hint
        else:
            with dagstore.open(disk / "project") as store:
                assert look(store) == seen
                assert store.fsck().clean  # a full check keeps its own index on the disk
    (disk / "ballast").unlink()
with dagstore.open(disk / "project") as store:
    assert look(store) == seen
    assert store.fsck("full").clean
    if write is not notes:
        write(store)
        assert look(store) != seen
    store.note("@seed", "there is room again")
    assert store.fsck("full").clean
with dagstore.open(disk / "project") as store:
    assert store.fsck("full").clean
"""
)
LIMITED = (
    WRITES
    + """
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

write, name, room = globals()[sys.argv[2]], sys.argv[3], int(sys.argv[4])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
store = dagstore.open(root)
workspace = prepare(store)
store.note("@seed", "the log has room")
seen = look(store)
file = store.folder / name
there = file.stat() if file.is_file() else None
limit(room + (min(there.st_size, there.st_blocks * 512) if there else 0))
refused(store, write)
assert look(store) == seen
store.close()
with dagstore.open(root) as store:
    assert look(store) == seen
    assert store.fsck("full").clean
    limit(soft)
    write(store)
    assert look(store) != seen
    assert store.fsck("full").clean
with dagstore.open(root) as store:
    assert store.fsck("full").clean
"""
)


@pytest.fixture
def disk(tmp_path):
    """A command that gives what it starts a small disk of its own at the directory `disk`."""
    (tmp_path / "disk").mkdir()
    before = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", str(tmp_path / "disk")]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*before, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user cannot mount a file system in a namespace of its own")
    return tmp_path / "disk", before


@pytest.mark.parametrize("write", ["note", "seal_many", "seal_large", "notes"])
def test_a_full_disk_refuses_a_write_that_succeeds_once_there_is_room(disk, write):
    folder, before = disk
    (said,) = run(FULL_DISK, folder, write, before=before)
    assert "No space left on device" in said
    assert ("/blobs/" in said) == (write == "seal_large")


@pytest.mark.parametrize("lost", [("lock.mdb",), ("data.mdb",), ("lock.mdb", "data.mdb")], ids=str)
def test_on_a_full_disk_an_index_that_must_be_made_again_waits_for_room(disk, lost):
    """What LMDB maps into memory must be there on the disk: else the process would die by SIGBUS."""
    folder, before = disk
    run(FULL_DISK, folder, "note", *lost, before=before)


@pytest.mark.parametrize(
    ("write", "file", "room", "why"),
    [
        ("note", "log", 200_000, "File too large"),
        ("seal_many", "index/data.mdb", 8_000, "Input/output error"),  # LMDB's word for a write that was cut short
        ("seal_large", "blobs", 500_000, "File too large"),
    ],
)
def test_a_limit_on_file_size_refuses_a_write_that_succeeds_without_it(tmp_path, write, file, room, why):
    with make_store(tmp_path) as store:
        root = store.root
    (said,) = run(LIMITED, root, write, file, room)
    assert why in said
    assert ("/blobs/" in said) == (write == "seal_large")
