"""The verbs that begin, talk and keep, driven as a user drives them: answers, exit codes, error documents."""

import ctypes
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from importlib import metadata
from itertools import takewhile
from pathlib import Path

import lmdb
import pytest

import dagstore
from cli import diagnosis, distribution, filesystem, render
from cli.main import main
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.ids import BlobId, NodeId, TreeId
from dagstore.index import VERSION_KEY
from dagstore.model import Entry, Node, Run, Status, Tree
from dagstore.storage_lmdb import LmdbStorage

ROOT = Path(__file__).resolve().parent.parent
TRAIN = "LR = 0.1\nDEPTH = 4\nWIDTH = 8\nprint('---')\nprint(f'val_loss: {LR * DEPTH / WIDTH:.6f}')\n"
PREPARE = "SIZE = 100\n"
CHARTER = 'command = "python train.py"\nmetric = "val_loss"\ndirection = "minimize"\nbudget = "20s"\n'
CHARTER += 'editable = ["train.py"]\nlocked = ["prepare.py"]\n'
SHELL = (sys.executable, "-P", "-c", "from cli.main import main; main()")


class Answer:
    """What one invocation said and how it ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def error(self):
        """The error document, the last line of stderr."""
        document = json.loads(self.err.splitlines()[-1])
        assert set(document) == {"code", "message", "hint"}
        assert document["hint"]
        return document


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "prepare.py").write_text(PREPARE)
    (folder / "dag.toml").write_text(CHARTER)
    return folder


@pytest.fixture
def dag(project, capsys, monkeypatch):
    """Runs a command line in the project, in this process."""
    monkeypatch.setenv("DAG_AGENT", "ada")
    monkeypatch.chdir(project)

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return Answer(stop.value.code, said.out, said.err)

    return run


@pytest.fixture
def store(dag):
    """The project with a store; the runner to drive it with."""
    assert dag("init").code == 0
    return dag


def spawn(dag, *words):
    return Path(dag("spawn", *(words or ["@seed"]), "--json").json["workspace"])


def propose(dag, old, new, *words, parent="@seed"):
    """A sealed child of `parent` with one line of train.py changed; its id."""
    at = spawn(dag, parent)
    edit(at, old, new)
    return dag("seal", at, "--json", *words).json["node"]


def edit(workspace, old, new):
    text = (workspace / "train.py").read_text()
    assert old in text
    (workspace / "train.py").write_text(text.replace(old, new))


def measure(project, node, value, status=Status.OK):
    """Record a run as a trainer would."""
    with dagstore.open(project) as store:
        charter = store.charter(node)
        protocol = make_protocol(charter, Tree(store.files(node)), "")
        metrics = {} if value is None else {"val_loss": value}
        id = dagstore.ProtocolId.of(encode(protocol))
        run = Run(NodeId.parse(node), id, "cpu", status, metrics, 1_700_000_000_000, 1.0, "test")
        store.add_run(run, protocol)


def shell(*words, cwd, env=None, **settings):
    """The same in a process of its own."""
    done = subprocess.run(
        [*SHELL, *map(str, words)],
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        **settings,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


# --- init ---


def test_init_records_the_seed_and_keeps_an_existing_charter(dag, project):
    answer = dag("init", "--json").json
    assert answer["store"] == str(project / ".dag")
    assert answer["charter"]["metric"] == "val_loss"
    assert answer["guessed"] == []
    assert dag("spawn", answer["node"]).code == 0
    assert (project / "dag.toml").read_text() == CHARTER


def test_init_says_what_it_guessed(dag, project):
    (project / "dag.toml").unlink()
    answer = dag("init", "--metric", "val_loss", "--budget", "90s", "--locked", "prepare.py", "--locked", "data/**")
    assert answer.code == 0
    assert "guessed command python train.py" in answer.out
    assert "guessed metric" not in answer.out
    assert "dag run @seed" in answer.err
    charter = (project / "dag.toml").read_text()
    assert 'budget = "90s"' in charter or 'budget = "1m30s"' in charter
    assert 'locked = ["prepare.py", "data/**"]' in charter


def test_init_of_a_directory_that_is_named(dag, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "solve.py").write_text("print('score: 1')\n")
    answer = dag("-C", tmp_path, "init", "other", "--json", "--maximize", "--metric", "score").json
    assert answer["store"] == str(other / ".dag")
    assert answer["charter"]["direction"] == "maximize"


def test_init_twice_is_refused_and_so_is_one_in_a_workspace(store):
    again = store("init", "--json")
    assert (again.code, again.error["code"]) == (4, "exists")
    inside = store("init", spawn(store), "--json")
    assert (inside.code, inside.error["code"]) == (4, "exists")


def test_init_names_the_line_of_a_wrong_key(dag, project):
    (project / "dag.toml").write_text(CHARTER + 'buget = "5m"\n')
    answer = dag("init", "--json")
    assert (answer.code, answer.error["code"]) == (4, "bad_input")
    assert "dag.toml line 7" in answer.error["message"]
    assert "'budget'" in answer.error["message"]
    assert not (project / ".dag").exists()


def test_init_that_fails_leaves_nothing_behind(dag, project):
    (project / "dag.toml").unlink()
    (project / "big.bin").write_bytes(bytes(11 << 20))
    answer = dag("init", "--json")
    assert answer.code == 4
    assert "big.bin" in answer.error["message"]
    assert sorted(path.name for path in project.iterdir()) == ["big.bin", "prepare.py", "train.py"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("init", "--budget", "5 parsecs"), 2),
        (("init", "--budget", "0s"), 2),
        (("init", "--metric"), 2),
        (("init", "missing"), 3),
        (("init", "--metric", "x"), 4),
        (("frobnicate",), 2),
        (("spawn",), 2),
        (("spawn", "@seed", "--frob"), 2),
        (("spawn", "@seed"), 3),
        (("stats",), 3),
        (("fsck",), 3),
    ],
)
def test_a_wrong_command_line_before_there_is_a_store(dag, words, code):
    answer = dag("--json", *words)
    assert (answer.code, answer.out) == (code, "")
    assert answer.error["message"]


# --- where ---


def test_where_outside_a_store_says_what_to_do(dag):
    assert "dag init" in dag().out
    assert dag("--json").json["store"] is None


def test_where_tells_the_best_and_the_workspace(store, project, monkeypatch):
    seed = store("--json").json
    assert (seed["nodes"], seed["queued"], seed["best"], seed["workspace"]) == (1, 0, None, None)
    node = propose(store, "LR = 0.1", "LR = 0.2", "-m", "faster")
    measure(project, node, 0.5)
    best = store("--json").json["best"]
    assert (best["id"], best["estimate"], best["message"]) == (node, 0.5, "faster")
    workspace = spawn(store, "@best", "-m", "deeper")
    monkeypatch.chdir(workspace)
    assert store("--json").json["workspace"]["changed"] is False
    edit(workspace, "DEPTH = 4", "DEPTH = 5")
    assert store("--json").json["workspace"]["changed"] is True
    assert "deeper" in store().out
    assert 'dag seal -m "WHY"' in store("--json").json["next"]
    sealed = store("seal", "--json").json["node"]
    assert store("--json").json["workspace"]["sealed"] == sealed


# --- spawn and seal ---


def test_spawn_prints_nothing_but_the_path(store, project):
    answer = store("spawn", "@seed", "-m", "why not")
    assert answer.out.count("\n") == 1
    assert (Path(answer.out.rstrip("\n")) / "train.py").read_text() == TRAIN
    assert "train.py" in answer.err
    claims = store("claims", "--json").json["claims"]
    assert [claim["agent"] for claim in claims] == ["ada"]


def test_spawn_into_a_directory(store, tmp_path):
    answer = store("spawn", "@seed", "--into", tmp_path / "here", "--agent", "bob", "--json").json
    assert answer["workspace"] == str(tmp_path / "here")
    assert answer["claim"]["agent"] == "bob"
    assert store("spawn", "@seed", "--into", tmp_path / "here", "--json").code == 4


def test_seal_records_a_child_and_knows_it_again(store, project, tmp_path):
    seed = store("--json").json
    first = store("seal", changed(store), "-m", "one", "--json").json
    assert first["diff"] == {"files": 1, "insertions": 1, "deletions": 1}
    assert (first["known"], first["adopted"], first["runs"]) == (False, [], [])
    assert first["primary"] != first["node"]
    assert store("--json").json["nodes"] == seed["nodes"] + 1
    measure(project, first["node"], 0.25)
    again = store("seal", changed(store), "-m", "two", "--json").json
    assert (again["node"], again["known"]) == (first["node"], True)
    assert [run["metrics"] for run in again["runs"]] == [{"val_loss": 0.25}]
    assert "val_loss 0.25" in store("seal", changed(store)).out


def changed(dag):
    workspace = spawn(dag)
    edit(workspace, "LR = 0.1", "LR = 0.3")
    return workspace


def test_seal_from_within_and_from_anywhere(store, tmp_path, monkeypatch):
    inside, outside = spawn(store), spawn(store, "@seed", "--into", tmp_path / "far")
    edit(inside, "LR = 0.1", "LR = 0.3")
    edit(outside, "LR = 0.1", "LR = 0.4")
    monkeypatch.chdir(inside)
    assert store("seal").code == 0
    monkeypatch.chdir("/")
    assert store("seal", tmp_path / "far").code == 0


def test_seal_keeps_the_agent_and_the_reason_of_spawn(store):
    workspace = spawn(store, "@seed", "-m", "a reason", "--agent", "bob")
    edit(workspace, "WIDTH = 8", "WIDTH = 9")
    store("seal", workspace)
    note = store("board", "--json").json["notes"][0]
    assert (note["author"], note["text"]) == ("bob", "a reason")


def test_seal_refuses_what_changed_nothing_or_a_locked_path(store):
    workspace = spawn(store)
    nothing = store("seal", workspace, "--json")
    assert (nothing.code, nothing.error["code"]) == (4, "nothing_changed")
    (workspace / "prepare.py").write_text("SIZE = 1\n")
    locked = store("seal", workspace, "--json")
    assert (locked.code, locked.error["code"]) == (4, "locked")
    assert "prepare.py" in locked.error["message"]
    assert store("seal", workspace, "--unlock", "--json").json["known"] is False


def test_seal_refuses_a_charter_that_nobody_could_run(store):
    workspace = spawn(store)
    (workspace / "dag.toml").write_text(CHARTER + "metrc = 1\n")
    assert "line 7" in store("seal", workspace, "--unlock", "--json").error["message"]
    (workspace / "dag.toml").unlink()
    gone = store("seal", workspace, "--unlock", "--json")
    assert (gone.code, "dag.toml" in gone.error["message"]) == (4, True)


def test_seal_of_what_is_no_workspace(store, project, tmp_path):
    for path in (project, project / "missing", project / "train.py"):
        answer = store("seal", path, "--json")
        assert (answer.code, answer.error["code"]) == (3, "not_found")
    assert store("seal", tmp_path, "--json").code == 3


def test_seal_of_a_workspace_that_was_sealed_or_deleted(store):
    workspace = spawn(store)
    edit(workspace, "LR = 0.1", "LR = 0.7")
    assert store("seal", workspace).code == 0
    again = store("seal", workspace, "--json")
    assert (again.code, again.error["code"]) == (4, "sealed")
    lost = spawn(store)
    shutil.rmtree(lost)
    answer = store("seal", lost, "--json")
    assert answer.code == 3
    assert "does not exist" in answer.error["message"]


def test_a_shell_that_stands_in_a_deleted_workspace(store):
    lost = spawn(store)
    script = 'cd "$0" && rm -r "$0" && "$@"'
    done = subprocess.run(["sh", "-c", script, str(lost), *SHELL, "seal"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "does not exist any more" in done.stderr


# --- adopt ---


def test_adopt_composes_what_touches_different_places(store, project):
    one = propose(store, "LR = 0.1", "LR = 0.2")
    other = propose(store, "WIDTH = 8", "WIDTH = 16")
    foreseen = store("adopt", one, other, "--dry-run", "--json").json
    assert foreseen["recorded"] is False
    made = store("adopt", other, one, "-m", "both", "--json").json
    assert made["node"] == foreseen["node"]
    assert {made["primary"], *made["adopted"]} == {one, other}
    assert made["contradictions"] == []
    assert {"path", "engine", "origins"} <= set(made["decisions"][0])
    assert made["decisions"][0]["path"] == "train.py"
    assert "LR = 0.2\nDEPTH = 4\nWIDTH = 16" in store("cat", f"{made['node']}:train.py").out
    assert store("adopt", one, other, "--json").json["known"] is True


def test_adopt_decides_contradictions_and_says_so(store, project):
    low = propose(store, "LR = 0.1", "LR = 0.2")
    high = propose(store, "LR = 0.1", "LR = 0.9\nNEW = 1")
    third = propose(store, "DEPTH = 4", "DEPTH = 5")
    measure(project, low, 0.4)
    measure(project, high, 0.6)
    best = store("adopt", high, low, third, "--json").json
    assert best["onto"] == low
    assert best["contradictions"] == [one for one in best["decisions"] if one["contradiction"]] != []
    assert "LR = 0.2" in store("cat", f"{best['node']}:train.py").out
    told = store("adopt", low, high, third, "--prefer", high)
    assert "contradiction" in told.out
    assert "LR = 0.2" in told.out
    primary = store("adopt", low, third, high, "--primary", high, "--prefer", "primary", "--json").json
    assert primary["onto"] == high
    assert "LR = 0.9" in store("cat", f"{primary['node']}:train.py").out


def test_adopt_leaves_open_what_it_is_told_to(store):
    low, high = propose(store, "LR = 0.1", "LR = 0.2"), propose(store, "LR = 0.1", "LR = 0.9\nNEW = 1")
    foreseen = store("adopt", high, low, "--strict", "--plan", "--json").json
    assert (foreseen["open"], foreseen["recorded"]) == (True, False)
    told = store("adopt", high, low, "--strict")
    assert "open in train.py" in told.out
    assert "for now" in told.out
    assert "dag spawn" in told.err
    assert store("show", foreseen["node"], "--json").json["status"] == "contradicted"
    assert "resolves what is open" in store("show", foreseen["node"]).out
    refused = store("run", foreseen["node"], "--json")
    assert (refused.code, refused.error["code"]) == (4, "contradicted")
    assert store("queue", foreseen["node"], "--json").error["code"] == "contradicted"


def test_adopt_takes_part_of_what_a_donor_changed(store):
    one = propose(store, "LR = 0.1\nDEPTH = 4", "LR = 0.2\nDEPTH = 6")
    other = propose(store, "WIDTH = 8", "WIDTH = 16")
    words = ("--primary", other, "--own", "--only", "train.py:LR")
    made = store("adopt", one, other, *words, "--json").json
    assert "LR = 0.2\nDEPTH = 4\nWIDTH = 16" in store("cat", f"{made['node']}:train.py").out
    (record,) = store("show", made["node"], "--json").json["adoptions"]
    assert (record["own"], record["only"]) == (True, ["train.py:LR"])
    refused = store("adopt", one, other, "--primary", other, "--only", "train.py:WIDTH", "--json")
    assert (refused.code, "train.py:WIDTH" in refused.error["message"]) == (4, True)


def test_adopt_tells_what_the_gates_found(store):
    one = propose(store, "LR = 0.1\n", "RATE = 0.1\n")
    other = propose(store, "print('---')", "print('---', LR)")
    made = store("adopt", one, other, "--json").json
    assert [(found["gate"], found["text"]) for found in made["findings"]][:1] == [("undefined", "LR")]
    assert "undefined name train.py:" in store("adopt", one, other).out
    assert "undefined name train.py:" in store("show", made["node"]).out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("adopt", "@seed"), 4),
        (("adopt", "@seed", "@seed"), 4),
        (("adopt",), 2),
        (("adopt", "@seed", "@last", "--dry-run", "--run"), 2),
        (("adopt", "@seed", "nobody"), 3),
        (("adopt", "@seed", "@best"), 3),
    ],
)
def test_adopt_of_too_little(store, words, code):
    answer = store(*words, "--json")
    assert (answer.code, answer.out) == (code, "")
    assert answer.error["message"]


def test_adopt_prefers_only_one_of_the_nodes(store):
    one, other = propose(store, "LR = 0.1", "LR = 0.2"), propose(store, "LR = 0.1", "LR = 0.3")
    answer = store("adopt", one, other, "--prefer", "@seed", "--json")
    assert (answer.code, "--prefer" in answer.error["message"]) == (4, True)


def test_adopt_and_run(store, project):
    one = propose(store, "LR = 0.1", "LR = 0.2")
    other = propose(store, "WIDTH = 8", "WIDTH = 16")
    done = shell("adopt", one, other, "--run", "--json", cwd=project)
    assert done.code == 0, done.err
    runs = json.loads(done.out)["runs"]
    assert [run["status"] for run in runs] == ["ok"]
    assert runs[0]["metrics"]["val_loss"] == pytest.approx(0.05)


def test_adopt_and_run_what_crashes(store, project):
    one = propose(store, "LR = 0.1", "LR = 0.1 / 0")
    other = propose(store, "WIDTH = 8", "WIDTH = 16")
    done = shell("adopt", one, other, "--run", "--json", cwd=project)
    assert (done.code, done.error["code"]) == (5, "experiment_failed")
    assert [run["status"] for run in json.loads(done.out)["runs"]] == ["crashed"]


# --- queue ---


def test_queue_passes_over_what_waits_or_was_measured(store, project):
    node, other = propose(store, "LR = 0.1", "LR = 0.2"), propose(store, "LR = 0.1", "LR = 0.4")
    first = store("queue", node, "@seed", "--priority", 3, "--json").json
    assert [ticket["priority"] for ticket in first["queued"]] == [3, 3]
    measure(project, other, 1.0)
    second = store("queue", node, other, "--json").json
    assert second["queued"] == []
    assert [skip["why"].split(",")[0] for skip in second["skipped"]] == ["in line already", "measured already"]
    again = store("queue", other, "--repeat", 3, "--json").json
    assert (len(again["queued"]), again["skipped"]) == (3, [])
    listed = store("queue", "--json").json["queued"]
    assert len(listed) == 5
    assert listed[0]["priority"] == 3
    assert "waits" in store("queue").out


def test_queue_takes_all_or_nothing(store):
    assert store("queue", "@seed", "nobody", "--json").code == 3
    assert store("queue", "--json").json["queued"] == []


@pytest.mark.parametrize("words", [("--repeat", "0"), ("--repeat", "x"), ("--priority", "high")])
def test_queue_with_a_wrong_number(store, words):
    answer = store("queue", "@seed", *words, "--json")
    assert (answer.code, answer.error["code"]) == (2, "usage")


# --- talk ---


def test_notes_are_on_the_board_newest_first_and_cannot_steer_a_terminal(store):
    made = store("note", "@seed", "first", "--json").json
    assert (made["author"], made["text"], made["kind"]) == ("ada", "first", "remark")
    store("note", "@seed", "\x1b[2Jbad\u202e\nsecond line", "--agent", "mallory\x1b[31m")
    shown = store("board", "--limit", 1).out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert [note["text"] for note in store("board", "--json").json["notes"]][1] == "first"
    assert len(store("board", "--limit", 2, "--json").json["notes"]) == 2
    assert store("note", "@seed", "  ", "--json").code == 4


def test_names_are_given_moved_and_listed(store):
    node = propose(store, "LR = 0.1", "LR = 0.2")
    assert store("name", "--json").json == {"names": []}
    named = store("name", "base", "@seed", "--json").json
    assert named["before"] is None
    moved = store("name", "base", node, "--json").json
    assert (moved["name"], moved["node"], moved["before"]) == ("base", node, named["node"])
    assert store("name", "--json").json == {"names": [{"name": "base", "node": node}]}
    assert "before" in store("name", "base", "@seed").out
    assert "base" in store("name").out
    assert store("spawn", "base").code == 0


@pytest.mark.parametrize(("name", "code"), [("cafe", 4), ("@best", 4), ("a b", 4), ("x" * 200, 4)])
def test_a_name_that_could_be_something_else(store, name, code):
    answer = store("name", name, "@seed", "--json")
    assert (answer.code, answer.error["code"]) == (code, "bad_input")


def test_a_name_without_a_node(store):
    assert store("name", "base", "--json").code == 2


def test_claims_end_with_sealing(store):
    workspace = spawn(store)
    assert "propose" in store("claims").out
    edit(workspace, "LR = 0.1", "LR = 0.2")
    store("seal", workspace)
    assert store("claims", "--json").json == {"claims": []}


# --- references ---


@pytest.mark.parametrize(
    ("ref", "code"), [("nobody", 3), ("0" * 64, 3), ("abc", 4), ("@seed~1", 3), ("@frob", 3), ("", 3), ("@best", 3)]
)
def test_references_that_name_nothing(store, ref, code):
    answer = store("note", ref, "text", "--json")
    assert (answer.code, answer.out) == (code, "")
    assert answer.error["message"]


def test_an_ambiguous_prefix_lists_the_candidates(store, project):
    texts = colliding_texts(project)
    nodes = []
    for text in texts:
        workspace = spawn(store)
        (workspace / "train.py").write_text(text)
        nodes.append(store("seal", workspace, "--json").json["node"])
    prefix = "".join(one for one, other in takewhile(lambda pair: pair[0] == pair[1], zip(*nodes, strict=True)))
    assert len(prefix) >= 4
    answer = store("spawn", prefix, "--json")
    assert (answer.code, answer.error["code"]) == (3, "ambiguous")
    assert all(node[:8] in answer.error["message"] for node in nodes)
    assert store("spawn", nodes[0][: len(prefix) + 1]).code == 0


def colliding_texts(project):
    """Two contents of train.py whose nodes begin alike, found by hashing alone."""
    with dagstore.open(project, readonly=True) as store:
        seed, files = store.resolve("@seed"), store.files("@seed")
    seen = {}
    for number in range(100_000):
        text = TRAIN + f"# {number}\n"
        entries = [
            Entry(one.path, one.mode, BlobId.of(text.encode())) if one.path == "train.py" else one for one in files
        ]
        node = str(NodeId.of(encode(Node.of([seed], TreeId.of(encode(Tree.of(entries)))))))
        if node[:4] in seen:
            return seen[node[:4]], text
        seen[node[:4]] = text
    raise AssertionError("no collision")


# --- keep ---


def test_a_store_of_a_newer_format_is_left_alone(store, project):
    put(project, "meta", b"format", b"3")
    for words in (("stats",), (), ("spawn", "@seed"), ("fsck", "--reindex")):
        answer = store(*words, "--json")
        assert (answer.code, answer.error["code"]) == (4, "newer_format")


def test_stale_indexes_are_built_again(store, project):
    put(project, "place", VERSION_KEY, b"0")
    answer = store("stats", "--json")
    assert (answer.code, answer.error["code"]) == (4, "stale_index")
    assert "dag fsck --reindex" in answer.error["hint"]
    assert store("fsck", "--reindex", "--json").json["reindexed"] > 0
    assert store("stats", "--json").json["nodes"] == 1


def test_indexes_of_an_earlier_version_that_lack_a_table_are_built_again(store, project):
    with lmdb.open(str(project / ".dag" / "index"), max_dbs=32, lib_version=0) as env:
        table = env.open_db(b"census")
        with env.begin(write=True) as txn:
            txn.drop(table)
    answer = store("frontier", "--json")
    assert (answer.code, answer.error["code"]) == (4, "stale_index")
    assert "dag fsck --reindex" in answer.error["hint"]
    assert store("fsck", "--reindex", "--json").json["reindexed"] > 0
    assert store("frontier", "--json").json["nodes"] == []


def put(project, table, key, value):
    storage = LmdbStorage(project / ".dag")
    with storage.write() as txn:
        txn.put(table, key, value)
    storage.close()


def test_fsck_of_a_sound_store(store):
    propose(store, "LR = 0.1", "LR = 0.2")
    for depth in ("quick", "links", "full"):
        report = store("fsck", f"--{depth}", "--json").json
        assert (report["depth"], report["findings"], report["nodes"]) == (depth, [], 2)
    assert "clean" in store("fsck").out


def test_fsck_finds_a_flipped_bit(store, project):
    node = propose(store, "LR = 0.1", "LR = 0.2")
    log = project / ".dag" / "log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    answer = store("fsck", "--full", "--json")
    assert (answer.code, answer.error["code"]) == (6, "damaged")
    assert json.loads(answer.out)["findings"]
    assert node


def test_fsck_tells_wrong_indexes_which_reindex_mends(store, project):
    node = propose(store, "LR = 0.1", "LR = 0.2")
    measure(project, node, 0.5)
    storage = LmdbStorage(project / ".dag")
    with storage.write() as txn:
        txn.delete("facts", next(txn.scan("facts"))[0])
    storage.close()
    answer = store("fsck", "--full", "--json")
    assert (answer.code, answer.error["hint"]) == (6, "run `dag fsck --reindex`")
    assert store("fsck", "--full", "--reindex").code == 0


def test_gc_removes_sealed_workspaces_and_never_a_node(store):
    workspace = spawn(store)
    edit(workspace, "LR = 0.1", "LR = 0.2")
    node = store("seal", workspace, "--json").json["node"]
    open_one = spawn(store)
    assert store("gc", "--dry-run", "--json").json["workspaces"] == [str(workspace)]
    assert workspace.is_dir()
    swept = store("gc", "--json").json
    assert swept.pop("bytes") > 0
    assert swept == {
        "workspaces": [str(workspace)],
        "claims": 0,
        "leftovers": [],
        "orphans": 0,
        "artifacts": {},
    }
    assert not workspace.exists()
    assert open_one.is_dir()
    assert store("name", "kept", node).code == 0
    assert "nothing" in store("gc").out


def test_stats_count(store, project):
    measure(project, propose(store, "LR = 0.1", "LR = 0.2"), 0.5)
    stats = store("stats", "--json").json
    assert (stats["nodes"], stats["runs"], stats["queued"]) == (2, 1, 0)
    assert stats["kinds"]["blob"]["plain"] > 0
    assert "node" in store("stats").out


# --- doctor ---


def test_doctor_explains_the_installation(store):
    answer = store("doctor", "--json")
    findings = {one["check"]: one for one in answer.json["findings"]}
    assert {"python", "versions", "store", "file system", "free space", "experiments", "device"} <= set(findings)
    assert all(one["hint"] for one in findings.values() if one["state"] != "ok")
    assert "lmdb" in findings["versions"]["message"]
    assert "ok" in store("doctor").out


def test_doctor_looks_at_the_log_and_at_who_reads(store, project):
    findings = {one["check"]: one for one in store("doctor", "--json").json["findings"]}
    assert (findings["log"]["state"], findings["readers"]["state"]) == ("ok", "ok")
    log = project / ".dag" / "log"
    os.truncate(log, log.stat().st_size - 1)
    answer = store("doctor", "--json")
    findings = {one["check"]: one for one in json.loads(answer.out)["findings"]}
    assert (answer.code, findings["log"]["state"]) == (7, "fail")
    assert "dag fsck" in findings["log"]["hint"]


def test_doctor_tells_where_every_restart_may_have_been_a_power_cut(store, monkeypatch):
    monkeypatch.setattr(diagnosis, "boot_id", str)
    findings = {one["check"]: one for one in store("doctor", "--json").json["findings"]}
    assert (findings["restarts"]["state"], bool(findings["restarts"]["hint"])) == ("warn", True)


def test_doctor_fails_where_experiments_cannot_start(dag, project):
    (project / "dag.toml").write_text(CHARTER.replace("python train.py", "no-such-program train.py"))
    dag("init")
    answer = dag("doctor", "--json")
    assert (answer.code, "no-such-program" in answer.out) == (7, True)
    assert "command" in answer.error["message"]


def test_doctor_outside_a_store_still_answers(dag):
    states = {one["check"]: one["state"] for one in dag("doctor", "--json").json["findings"]}
    assert states["store"] == "warn"


def test_doctor_notices_a_package_that_another_distribution_overwrote(project, tmp_path):
    site = install(tmp_path / "site")
    env = {"PYTHONPATH": str(site)}
    sound = shell("doctor", "--json", cwd=project, env=env)
    assert sound.code == 0, sound.out
    (site / "agent" / "__init__.py").write_text('"""Somebody else\'s."""\n')
    (site / "trainer" / "machine.py").touch()
    overwritten = shell("doctor", "--json", cwd=project, env=env)
    assert overwritten.code == 7
    assert overwritten.error["message"] == "failed: package agent"
    assert "agent/__init__.py is not what was installed" in overwritten.out


