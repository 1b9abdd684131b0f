"""Unusual places to use a store from: without rights, from a fork, another container, under a strange name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dagstore
from dagstore import Refused
from dagstore.testing.builders import make_child, make_project, make_store, measure
from dagstore.testing.children import finish, hear, kill, obey_modes, run, start, tell

STRANGE = "a b 'c' \"d\" äöü 樹 $HOME;`e` -f %s"

LOOK = """
with dagstore.open(root) as store:
    say(store.count(), len(store.frontier().nodes), len(store.runs()), len(store.adoptions("@last")))
    say(len(store.cat("@last", "large.bin")), len(store.subtree("@seed").nodes), store.fsck().clean)
    store.checkout("@last", Path(sys.argv[3]) / "checkout")
    for write in (
        lambda: store.note("@seed", "no"),
        lambda: store.spawn("@seed"),
        lambda: store.queue(["@seed"], repeat=5),
        lambda: store.name("no", "@seed"),
        lambda: store.seal(sys.argv[2]),
        lambda: store.gc(),
    ):
        expect(dagstore.Unavailable, write)
"""
FORK = """
import fcntl
store = dagstore.open(root)

def in_child(act):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        act()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def use():
    expect(dagstore.Refused, store.count)
    expect(dagstore.Refused, lambda: store.note("@seed", "from a fork"))
    expect(dagstore.Refused, lambda: dagstore.open(root))

def end():
    store.close()
    sys.exit(0)  # all that an interpreter does at its end

def wild():
    child = os.fork()
    if not child:
        end()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def is_locked():
    with open(store.folder / "log", "rb") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

in_child(use)
assert store.count() == 1
wild()
in_child(store.close)
assert store.count() == 1
with store._storage.read() as txn:
    seen = txn.records()
    wild()
    in_child(store.close)
    assert [reader.pid for reader in store.readers()] == [os.getpid()]
    store.note("@seed", "written beside the reader")
    assert txn.records() == seen
with store.batch() as batch:
    node = batch.record(["@seed"], {"train.py": b"in a batch"})
    wild()
    in_child(store.close)
    assert is_locked()
try:
    with store.batch() as batch:
        batch.record(["@seed"], {"train.py": b"of both"})
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
except dagstore.Refused:
    os._exit(7 if child == 0 else 8)  # what was begun before the fork is not written twice
say(store.cat(node, "train.py").decode(), len(store.notes("@seed")), store.count())
assert store.fsck("full").clean
store.close()
"""
SPAWN = """
import multiprocessing, dagstore

def work(root, number):
    with dagstore.open(root) as store:
        return str(store.note("@seed", f"number {number} from a spawned process").id)

if __name__ == "__main__":
    import sys
    with dagstore.open(sys.argv[1]) as store, multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.starmap(work, [(sys.argv[1], number) for number in range(4)], chunksize=1)
        assert len({str(note.id) for note in store.notes("@seed")} & set(made)) == 4
        store.note("@seed", "the parent goes on")
"""
STAY = """
store = dagstore.open(root)
store.note("@seed", sys.argv[2])
say("open")
sys.stdin.readline()
store.close()
say("closed")
sys.stdin.readline()
"""
VISIT = """
expect(dagstore.Refused, lambda: dagstore.open(root))
expect(dagstore.Refused, lambda: dagstore.open(root, readonly=True))
say("refused")
sys.stdin.readline()
with dagstore.open(root) as store:
    store.note("@seed", "from the other container")
    say(len(store.notes("@seed")), store.fsck("full").clean)
