"""What `dag import hub` brings in, what it leaves out and says so, and what can be done with code that is lost."""

import json
import math
import os
import random
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dagstore
from cli.main import main
from dagstore import Ambiguous, BadInput, NotFound, Refused, Status
from dagstore.frontier import STRATEGIES
from dagstore.index import DERIVED
from dagstore.testing.builders import make_child, make_store, measure

REPEAT = r"best rep ?\d+"
START = 1_773_400_000
DATA = os.environ.get("DAGSTORE_HUB_DATA", "")


def hash_of(number):
    return f"{number:040x}"[::-1]


def record(number, parent=None, value=1.0, message="an idea", platform="H100", **more):
    return {
        "hash": hash_of(number),
        "parent_hash": "" if parent is None else hash_of(parent),
        "contributor_id": f"agent-{number % 3}",
        "message": message,
        "val_bpb": value,
        "platform": platform,
        "created_at": datetime.fromtimestamp(START + number, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "is_master": False,
        **more,
    }


def small_hub():
    """A root, a line of two, five re-runs of one configuration, and a child of one of them."""
    repeats = [record(10 + at, 1, 0.9 + at / 100, f"best rep {at}") for at in range(5)]
    return [
        record(0, message="baseline", platform=""),
        record(1, 0, 0.95),
        record(2, 1, 0.97),
        *repeats,
        record(20, 12),
    ]


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as store:
        yield store


@pytest.fixture
def bring(store, tmp_path):
    def run(rows, *, rerun=REPEAT, **more):
        file = tmp_path / "dag.json"
        file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
        return store.import_hub(file, **{"metric": "val_bpb", "direction": "minimize", "rerun": rerun, **more})

    return run


@pytest.fixture
def dag(tmp_path, capsys):
    make_store(tmp_path).close()
    (tmp_path / "dag.json").write_text(json.dumps(small_hub()))

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["-C", str(tmp_path / "project"), *map(str, words)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return run


def tables(store):
    with store._storage.read() as txn:
        return {table: list(txn.scan(table)) for table in DERIVED}


def reasons(remarks):
    return {one.why: one.count for one in remarks}


# What comes in


def test_a_record_becomes_a_node_and_a_run_of_it(store, bring):
    done = bring(small_hub())
    assert (done.records, done.nodes, done.runs, done.invalid, done.known) == (9, 5, 9, 0, 0)
    assert (done.left_out, done.in_part) == ((), ())
    node = store.node(hash_of(2))
    assert (node.message, node.agent, node.time) == ("an idea", "agent-2", (START + 2) * 1000)
    assert (node.primary, node.adopted) == (store.resolve(hash_of(1)), ())
    assert node.low < node.estimate < node.high
    (run,) = store.runs(hash_of(2))
    assert (run.value, run.runner, run.started, run.platform) == (0.97, "agent-2", (START + 2) * 1000, "H100")
    assert (run.seed, run.seconds, run.environment, run.environment_id, run.exit_code) == (None, 0.0, {}, "", None)
    assert store.node(hash_of(0)).primary is None
    assert done.root == store.resolve(hash_of(0))


def test_declared_reruns_are_one_node_with_all_their_runs(store, bring):
    done = bring(small_hub())
    assert (done.reruns, done.folded) == (5, 1)
    ids = {store.resolve(hash_of(10 + at)) for at in range(5)}
    assert len(ids) == 1
    assert [run.value for run in store.runs(hash_of(13))] == pytest.approx([0.9, 0.91, 0.92, 0.93, 0.94])
    assert store.node(hash_of(20)).primary == ids.pop()
    (row,) = [row for row in store.frontier(protocol=done.protocol).nodes if row.runs > 1]
    assert (row.runs, row.mean) == (5, pytest.approx(0.92))
    assert store.frontier(protocol=done.protocol).noise.n == 5


def test_equal_reruns_are_still_several_runs(store, bring):
    again = [
        record(10 + at, 0, 0.5, "best rep 1", created_at="2026-03-14T00:00:00Z", contributor_id="a") for at in range(4)
    ]
    assert bring([record(0), *again]).runs == 5
    assert store.node(hash_of(10)).runs == 4


def test_a_rerun_of_a_rerun_is_one_of_the_same_configuration(store, bring):
    chain = [record(1 + at, at, 0.9, f"best rep {at}") for at in range(4)]
    assert bring([record(0), *chain]).folded == 1
    assert store.node(hash_of(4)).primary == store.resolve(hash_of(0))


def test_without_a_pattern_every_record_is_a_node(store, bring):
    done = bring(small_hub(), rerun=None)
    assert (done.nodes, done.reruns, done.folded) == (9, 0, 0)


def test_a_platform_says_how_many_devices_there_were(store, bring):
    rows = [
        record(0, platform="A\nA\nA\n"),
        record(1, 0, platform="B\nA"),
        record(2, 0, platform=""),
        record(3, 0, platform=None),
    ]
    assert bring(rows).platforms == ("3x A", "A, B", "unknown")


def test_importing_again_changes_nothing(store, bring):
    bring(small_hub())
    before = tables(store)
    again = bring(small_hub())
    assert (again.nodes, again.runs, again.known) == (0, 0, 9)
    assert tables(store) == before


def test_a_file_that_grew_brings_what_is_new(store, bring):
    first = bring(small_hub())
    node = store.resolve(hash_of(10))
    more = [record(15, 1, 0.8, "best rep 6"), record(30, 20)]
    done = bring([*small_hub(), *more])
    assert (done.nodes, done.runs, done.known, done.protocol) == (1, 2, 9, first.protocol)
    assert store.resolve(hash_of(15)) == node
    assert store.node(node).runs == 6


def test_a_file_that_begins_where_another_ended_goes_on_from_there(store, bring):
    first = bring(small_hub())
    done = bring([record(40, 20, 0.7), record(15, 1, 0.8, "best rep 6")])
    assert (done.nodes, done.runs, done.left_out, done.protocol) == (2, 2, (), first.protocol)
    assert store.node(hash_of(40)).primary == store.resolve(hash_of(20))


def test_what_was_interrupted_is_completed(store, bring, monkeypatch):
    monkeypatch.setattr("dagstore.intake.LOT", 2)

    def stop(done, _total):
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(small_hub(), progress=stop)
    assert bring(small_hub()).known == 6
    assert (store.count(), len(store.runs())) == (6, 9)


def test_its_index_is_made_again_from_the_log(store, bring, tmp_path):
    bring(small_hub())
    measure(store, make_child(store, "@seed", {"train.py": "x = 1\n"}), 0.5)
    before = tables(store)
    assert store.fsck("full").clean
    root = store.root
    store.close()
    with dagstore.open(root, stale=True) as again:
        again.reindex()
        assert tables(again) == before
        assert again.fsck("full").clean


# The ranking


def test_imported_numbers_are_ranked_by_themselves(store, bring):
    done = bring(small_hub())
    assert (store.frontier().nodes, store.frontier().outside) == ((), 9)
    with pytest.raises(NotFound, match="nothing was measured"):
        store.resolve("@best")
    own = make_child(store, "@seed", {"train.py": "x = 1\n"})
    measure(store, own, 5.0)
    bring([*small_hub(), record(50, 0, 0.1)])
    assert [row.id for row in store.frontier().nodes] == [own]
    assert store.resolve("@best") == own
    theirs = store.frontier(protocol=str(done.protocol)[:6])
    assert (theirs.protocol, theirs.metric, theirs.nodes[0].mean) == (done.protocol, "val_bpb", 0.1)
    assert [one.protocol == done.protocol for one in store.frontiers()].count(True) == 2


def test_every_strategy_ranks_imported_numbers_or_says_why_not(store, bring):
    protocol = bring([*small_hub(), *(record(30 + at, 1, 0.95 + at / 100) for at in range(5))]).protocol
    for strategy in set(STRATEGIES) - {"pareto"}:
        assert store.frontier(protocol=protocol, strategy=strategy).measured > 5
    assert not store.frontier(protocol=protocol, strategy="near-miss").nodes  # no code, so nothing to adopt
    with pytest.raises(NotFound, match="no experiment has a number on every axis"):
        store.frontier(protocol=protocol, strategy="pareto")


def test_two_hubs_are_not_compared(store, bring):
    one, other = bring([record(0), record(1, 0)]), bring([record(100), record(101, 100)])
    assert one.protocol != other.protocol
    assert len(store.protocols()) == 2


@pytest.mark.parametrize("ref", ["0", "zz", "12345678"])
def test_a_protocol_that_is_none_is_said_to_be_none(store, bring, ref):
    bring(small_hub())
    with pytest.raises((NotFound, BadInput)) as error:
        store.frontier(protocol=ref)
    assert "dag protocols" in error.value.hint


# The names that they had


def test_a_node_is_found_by_what_it_was_called(store, bring):
    bring([record(0), record(1, 0)])
    node = store.resolve(hash_of(1))
    assert store.resolve(hash_of(1)[:4]) == node
    assert store.resolve(f"{hash_of(1)}~1") == store.resolve(hash_of(0))
    assert store.aliases(node).count == 1
    assert str(store.aliases(node).first[0]) == f"hub:{hash_of(1)}"


def test_a_name_that_begins_several_is_ambiguous_and_lists_them(store, bring):
    rows = [record(at, None if at == 0 else 0) for at in range(4)]
    for at, row in enumerate(rows):
        row["hash"] = f"feed{at}" + row["hash"][5:]
        row["parent_hash"] = rows[0]["hash"] if at else ""
    bring(rows)
    with pytest.raises(Ambiguous, match="feed0") as error:
        store.resolve("feed")
    assert all(store.short(store.resolve(row["hash"])) in error.value.message for row in rows)
    assert store.resolve("feed2") == store.resolve(rows[2]["hash"])


def test_an_id_and_a_name_that_begin_alike_are_ambiguous(store, bring):
    seed = store.resolve("@seed")
    twin = str(seed)[:12]
    bring([{**record(0), "hash": twin + "f" * 28}])
    other = store.resolve(twin + "ffff")
    with pytest.raises(Ambiguous, match=f"called {twin}"):
        store.resolve(twin)
    assert store.resolve(store.short(seed)) == seed
    assert len(store.short(seed)) > len(twin)
    assert other != seed


def test_a_name_takes_no_id_away(store):
    seed = store.resolve("@seed")
    node = make_child(store, "@seed", {"train.py": "x = 1\n"})
    store.note(node, f"hub:{seed}", kind="alias")
    assert store.resolve(str(seed)) == seed
    with pytest.raises(Ambiguous):
        store.resolve(str(seed)[:20])


def test_an_exact_name_is_not_the_beginning_of_a_longer_one(store, bring):
    bring([{**record(0), "hash": "exp-1"}, {**record(1), "hash": "exp-10", "parent_hash": "exp-1"}])
    assert store.node("exp-10").primary == store.resolve("exp-1")
    with pytest.raises(Ambiguous):
        store.resolve("exp-")


def test_names_are_no_talk(store, bring):
    bring(small_hub())
    assert {note.kind for note in store.board(100)} == {"hypothesis"}
    assert [note.text for note in store.notes(hash_of(2))] == ["an idea"]


def test_a_note_that_names_nothing_names_nothing(store):
    store.note("@seed", "no alias at all", kind="alias")
    assert store.aliases("@seed").first == ()
    with pytest.raises(NotFound):
        store.resolve("no alias")
    assert store.fsck("full").clean


# Code that is lost


@pytest.mark.parametrize(
    "verb",
    [
        lambda store, node: store.spawn(node),
        lambda store, node: store.queue([node]),
        lambda store, node: store.adopt("@seed", node),
        lambda store, node: store.adopt(node, "@seed", primary="@seed", dry_run=True),
        lambda store, node: store.compatible(node, "@seed"),
        lambda store, node: store.checkout(node, store.root / "out"),
        lambda store, node: store.record(store.root, [node]),
        lambda store, node: store.record(store.root, ["@seed", node]),
        lambda store, node: store.charter(node),
    ],
)
def test_nothing_can_be_built_on_it(store, bring, verb):
    bring(small_hub())
    (store.root / "train.py").write_text("x = 2\n")
    before = store.count()
    with pytest.raises(Refused, match="is lost") as error:
        verb(store, hash_of(2))
    assert error.value.code == "code_lost"
    assert "@seed" in error.value.hint
    assert store.count() == before


def test_a_batch_does_not_build_on_it_either(store, bring):
    bring(small_hub())
    with store.batch() as batch, pytest.raises(Refused, match="is lost"):
        batch.record([hash_of(2)], {"train.py": b"x = 1\n"})


def test_it_can_be_looked_at(store, bring):
    bring(small_hub())
    assert store.lost(hash_of(2)) == ("hub", hash_of(2))
    assert store.lost("@seed") is None
    assert store.diff(hash_of(2)).lost == (store.resolve(hash_of(1)), store.resolve(hash_of(2)))
    assert store.diff("@seed", hash_of(2)).files == ()
    assert store.diff("@seed").lost == ()
    assert [node.id for node in store.lineage(hash_of(20))][-1] == store.resolve(hash_of(0))
    assert store.merge_base("@seed", hash_of(2)) is None
    assert len(store.subtree(hash_of(0)).nodes) == 5
    assert store.why(hash_of(2)).primary == store.resolve(hash_of(1))
    store.note(hash_of(2), "remembered")
    store.name("theirs", hash_of(2))
    assert store.node("theirs").names == ("theirs",)


# What cannot come in


def test_what_is_left_out_is_counted_with_its_reason(store, bring):
    rows = [
        record(0),
        7,
        {**record(1, 0), "hash": None},
        {**record(2, 0), "hash": "a b"},
        {**record(3, 0), "message": ["x"]},
        {**record(4, 0), "platform": "x" * 401},
        record(5, 0),
        record(5, 0, 0.5),
        record(6, 99),
        record(7, 6),
        record(8, 9),
        record(9, 8),
        record(10, 10),
        record(11, 4),
    ]
    done = bring(rows)
    assert (done.records, done.nodes, done.runs) == (14, 2, 2)
    assert reasons(done.left_out) == {
        "it is no JSON object": 1,
        "it has no usable hash": 2,
        "its message is no text": 1,
        "its platform is longer than 400 bytes": 1,
        "its hash was there before": 1,
        "its parent is not in the file, or left out": 2,
        "it builds on one that is left out": 1,
        "its parents go in a circle": 3,
    }
    assert sum(reasons(done.left_out).values()) + done.runs == done.records
    assert store.fsck("full").clean


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, "is not finite"),
        (-math.inf, "is not finite"),
        (10**400, "is not finite"),
        (None, "was not reported"),
        ("0.5", "is no number"),
        (True, "is no number"),
        ([1], "is no number"),
    ],
)
def test_a_value_that_is_none_makes_an_invalid_run(store, bring, value, why):
    done = bring([record(0), record(1, 0, value)])
    assert (done.runs, done.invalid, reasons(done.in_part)) == (2, 1, {f"val_bpb {why}": 1})
    (run,) = store.runs(hash_of(1))
    assert (run.status, run.value, run.metrics) == (Status.INVALID, None, {})
    assert why in run.reason
    assert store.node(hash_of(1)).estimate is None