def install(site):
    """The four packages as a wheel would leave them, RECORD included."""
    for name in distribution.PACKAGES:
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "dagstore-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dagstore\nVersion: 0.1.0\n")
    write_record(site, info)
    return site


def write_record(site, info):
    files = (path for path in site.rglob("*.py"))
    lines = [f"{path.relative_to(site)},sha256={distribution._digest(path)},{path.stat().st_size}" for path in files]
    (info / "RECORD").write_text("\n".join(lines) + "\n")


def test_a_package_that_is_hidden_by_another_of_its_name(tmp_path):
    info = tmp_path / "dagstore-0.1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("")
    installed = metadata.Distribution.at(info)
    assert "hides" in distribution.problem(installed, "agent")
    assert "no package" in distribution.problem(installed, "no_such_package")


def test_file_systems_that_machines_share_are_told_by_their_mounts(tmp_path):
    mounts = tmp_path / "mounts"
    share = tmp_path / "with space"
    share.mkdir()
    point = str(share).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {point} nfs4 rw 0 0\n")
    assert filesystem.kind_of(share, mounts) == ("nfs4", True)
    assert filesystem.kind_of(tmp_path, mounts) == ("ext4", False)
    assert filesystem.kind_of(tmp_path, tmp_path / "none") == ("", False)
    assert filesystem.lacks(tmp_path) == []


