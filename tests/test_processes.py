"""A store under real processes: many writers, killed ones, forks, readers beside writers, no permission, no space."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import dagstore
from dagstore.storage import TABLES
from dagstore.testing.builders import make_child, make_store, measure

PATIENCE = 60
WORKERS, SEALS = 8, 25

COMMON = """
import sys
from pathlib import Path
import dagstore

def say(*words):
    print(*words, flush=True)

def change(store, text, agent):
    workspace = Path(store.spawn("@seed", agent=agent).workspace)
    (workspace / "train.py").write_text(text)
    return store.seal(workspace)

def expect(kind, work):
    try:
        work()
    except kind as error:
        say(type(error).__name__, error.code, bool(error.hint), str(error).replace("\\n", " "))
    else:
        say("nothing was raised")

root = sys.argv[1]
"""

SEAL_MANY = """
store = dagstore.open(root)
say("ready")
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    sealed = change(store, f"print({sys.argv[2]}, {number})\\n", sys.argv[2])
    say(sealed.node, sealed.known)
"""

SEAL_THE_SAME = """
store = dagstore.open(root)
workspace = Path(store.spawn("@seed").workspace)
(workspace / "train.py").write_text("print('the same')\\n")
say("ready")
sys.stdin.readline()
sealed = store.seal(workspace)
say(sealed.node, sealed.known)
"""

SEAL_FOR_EVER = """
import itertools, os
store = dagstore.open(root)
for number in itertools.count():
    text = f"print({sys.argv[2]}, {number})\\n" + os.urandom(60_000).hex() * (number % 3 == 0)
    say(change(store, text, sys.argv[2]).node)
"""

FORK = """
import os
store = dagstore.open(root)
count = store.count()
child = os.fork()
if not child:
    expect(dagstore.Refused, store.count)
    expect(dagstore.Refused, lambda: store.note("@seed", "from a fork"))
    expect(dagstore.Refused, lambda: dagstore.open(root))
    store.close()
    os._exit(0)
os.waitpid(child, 0)
store.note("@seed", "the parent goes on")
store.close()
child = os.fork()
if not child:
    with dagstore.open(root) as again:
        say("opened after the fork", again.count() == count)
    os._exit(0)
os.waitpid(child, 0)
"""

READ_ONLY = """
import errno, os, shutil, tempfile

def use(root):
    with dagstore.open(root) as store:
        say(store.count(), len(store.frontier().nodes), store.fsck("full").clean, len(store.cat("@last", "large.bin")))
        expect(dagstore.Unavailable, lambda: store.note("@seed", "no"))
        expect(dagstore.Unavailable, lambda: store.spawn("@seed"))
    expect(dagstore.Refused, lambda: dagstore.init(root))

use(sys.argv[2])  # imports all that is needed: another user may not read this interpreter
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
say("now")
use(root)
"""

FILL_UP = """
import os, random, resource
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
ballast = Path(root) / "ballast"
ballast.write_bytes(bytes(0 if limit else 2 << 20))
store = dagstore.open(root)
chance = random.Random(int(sys.argv[3]))
try:
    for number in range(10_000):
        store.note("@seed", chance.randbytes(15_000).hex())
        if number % 10 == 0:
            store._objects._files.save(dagstore.BlobId.of(b"%d" % number), chance.randbytes(50_000))
        done = number + 1
except dagstore.Unavailable as error:
    say(done, error.code, bool(error.hint), str(error))