def test_what_is_missing_is_left_empty_and_what_is_too_long_is_cut(store, bring):
    bare = {"hash": hash_of(1), "parent_hash": hash_of(0), "val_bpb": 1}
    long = record(2, 0, message="x" * 10_001, created_at="yesterday", contributor_id="\x1b[31mred\n" + "y" * 500)
    done = bring([record(0), bare, long])
    assert reasons(done.in_part) == {
        "its created_at is no time": 2,
        "its message is longer than 10000 characters, and was cut": 1,
    }
    assert (store.node(hash_of(1)).message, store.node(hash_of(1)).time) == ("", 0)
    assert len(store.node(hash_of(2)).message) == 10_000
    assert store.node(hash_of(2)).agent.startswith("red y")
    assert store.runs(hash_of(1))[0].started == 0


def test_what_is_no_unicode_is_replaced(store, bring):
    bring([record(0, message="half \ud800 a pair", platform="\ud800")])
    assert store.node(hash_of(0)).message == "half ? a pair"
    assert store.runs(hash_of(0))[0].platform == "?"


@pytest.mark.parametrize("text", ["", "{}", "null", "[", "[" * 100_000, '[{"hash": ', "\ud800"])
def test_a_file_that_is_no_list_of_records_is_refused(store, bring, tmp_path, text):
    before = tables(store)
    (tmp_path / "dag.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInput, match="JSON"):
        store.import_hub(tmp_path / "dag.json", metric="val_bpb", direction="minimize")
    assert tables(store) == before


def test_an_empty_list_brings_nothing(store, bring):
    done = bring([])
    assert (done.records, done.nodes, done.protocol, done.root) == (0, 0, None, None)


def test_a_metric_that_no_record_has_is_refused_with_those_that_there_are(store, bring):
    with pytest.raises(BadInput, match="'loss'") as error:
        bring(small_hub(), metric="loss")
    assert "val_bpb" in error.value.hint
    with pytest.raises(BadInput, match="'down'"):
        bring(small_hub(), direction="down")
    assert store.count() == 1


def test_a_file_that_cannot_be_read_is_said_to_be_none(store, tmp_path):
    with pytest.raises(NotFound, match="no file"):
        store.import_hub(tmp_path / "no.json", metric="x", direction="minimize")
    with pytest.raises(dagstore.Unavailable, match=str(tmp_path)):
        store.import_hub(tmp_path, metric="x", direction="minimize")


def test_a_pattern_that_is_none_or_takes_for_ever_is_refused(store, bring):
    with pytest.raises(BadInput, match="no regular expression"):
        bring(small_hub(), rerun="(")
    with pytest.raises(BadInput, match=r"takes longer than 0\.2 s") as error:
        bring([record(0, message="a" * 5000 + "b")], rerun="(a+)+", patience=0.2)
    assert "(a+)+" in error.value.hint
    assert store.count() == 1


# Laws

ROWS = st.lists(st.tuples(st.integers(0, 1 << 20), st.floats(0.9, 1.1), st.booleans()), min_size=1, max_size=12)


def hub_of(rows):
    """A forest: each record has an earlier one as its parent, or none."""
    return [
        record(
            at, None if pick % (at + 1) == at else pick % (at + 1), value, f"best rep {at}" if again else f"idea {at}"
        )
        for at, (pick, value, again) in enumerate(rows)
    ]


@settings(max_examples=25)
@given(rows=ROWS, seed=st.integers(0, 1 << 16))
@example(rows=[(0, 1.0, True), (1, 1.0, True)], seed=0)  # a re-run before the first of them in time
def test_the_order_of_records_never_matters(rows, seed, tmp_path_factory):
    hub = hub_of(rows)
    shuffled = random.Random(seed).sample(hub, len(hub))
    found = []
    for number, dump in enumerate((hub, shuffled)):
        folder = tmp_path_factory.mktemp(f"order{number}")
        (folder / "dag.json").write_text(json.dumps(dump))
        with make_store(folder) as store:
            done = store.import_hub(folder / "dag.json", metric="val_bpb", direction="minimize", rerun=REPEAT)
            assert done.runs == len(hub)
            assert done.left_out == ()
            names = {one["hash"]: store.resolve(one["hash"]) for one in hub}
            runs = {run.id for run in store.runs()}
            by_id = {node.id: node for node in store.nodes()}
            assert set(names.values()) == by_id.keys() - {store.resolve("@seed")}
            for one in hub:
                plain = not one["message"].startswith("best")
                if plain and one["parent_hash"]:
                    assert by_id[names[one["hash"]]].primary == names[one["parent_hash"]]
            assert sum(node.runs for node in by_id.values()) == len(hub)
            found.append((names, runs, done.protocol))
    assert found[0] == found[1]


# The command


def test_the_command_says_what_came(dag, tmp_path):
    words = ("import", "hub", tmp_path / "dag.json", "--metric", "val_bpb", "--minimize", "--rerun", REPEAT)
    code, out, _ = dag(*words, "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["source"], answer["records"], answer["nodes"], answer["reruns"]) == ("hub", 9, 5, 5)
    code, out, _ = dag(*words)
    assert code == 0
    assert "9 were known" in out
    assert "5 re-runs of 1 node" in out
    _, out, _ = dag("frontier", "--all")
    assert "from 5 repeated runs" in out
    assert dag("frontier", "--protocol", answer["protocol"][:8], "--json")[0] == 0


def test_the_options_of_every_verb_may_stand_anywhere(dag, tmp_path):
    words = ("hub", tmp_path / "dag.json", "--metric", "val_bpb", "--minimize")
    assert json.loads(dag("import", "--json", *words)[1])["runs"] == 9
    assert json.loads(dag("--json", "import", *words)[1])["known"] == 9


def test_the_command_asks_for_a_direction(dag, tmp_path):
    code, _, err = dag("import", "hub", tmp_path / "dag.json", "--metric", "val_bpb", "--json")
    assert (code, json.loads(err)["code"]) == (2, "usage")


def test_show_says_that_the_code_is_lost_and_what_else_the_node_is_called(dag, tmp_path):
    dag("import", "hub", tmp_path / "dag.json", "--metric", "val_bpb", "--minimize", "--rerun", REPEAT)
    _, out, _ = dag("show", hash_of(12))
    assert "lost: it came from hub without any" in out
    assert f"hub:{hash_of(10)}" in out
    assert "and 2 more" in out
    answer = json.loads(dag("show", hash_of(12), "--json")[1])
    assert (answer["lost"], answer["aliases"]["count"]) == ({"source": "hub", "id": hash_of(10)}, 5)
    code, out, err = dag("diff", hash_of(2))
    assert (code, out) == (0, "")
    assert "is lost" in err
    assert dag("spawn", hash_of(2))[0] == 4


@pytest.mark.skipif(not DATA, reason="DAGSTORE_HUB_DATA names no dump of a hub")
def test_a_real_hub(store):
    done = store.import_hub(DATA, metric="val_bpb", direction="minimize", rerun=r"(FIX_)?best64[_ ]rep(eat)?\s*_?\d+")
    assert (done.records, done.runs, done.nodes, done.reruns, done.folded) == (14_732, 14_732, 3_541, 11_192, 1)
    frontier = store.frontier(protocol=done.protocol)
    assert frontier.noise.n == 11_192
    assert frontier.noise.sd == pytest.approx(0.000371, rel=0.01)
    assert store.fsck("full").clean