# --- where nothing may be written ---


@pytest.fixture
def readonly(project):
    """The project after `init`, write-protected; a runner whose processes obey that even for root."""
    assert shell("init", cwd=project).code == 0
    paths = [project, *project.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield lambda *words: shell(*words, cwd=project, preexec_fn=_obey_modes)
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _obey_modes():
    """Give up what lets root write anywhere (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER) for what is started."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2, 3):
            if libc.prctl(24, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "cannot drop a capability")


def test_a_write_protected_store_can_be_looked_at(readonly):
    assert json.loads(readonly("--json").out)["nodes"] == 1
    for words in (("stats",), ("board",), ("claims",), ("fsck", "--full"), ("gc", "--dry-run"), ("queue",), ("name",)):
        answer = readonly(*words)
        assert answer.code == 0, answer.err
    assert "read-only" in readonly("doctor").out


@pytest.mark.parametrize(
    "words",
    [
        ("spawn", "@seed"),
        ("note", "@seed", "x"),
        ("name", "base", "@seed"),
        ("queue", "@seed"),
        ("gc",),
        ("fsck", "--reindex"),
    ],
)
def test_a_write_protected_store_refuses_what_writes(readonly, words):
    answer = readonly(*words, "--json")
    assert (answer.code, answer.error["code"], answer.out) == (7, "unavailable", "")


def test_init_where_nothing_may_be_written(tmp_path, project):
    (project / "dag.toml").unlink()
    project.chmod(0o555)
    answer = shell("init", "--json", cwd=project, preexec_fn=_obey_modes)
    project.chmod(0o755)
    assert (answer.code, answer.error["code"]) == (7, "unavailable")
    assert not (project / ".dag").exists()


# --- as a process, on a terminal ---


def test_a_whole_session_in_a_shell(project, tmp_path):
    script = """
    set -e
    dag() { "$PYTHON" -P -c "from cli.main import main; main()" "$@"; }
    dag init
    cd "$(dag spawn @seed -m 'deeper')"
    sed -i.bak 's/DEPTH = 4/DEPTH = 6/' train.py && rm train.py.bak
    dag seal
    dag name deep @last
    dag queue deep
    dag fsck --full
    """
    done = subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=project,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 file changed (+1 -1)" in done.stdout
    assert "clean" in done.stdout


def test_a_reader_that_leaves_is_no_error(store, project):
    script = '"$0" -P -c "from cli.main import main; main()" board | true; echo ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable], cwd=project, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("0", "")


@pytest.mark.parametrize("width", [40, 100])
def test_on_a_terminal_nothing_is_wider_than_it(store, project, width):
    store("note", "@seed", "a long story " * 20 + "\x1b[2J\x1b]0;title\x07")
    for words in (("board",), ("claims",), ("stats",), (), ("doctor",), ("fsck", "--full")):
        text = on_terminal(project, width, *words)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        bars = {line for line in plain.splitlines() if "[" in line and "%" in line}
        lines = [line for line in plain.splitlines() if line not in bars]
        assert max(map(len, lines)) <= width, lines
        assert "\x1b" not in "".join(lines)
        assert "\x07" not in plain


def on_terminal(cwd, width, *words):
    """What a terminal of that width receives on stdout."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [*SHELL, *words], cwd=cwd, stdin=follower, stdout=follower, stderr=subprocess.PIPE, env={**env, "TERM": "xterm"}
    )
    os.close(follower)
    received = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other end was closed
            break
        if not chunk:
            break
        received += chunk
    _, err = process.communicate()
    os.close(leader)
    assert process.returncode == 0, err
    return received.decode().replace("\r\n", "\n")


