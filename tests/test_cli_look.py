"""The verbs that look, driven as a user drives them: JSON contracts, text, exit codes, and what a terminal may see."""

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

import dagstore
from cli.main import main
from dagstore.testing.builders import TRAIN, make_child, make_run, make_store, measure

PYTHON = (sys.executable, "-P", "-c")
START = "from cli.main import main; main()"
EVIL = "\x1b[31mred\x1b[0m\x07\x1b]0;owned\x07"
PNG = b"\x89PNG\r\n\x1a\n"


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
        document = json.loads(self.err)
        assert set(document) == {"code", "message", "hint"}
        assert document["hint"]
        return document


class Reopening:
    """A store that opens when it is used and closes when a command comes: a process opens a folder in one way only."""

    def __init__(self, store):
        self.root, self._store = store.root, store

    def __getattr__(self, name):
        if self._store is None:
            self._store = dagstore.open(self.root)
        return getattr(self._store, name)

    def shut(self):
        if self._store is not None:
            self._store.close()
        self._store = None


@pytest.fixture
def store(tmp_path):
    made = Reopening(make_store(tmp_path))
    yield made
    made.shut()


@pytest.fixture
def dag(store, capsys):
    def run(*words):
        store.shut()
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["-C", str(store.root), *map(str, words)])
        captured = capsys.readouterr()
        return Answer(stop.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def family(store):
    """seed (1.0) ─ a (0.9, twice) ─ b (0.8) and c (crashed, with an evil message); d is b with c adopted, not run."""
    nodes = {"seed": store.resolve("@seed")}
    nodes["a"] = make_child(store, "@seed", {"train.py": edited("LR", 0.2)}, why="raise the rate")
    nodes["b"] = make_child(store, nodes["a"], {"train.py": edited("LR", 0.3)}, why="raise it more")
    nodes["c"] = make_child(
        store, nodes["a"], {"train.py": edited("LR", 0.2, WIDTH=128)}, why=f"wider {EVIL}\nsecond line"
    )
    measure(store, "@seed", 1.0)
    measure(store, nodes["a"], 0.91)
    measure(store, nodes["a"], 0.89, seed=1)
    measure(store, nodes["b"], 0.8)
    log = b"".join(b"step %d \x1b[2J\n" % step for step in range(40)) + b"50%\r100%\nMemoryError: too wide\n"
    measure(store, nodes["c"], None, dagstore.Status.CRASHED, log=log)
    nodes["d"] = store.adopt(nodes["b"], nodes["c"], primary=nodes["b"]).node
    return nodes


def edited(name, value, **more):
    text = TRAIN
    for key, new in {name: value, **more}.items():
        text = re.sub(rf"^{key} = .*$", f"{key} = {new}", text, flags=re.MULTILINE)
    return text


def at_terminal(store, *words):
    """What a terminal gets, escape sequences included."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        [*PYTHON, START, "-C", str(store.root), *map(str, words)],
        stdout=secondary,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        os.close(secondary)
        shown = b""
        while chunk := _read(primary):
            shown += chunk
        os.close(primary)
        error = process.stderr.read()
    assert process.returncode == 0, error
    return shown.decode()


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last writer is gone
        return b""


class TestFrontier:
    def test_json_contract(self, dag, family):
        answer = dag("frontier", "--json").json
        assert answer["metric"] == "val_loss"
        assert answer["direction"] == "minimize"
        assert answer["platform"] == "cpu"
        assert len(answer["protocol"]) == 64
        assert answer["noise"]["n"] == 2
        assert answer["noise"]["sd"] == pytest.approx(0.02 / 2**0.5)
        assert [row["id"] for row in answer["nodes"]] == [str(family[name]) for name in ("b", "a", "seed")]
        first = answer["nodes"][0]
        assert (first["rank"], first["mean"], first["runs"], first["message"]) == (1, 0.8, 1, "raise it more")
        assert first["low"] < 0.8 < first["estimate"] < first["high"]
        assert [row["tied"] for row in answer["nodes"]] == [False, False, False]

    def test_text_says_what_is_compared(self, dag, family):
        answer = dag("frontier")
        assert answer.code == 0
        head, noise, columns, best, *_ = answer.out.splitlines()
        assert head.startswith("val_loss (minimize), protocol ")
        assert head.endswith("platform cpu")
        assert noise == "noise: sd 0.0141421, from 2 repeated runs"
        assert columns.split() == ["rank", "id", "estimate", "90", "%", "interval", "mean", "runs", "message"]
        assert best.split()[:3] == ["1", str(family["b"])[:8], "0.801012"]

    def test_unknown_noise_is_said(self, dag, store):
        measure(store, "@seed", 1.0)
        assert "nothing was measured twice" in dag("frontier").out

    def test_runs_outside_are_counted_and_all_shows_them(self, dag, store, family):
        measure(store, "@seed", 7.0, platform="gpu")
        assert "1 run of other protocols or platforms" in dag("frontier").out
        answer = dag("frontier", "--all", "--json").json
        assert [(one["platform"], len(one["nodes"])) for one in answer["frontiers"]] == [("cpu", 3), ("gpu", 1)]
        text = dag("frontier", "--all").out
        assert "platform cpu" in text
        assert "platform gpu" in text
        only = dag("frontier", "--all", "--platform", "gpu", "--json").json["frontiers"]
        assert [one["platform"] for one in only] == ["gpu"]

    def test_top_and_another_metric(self, dag, store):
        measure(store, "@seed", 1.0, metrics={"memory": 3.0})
        assert len(dag("frontier", "--top", 1, "--json").json["nodes"]) == 1
        assert dag("frontier", "--metric", "memory", "--json").json["nodes"][0]["estimate"] == 3.0
        missing = dag("frontier", "--metric", "speed", "--json")
        assert missing.code == 3
        assert missing.error["code"] == "not_found"

    def test_nothing_measured(self, dag):
        assert "nothing was measured yet" in dag("frontier").out
        assert dag("frontier", "--json").json["nodes"] == []
        assert dag("frontier", "--all").out == "nothing was measured yet\n"
        assert dag("frontier", "--all", "--json").json == {"frontiers": []}

    @pytest.mark.parametrize("words", [("--top", "0"), ("--strategy", "luck"), ("--all", "--metric", "m")])
    def test_usage(self, dag, words):
        answer = dag("frontier", *words, "--json")
        assert answer.code == 2
        assert answer.error["code"] == "usage"


class TestShow:
    def test_json_contract(self, dag, store, family):
        store.note(family["a"], "looks good", agent="critic")
        store.spawn(family["a"], agent="worker")
        answer = dag("show", family["a"], "--json").json
        assert answer["id"] == str(family["a"])
        assert answer["primary"] == str(family["seed"])
        assert [run["value"] for run in answer["runs"]] == [0.91, 0.89]
        assert [note["text"] for note in answer["notes"]] == ["raise the rate", "looks good"]
        assert answer["diff"] == {"files": 1, "insertions": 1, "deletions": 1}
        assert [claim["agent"] for claim in answer["claims"]] == ["worker"]
        assert answer["children"] == 2
        assert answer["adoptions"] == []
        assert answer["estimate"] == pytest.approx(0.9)

    def test_adoption_with_its_decisions(self, dag, family):
        answer = dag("show", family["d"], "--json").json
        assert answer["adopted"] == [str(family["c"])]
        (adoption,) = answer["adoptions"]
        assert adoption["onto"] == str(family["b"])
        assert adoption["decisions"][0]["path"] == "train.py"
        text = dag("show", family["d"]).out
        assert "composed onto" in text
        assert "train.py: " in text

    def test_failed_run_shows_why(self, dag, family):
        lines = dag("show", family["c"]).out.splitlines()
        at = next(at for at, line in enumerate(lines) if line.startswith("the last run crashed (exit code 1)"))
        log = lines[at + 1 :]
        assert len(log) == 15
        assert log[-1] == "  | MemoryError: too wide"
        assert log[-2] == "  | 100%"
        assert log[0] == "  | step 27 \\x1b[2J"

    def test_good_run_shows_no_log(self, dag, store):
        measure(store, "@seed", 1.0, log=b"secret noise\n")
        assert "secret noise" not in dag("show", "@seed").out

    def test_seed_of_an_empty_store(self, dag):
        assert dag("show", "@seed", "--json").json["runs"] == []
        assert "measured   not yet" in dag("show", "@seed").out

    def test_unknown_and_ambiguous_references(self, dag):
        unknown = dag("show", "nobody", "--json")
        assert (unknown.code, unknown.error["code"]) == (3, "not_found")
        assert dag("show", "@best").code == 3


class TestDiff:
    def test_against_the_primary(self, dag, family):
        answer = dag("diff", family["b"], "--json").json
        assert (answer["old"], answer["new"]) == (str(family["a"]), str(family["b"]))
        (file,) = answer["files"]
        assert (file["path"], file["change"], file["insertions"], file["deletions"]) == ("train.py", "modified", 1, 1)
        assert (answer["insertions"], answer["deletions"]) == (1, 1)
        assert dag("diff", family["b"]).out == file["text"]
        assert "-LR = 0.2\n+LR = 0.3\n" in file["text"]

    def test_between_two(self, dag, family):
        assert "-LR = 0.3\n+LR = 0.1\n" in dag("diff", family["b"], "@seed").out

    def test_no_difference_is_talk(self, dag):
        answer = dag("diff", "@seed", "@seed")
        assert (answer.code, answer.out, answer.err) == (0, "", "no difference\n")

    def test_a_pipe_gets_a_patch_that_applies(self, dag, store, tmp_path):
        tabs = TRAIN + "def f():\n\treturn '\u2028'\n"
        node = make_child(store, "@seed", {"train.py": tabs, "new.txt": "hello"})
        dag("checkout", "@seed", tmp_path / "old")
        patch = dag("diff", node).out
        subprocess.run(["git", "apply", "-p1"], cwd=tmp_path / "old", input=patch.encode(), check=True)
        assert (tmp_path / "old/train.py").read_text() == tabs
        assert (tmp_path / "old/new.txt").read_text() == "hello"

    def test_changes_without_text_are_named(self, dag, store):
        node = make_child(store, "@seed", {"empty.txt": ""})
        assert "empty.txt: added, empty" in dag("diff", node).out


class TestLog:
    def test_latest_nodes_newest_first(self, dag, family):
        answer = dag("log", "--json").json
        assert [node["id"] for node in answer["nodes"]] == [str(family[name]) for name in ("d", "c", "b", "a", "seed")]

    def test_lineage(self, dag, family):
        answer = dag("log", family["b"], "--json").json
        assert [node["id"] for node in answer["nodes"]] == [str(family[name]) for name in ("b", "a", "seed")]

    def test_limit_says_that_there_is_more(self, dag, family):
        answer = dag("log", "--limit", 2)
        assert len(answer.out.splitlines()) == 3
        assert "--limit 20" in answer.err
        assert len(dag("log", "--limit", 2, "--json").json["nodes"]) == 2
        assert dag("log", "--limit", 5).err == ""

    def test_table(self, dag, family):
        columns, *rows = dag("log").out.splitlines()
        assert columns.split() == ["id", "status", "estimate", "runs", "age", "agent", "message"]
        assert rows[0].split()[1:4] == ["new", "-", "0"]
        assert rows[1].split()[1:4] == ["crashed", "-", "1"]
        assert rows[3].split()[1:4] == ["ok", "0.9", "2"]
        assert "second line" not in "".join(rows)

    def test_children(self, dag, family):
        answer = dag("children", family["a"], "--json").json
        assert [node["id"] for node in answer["nodes"]] == [str(family["b"]), str(family["c"])]
        rows = dag("children", family["c"]).out.splitlines()
        assert rows[1].split()[:2] == [str(family["d"])[:8], "adopted"]
        assert dag("children", family["d"]).out == "nothing builds on it yet\n"


class TestPlot:
    def test_png(self, dag, store, family, tmp_path):
        answer = dag("log", "--plot", tmp_path / "p.png", "--json").json
        assert answer == {
            "plot": str(tmp_path / "p.png"),
            "experiments": 4,
            "measured": 3,
            "improvements": 2,
            "best": pytest.approx(0.8, abs=2e-3),
        }
        assert (tmp_path / "p.png").read_bytes().startswith(PNG)

    def test_svg_of_a_lineage_relative_to_the_directory(self, dag, store, family):
        answer = dag("log", family["a"], "--plot", "p.svg")
        assert answer.out == f"{store.root / 'p.svg'}\n"
        assert ET.parse(store.root / "p.svg").getroot().tag.endswith("svg")
        assert dag("log", family["a"], "--plot", "p.svg", "--json").json["experiments"] == 2

    def test_hostile_messages_and_outliers(self, dag, store, tmp_path):
        for at, why in enumerate(("$x^{", EVIL, "🚀 \u202e", "", "a" * 500)):
            node = make_child(store, "@seed", {"train.py": edited("LR", at)}, why=why)
            measure(store, node, (1e308, -1e308, 0.5, 0.4, 0.3)[at])
        assert dag("log", "--plot", tmp_path / "p.png").code == 0

    @pytest.mark.parametrize("measured", [False, True])
    def test_nothing_to_draw(self, dag, store, measured, tmp_path):
        if measured:
            measure(store, "@seed", None, dagstore.Status.CRASHED)
        answer = dag("log", "--plot", tmp_path / "p.png", "--json")
        assert (answer.code, answer.error["code"]) == (3, "not_found")
        assert "dag run" in answer.error["hint"]
        assert not (tmp_path / "p.png").exists()

    def test_other_suffix(self, dag, family, tmp_path):
        answer = dag("log", "--plot", tmp_path / "p.gif", "--json")
        assert (answer.code, answer.error["code"]) == (4, "bad_input")

    def test_without_matplotlib(self, store, family, tmp_path):
        hide = f"import sys; sys.modules['matplotlib'] = None; {START}"
        words = ["-C", str(store.root), "log", "--plot", str(tmp_path / "p.png"), "--json"]
        done = subprocess.run([*PYTHON, hide, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 4
        assert json.loads(done.stderr)["hint"] == "pip install 'dagstore[notebook]'"


class TestTree:
    def test_json_contract(self, dag, family):
        answer = dag("tree", "--json").json
        assert answer["root"] == str(family["seed"])
        assert answer["hidden"] == 0
        order = [(node["id"], node["depth"]) for node in answer["nodes"]]
        expected = (("seed", 0), ("a", 1), ("b", 2), ("d", 3), ("c", 2))
        assert order == [(str(family[name]), depth) for name, depth in expected]
        last = next(node for node in answer["nodes"] if node["id"] == str(family["d"]))
        assert last["primary"] == str(family["b"])
        assert last["adopted"] == [str(family["c"])]
        assert (last["status"], last["estimate"]) == ("new", None)

    def test_text(self, dag, family):
        short = {name: str(id)[:8] for name, id in family.items()}
        seed, a, b, d, c = dag("tree").out.splitlines()
        assert seed == f"{short['seed']}  0.998988  seed"
        assert a == f"{short['a']}  0.9  raise the rate"
        assert b == f"├─ {short['b']}  0.801012  raise it more"
        assert d.startswith(f"│  {short['d']} ⇠ {short['c']}  new  ")
        assert c.startswith(f"└─ {short['c']}  crashed  wider ")

    def test_limits(self, dag, family):
        answer = dag("tree", "--limit", 2, "--json").json
        assert [node["id"] for node in answer["nodes"]] == [str(family["seed"]), str(family["a"])]
        assert answer["hidden"] == 3
        text = dag("tree", "--limit", 2).out
        assert "+2 more" in text
        assert "2 of 5 nodes" in text
        assert [node["depth"] for node in dag("tree", "--depth", 1, "--json").json["nodes"]] == [0, 1]
        assert dag("tree", family["b"], "--json").json["root"] == str(family["b"])

    def test_wide_nodes_do_not_crowd_out_the_ones_that_were_built_on(self, dag, store):
        for at in range(6):
            make_child(store, "@seed", {"train.py": edited("LR", at)})
        late = make_child(store, "@seed", {"train.py": edited("LR", 9)})
        child = make_child(store, late, {"train.py": edited("LR", 10)})
        found = [node["id"] for node in dag("tree", "--limit", 3, "--json").json["nodes"]]
        assert found[:1] == [str(store.resolve("@seed"))]
        assert str(late) in found
        assert str(child) not in found or found.index(str(child)) == found.index(str(late)) + 1

    def test_long_unmeasured_runs_are_folded(self, dag, store):
        node = store.resolve("@seed")
        for at in range(9):
            node = make_child(store, node, {"train.py": edited("LR", at)}, why=f"step {at}")
        assert [line.split(maxsplit=1)[1] for line in dag("tree").out.splitlines()] == [
            "new  seed", "8 unmeasured", "new  step 8",
        ]  # fmt: skip


class TestPictures:
    def test_a_tree(self, dag, family, tmp_path):
        file = tmp_path / "tree.png"
        assert dag("tree", "--plot", file, "--json").json == {"plot": str(file)}
        assert file.read_bytes().startswith(PNG)
        assert dag("tree", family["a"], "--plot", tmp_path / "t.gif").code == 4

    def test_curves_need_steps(self, dag, family, store, tmp_path):
        answer = dag("show", family["b"], "--plot", tmp_path / "c.png", "--json")
        assert (answer.code, answer.error["code"]) == (3, "not_found")
        run, protocol = make_run(store, family["b"], 0.7, seed=5)
        store.add_run(run, protocol, {"steps": b'{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n'})
        assert dag("show", family["b"], "--plot", tmp_path / "c.svg").code == 0
        ET.parse(tmp_path / "c.svg")


class TestQuery:
    def test_json(self, dag, family):
        answer = dag("query", "val_loss < 1", "--json").json
        assert answer["count"] == 2
        assert [node["id"] for node in answer["nodes"]] == [str(family["b"]), str(family["a"])]

    def test_text_and_limit(self, dag, family):
        answer = dag("query", "touches('train.py:LR')", "--limit", 1)
        assert answer.out.count("\n") == 2
        assert "the latest 1 of 2" in answer.err

    def test_errors_say_where_and_what_is_near(self, dag, family):
        answer = dag("query", "val_lss < 1", "--json")
        assert answer.code == 4
        assert answer.error["message"].startswith("character 1 of the condition, at `val_lss`")
        assert "val_loss" in answer.error["hint"]
        assert dag("query", "platform == 'A100'", "--json").code == 3
        answer = dag("query", f"'{EVIL}' < 1")
        assert (answer.code, "\x1b" in answer.err) == (4, False)


class TestFiles:
    def test_files(self, dag):
        answer = dag("files", "@seed", "--json").json
        assert [(file["path"], file["mode"]) for file in answer["files"]] == [
            (path, "file") for path in ("README.md", "dag.toml", "prepare.py", "train.py")
        ]
        assert all(len(file["blob"]) == 64 for file in answer["files"])
        assert dag("files", "@seed").out.splitlines()[0].split() == ["mode", "blob", "path"]

    def test_cat_is_exact(self, store):
        data = bytes(range(256))
        node = make_child(store, "@seed", {"data.bin": data})
        words = ["-C", str(store.root), "cat", f"{node}:data.bin"]
        assert subprocess.run([*PYTHON, START, *words], capture_output=True, check=True).stdout == data

    def test_cat_json(self, dag, store):
        node = make_child(store, "@seed", {"data.bin": b"\xff\x00"})
        answer = dag("cat", f"{node}:train.py", "--json").json
        assert answer == {"node": str(node), "path": "train.py", "size": len(TRAIN), "text": TRAIN}
        assert dag("cat", f"{node}:data.bin", "--json").json["base64"] == "/wA="

    def test_cat_errors(self, dag):
        assert dag("cat", "@seed").code == 2
        missing = dag("cat", "@seed:nothing.py", "--json")
        assert (missing.code, missing.error["code"]) == (3, "not_found")

    def test_checkout(self, dag, store, family, tmp_path):
        answer = dag("checkout", family["b"], tmp_path / "out", "--json").json
        assert answer == {"node": str(family["b"]), "directory": str(tmp_path / "out"), "files": 4}
        assert (tmp_path / "out/train.py").read_text() == edited("LR", 0.3)
        assert not (tmp_path / "out/.dag").exists()
        assert all(claim.node != family["b"] for claim in store.claims())
        again = dag("checkout", family["b"], tmp_path / "out", "--json")
        assert (again.code, again.error["code"]) == (4, "refused")


LOOKS = (
    ("frontier",), ("frontier", "--all"), ("log",), ("children", "@seed~0"), ("tree",), ("files", "@seed"),
    ("show", "{c}"), ("show", "{d}"), ("why", "{c}"), ("why", "{d}"),
    ("log", "{c}"), ("children", "{a}"), ("diff", "{c}"), ("cat", "{c}:train.py"),
)  # fmt: skip
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_piped_text_is_plain(dag, store, family, words):
    measure(store, family["c"], None, dagstore.Status.CRASHED, seed=5, platform=f"cpu{EVIL}")
    answer = dag(*(word.format(**family) for word in words))
    assert answer.code == 0
    assert answer.out
    assert not set(answer.out + answer.err) & {"\x1b", "\x07", "\r"}


def test_a_terminal_gets_colour_but_nothing_from_agents(store, family):
    node = make_child(store, family["a"], {"train.py": f"# {EVIL}\n\tLR = 1\n"}, why=EVIL)
    measure(store, node, None, dagstore.Status.CRASHED, log=EVIL.encode())
    for words in (
        ("show", node),
        ("why", store.adopt(node, family["b"]).node),
        ("tree",),
        ("diff", node),
        ("cat", f"{node}:train.py"),
        ("log",),
        ("children", family["a"]),
    ):
        shown = at_terminal(store, *words)
        ours = COLOUR.sub("", shown)
        assert "\x1b" not in ours, words
        assert "\x07" not in shown, words
        assert "\x1b[31mred" not in shown, words
        assert "red" in ours, words


def test_a_terminal_keeps_each_node_of_a_tree_on_one_line(store):
    make_child(store, "@seed", {"train.py": edited("LR", 5)}, why="many words " * 50)
    lines = COLOUR.sub("", at_terminal(store, "tree")).splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("…")


def test_starting_loads_only_what_a_ranking_needs(store, family):
    asked = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); " + START
    done = subprocess.run(
        [*PYTHON, asked, "-C", str(store.root), "frontier"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    heavy = {
        "json",
        "html",
        "tempfile",
        "shutil",
        "subprocess",
        "rich",
        "networkx",
        "pandas",
        "libcst",
        "psutil",
        "pathspec",
    }
    heavy |= {
        f"dagstore.{name}" for name in ("adopt", "charter", "check", "gc", "guess", "snapshot", "tickets", "views")
    }
    assert not loaded & heavy


def test_every_verb_that_looks_says_so_in_its_help(dag):
    for name in ("frontier", "why", "show", "diff", "log", "children", "tree", "files", "cat", "blame", "checkout"):
        answer = dag(name, "--help")
        assert answer.code == 0
        assert f"dag {name}" in answer.out.split("Usage:")[1].split("\n", 1)[1], name