say(len(store.notes("@seed")))
store.close()
ballast.unlink()  # a full check needs room for its own tables
store = dagstore.open(root)
say(len(store.notes("@seed")), store.fsck("full").clean)
"""


def start(script, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", COMMON + script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process, given=""):
    """The lines that the process said; it must have ended well and without complaint."""
    out, complaints = process.communicate(given, timeout=PATIENCE)
    assert (process.returncode, complaints) == (0, "")
    return out.splitlines()


def run_at_once(script, arguments):
    """What each process said after all of them were ready."""
    processes = [start(script, *each) for each in arguments]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [finish(process) for process in processes]


@pytest.fixture
def project(tmp_path):
    with make_store(tmp_path) as store:
        return store.root


def test_writers_at_once_lose_nothing(project):
    said = run_at_once(SEAL_MANY, [(project, worker, SEALS) for worker in range(WORKERS)])
    sealed = [line.split() for lines in said for line in lines]
    assert len(sealed) == WORKERS * SEALS
    assert {known for _, known in sealed} == {"False"}
    with dagstore.open(project) as store:
        nodes = {str(node.id) for node in store.children("@seed")}
        assert nodes == {node for node, _ in sealed}
        assert store.count() == len(nodes) + 1 == WORKERS * SEALS + 1
        assert len(store.claims()) == 0
        report = store.fsck("full")
        assert (report.findings, report.nodes) == ((), WORKERS * SEALS + 1)


def test_the_same_change_by_all_at_once_is_one_node(project):
    said = run_at_once(SEAL_THE_SAME, [(project,)] * WORKERS)
    assert len({line.split()[0] for (line,) in said}) == 1
    assert sorted(line.split()[1] for (line,) in said) == ["False"] + ["True"] * (WORKERS - 1)
    with dagstore.open(project) as store:
        assert store.count() == 2
        assert store.fsck("full").clean


def test_what_a_killed_writer_acknowledged_is_there(project):
    acknowledged = []
    for round_ in range(6):
        process = start(SEAL_FOR_EVER, project, round_)
        acknowledged += [process.stdout.readline().strip() for _ in range(1 + 2 * round_)]
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=PATIENCE)
        acknowledged += [line for line in rest.splitlines() if len(line) == 64]
        with dagstore.open(project) as store:
            assert [store.resolve(node) for node in acknowledged]
            assert store.fsck("full").findings == ()
            assert len(acknowledged) <= store.count() - 1 <= len(acknowledged) + round_ + 1
            store.note("@seed", "others go on")


def test_an_open_store_does_not_cross_a_fork(project):
    said = finish(start(FORK, project))
    assert [line.split()[:3] for line in said[:3]] == [["Refused", "refused", "True"]] * 3
    assert all("fork" in line for line in said[:3])
    assert said[3:] == ["opened after the fork True"]
    with dagstore.open(project) as store:
        assert [note.text for note in store.notes("@seed")] == ["seed", "the parent goes on"]


def test_a_reader_keeps_its_moment_while_other_processes_write(project):
    with dagstore.open(project) as store:
        with store._storage.read() as txn:
            records, before = txn.records(), {table: list(txn.scan(table)) for table in TABLES}
            (said,) = run_at_once(SEAL_MANY, [(project, 0, 5)])
            assert {table: list(txn.scan(table)) for table in TABLES} == before
            assert (txn.records(), txn.settled()) == (records, records)
        assert len(said) == 5
        assert store.count() == 6


@pytest.fixture
def shared():
    """A directory that other users can reach, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="dagstore-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_store_without_write_permission_can_be_read(shared, tmp_path):
    umask = os.umask(0o022)
    try:
        with make_store(shared) as store:
            measure(store, make_child(store, "@seed", {"large.bin": os.urandom(100_000)}), 0.5)
            root = store.root
    finally:
        os.umask(umask)
    shutil.copytree(root, tmp_path / "writable")
    for path in (*shared.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    said = finish(start(READ_ONLY, root, tmp_path / "writable"))
    said = said[said.index("now") + 1 :]
    assert said[0] == "2 1 True 100000"
    assert [line.split()[:3] for line in said[1:3]] == [["Unavailable", "unavailable", "True"]] * 2
    assert "reading only" in said[1]
    assert said[3].startswith("Refused exists")


def assert_stopped_well(said):
    acknowledged, code, hint, *_ = said[0].split()
    assert (code, hint) == ("unavailable", "True")
    notes = 1 + int(acknowledged)
    assert int(acknowledged) > 0
    # A note that was recorded before its file could not be written counts as well.
    assert int(said[1]) in (notes, notes + 1)
    assert said[2] == f"{said[1]} True"


def test_a_limit_on_file_size_stops_a_writer_and_harms_nothing(project):
    said = finish(start(FILL_UP, project, 2 << 20, 1))
    assert_stopped_well(said)
    assert said[0].split()[-1] != ""
    with dagstore.open(project) as store:
        store.note("@seed", "there is room again")
        assert store.fsck("full").clean


def mounting_works(tmp_path):
    """Whether this user may mount in a namespace of its own."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_stops_a_writer_and_harms_nothing(project, tmp_path):
    """On a small file system of its own where that can be had; elsewhere another limit stands in for it."""
    if not mounting_works(tmp_path):
        assert_stopped_well(finish(start(FILL_UP, project, 1 << 20, 2)))
        return
    script = 'mount -t tmpfs -o size=6m none "$2" && cp -r "$1/.dag" "$2" && exec "$0" -c "$3" "$2" 0 2'
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, str(project), str(disk), COMMON + FILL_UP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert_stopped_well(done.stdout.splitlines())