# --- rendering ---


def test_tables_are_aligned_and_whole_when_piped(capsys):
    render.table(("name", "n"), [("a" * 300, "1"), ("b", "22")], title="T", right=("n",))
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert (title, len(first), first[:300]) == ("T", len(second), "a" * 300)
    assert head.endswith(" n")
    assert second.endswith("22")


def test_text_of_others_keeps_to_its_cell(capsys):
    render.table(("a", "b"), [("x\ny", "\x1b[31mred")])
    assert capsys.readouterr().out == "a    b\nx y  \\x1b[31mred\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.42 s"),
        (12.34, "12.3 s"),
        (59.99, "60 s"),
        (303, "5 min 3 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations(seconds, text):
    assert render.seconds(seconds) == text


@pytest.mark.parametrize(
    ("past", "text"),
    [(0, "just now"), (5, "5 s ago"), (200, "3 min ago"), (7200, "2 h ago"), (200_000, "2 d ago"), (-600, "in 10 min")],
)
def test_relative_times(past, text):
    assert render.ago(10_000_000_000 - past * 1000, 10_000_000_000) == text


def test_numbers():
    assert [render.number(x) for x in (None, 0.99790012, 3.0, 1e-9, 123456789.0)] == [
        "-",
        "0.9979",
        "3",
        "1e-09",
        "1.23457e+08",
    ]
    assert [render.size(x) for x in (0, 999, 1500, 2.5e9, 5e15)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "5e+03 TB"]