"""


@pytest.fixture
def project(tmp_path):
    with make_store(tmp_path) as store:
        return store.root


# --- without rights ---


def fill(path):
    """A project with a measured node that has a large file, and a workspace that is not sealed."""
    with make_store(path) as store:
        measure(store, make_child(store, "@seed", {"large.bin": os.urandom(100_000)}), 0.5)
        workspace = Path(store.spawn("@last").workspace)
        (workspace / "train.py").write_text("print('not sealed')\n")
        return store.root, workspace


def assert_looked_only(said, root):
    assert said[:2] == ["2 1 1 0", "100000 2 True"]
    assert [line.split()[:3] for line in said[2:]] == [["Unavailable", "unavailable", "True"]] * 6
    assert all(str(root / ".dag") in line for line in said[2:])
    assert sum("reading only" in line for line in said) >= 5  # a workspace cannot even be made


@pytest.mark.parametrize("in_use", [False, True], ids=["closed", "in use"])
def test_a_store_without_write_permission_can_be_looked_at(tmp_path, in_use):
    root, workspace = fill(tmp_path / "protected")
    owner = start(STAY, root, "in use") if in_use else None
    if owner:
        assert hear(owner) == "open"
    paths = [path for path in (root, *root.rglob("*")) if not path.is_symlink()]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert_looked_only(run(LOOK, root, workspace, tmp_path, preexec_fn=obey_modes), root)
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    if owner:
        tell(owner)
        assert hear(owner) == "closed"
        finish(owner, "go\n")


def unshare(*flags):
    """A command that starts another in namespaces of its own; skips the test where that cannot be had."""
    before = ("unshare", *flags)
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
    return before


def test_a_store_on_a_medium_that_is_read_only_can_be_looked_at(tmp_path):
    root, workspace = fill(tmp_path / "medium")
    (tmp_path / "out").mkdir()
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    before = (*unshare("-Urm"), "sh", "-c", mount, "sh", str(tmp_path / "medium"))
    assert_looked_only(run(LOOK, root, workspace, tmp_path / "out", before=before), root)


# --- processes that come from others ---


def test_a_fork_cannot_use_an_open_store_nor_harm_it(project):
    said = run(FORK, project)
    assert [line.split()[:3] for line in said[:3]] == [["Refused", "refused", "True"]] * 3
    assert all("fork" in line for line in said[:3])
    assert said[3:] == ["in a batch 2 3"]
    with dagstore.open(project) as store:
        assert [note.text for note in store.notes("@seed")] == ["seed", "written beside the reader"]
        assert store.fsck("full").findings == ()


def test_spawned_processes_of_multiprocessing_share_a_store(project, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SPAWN)
    done = subprocess.run([sys.executable, script, project], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with dagstore.open(project) as store:
        assert store.notes("@seed")[-1].text == "the parent goes on"
        assert store.fsck("full").findings == ()


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_another_container_gets_in_once_the_first_is_out(project, end):
    """LMDB knows readers by their process numbers, which mean something else in another pid namespace."""
    before = unshare("-Urpf", "--mount-proc")
    first = start(STAY, project, "from here")
    assert hear(first) == "open"
    other = start(VISIT, project, before=before)
    for _ in range(2):
        answer = hear(other)
        assert answer.startswith("Refused elsewhere True")
        assert str(project) in answer
    assert hear(other) == "refused"
    if end == "killed":
        kill(first)
    else:
        tell(first)
        assert hear(first) == "closed"
    assert finish(other, "go\n") == ["3 True"]
    if end == "closed":
        finish(first, "go\n")
    with dagstore.open(project) as store:
        assert [note.text for note in store.notes("@seed")] == ["seed", "from here", "from the other container"]


# --- under a strange name ---


def test_a_store_under_a_strange_name_works_in_python_and_on_the_command_line(tmp_path):
    root = make_project(tmp_path / f"{STRANGE}\\n" / "project")
    assert dag(root, "init")["node"]
    workspace = Path(dag(root, "spawn", "@seed", "-m", STRANGE)["workspace"])
    assert STRANGE in str(workspace)
    (workspace / "train.py").write_text("print('strange')\n")
    (workspace / STRANGE).write_text("a file of that name\n")
    node = dag(workspace, "seal")["node"]
    report = dag(root, "fsck", "--full")
    assert (report["findings"], report["nodes"]) == ([], 2)
    assert dag(root, "show", node)["message"] == STRANGE
    with dagstore.open(root) as store:
        assert store.cat(node, STRANGE) == b"a file of that name\n"
        assert store.fsck("full").findings == ()
        with pytest.raises(Refused, match="sealed"):
            store.seal(workspace)


def dag(folder, *words):
    """What a verb answers; it must end well."""
    command = [sys.executable, "-P", "-c", "from cli.main import main; main()", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
