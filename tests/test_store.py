"""The laws of a store as its users see them: identity, proposing, measuring, ranking, adopting."""

import itertools
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import networkx
import pytest

import dagstore
from dagstore.claims import PROPOSE
from dagstore.codec import encode
from dagstore.errors import BadInput, ClaimLost, NotFound, Refused, Unavailable
from dagstore.ids import BlobId, NodeId, RunId
from dagstore.index import VERSION_KEY
from dagstore.model import Direction, Status
from dagstore.storage import TABLES
from dagstore.testing.builders import (
    FILES,
    START,
    TRAIN,
    Entropy,
    FakeClock,
    make_child,
    make_project,
    make_run,
    make_store,
    measure,
    write_files,
)

DAY = 86_400
FLEET = {**FILES, "train.py": "LR = 0.1\n\nWIDTH = 64\n\nDEPTH = 4\n\nWARMUP = 10\n"}


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(tmp_path, clock):
    with make_store(tmp_path, clock=clock) as store:
        yield store


@pytest.fixture
def upward(tmp_path):
    with make_store(tmp_path / "upward", direction="maximize") as store:
        yield store


def edited(text):
    return {"train.py": TRAIN + text}


def child(store, text, parent="@seed", **said):
    return make_child(store, parent, edited(text), **said)


def state(store):
    """All that a store holds, to see that nothing was recorded."""
    with store._storage.read() as txn:
        return {table: list(txn.scan(table)) for table in TABLES}


# --- init ---


def test_a_new_store_holds_the_project_as_its_seed(tmp_path):
    project = make_project(tmp_path / "p")
    made = dagstore.init(project)
    with dagstore.open(project) as store:
        seed = store.node("@seed")
        assert (made.node, made.files, made.guessed) == (seed.id, 4, ())
        assert (seed.primary, seed.adopted, seed.generation, seed.runs, seed.status) == (None, (), 0, 0, "new")
        assert {entry.path for entry in store.files("@seed")} == {*FILES, "dag.toml"}
        assert store.count() == 1
        assert made.charter == store.charter()
        assert store.root == project


def test_the_same_project_has_the_same_seed_everywhere(tmp_path):
    one = dagstore.init(make_project(tmp_path / "a"), agent="ada", clock=FakeClock(1.0), entropy=Entropy(1))
    other = dagstore.init(make_project(tmp_path / "b"), agent="bob", clock=FakeClock(2.0), entropy=Entropy(2))
    assert one.node == other.node


def test_stores_have_names_of_their_own(tmp_path):
    with make_store(tmp_path / "a", seed=1) as one, make_store(tmp_path / "b", seed=2) as other:
        assert len(one.uuid) == 32
        assert one.uuid != other.uuid


def test_a_store_is_made_once(tmp_path):
    project = make_project(tmp_path)
    first = dagstore.init(project)
    with pytest.raises(Refused, match="exists already") as caught:
        dagstore.init(project)
    assert caught.value.code == "exists"
    with dagstore.open(project) as store:
        assert store.resolve("@seed") == first.node


def test_a_charter_that_is_there_is_not_overruled(tmp_path):
    with pytest.raises(BadInput, match="--metric"):
        dagstore.init(make_project(tmp_path), metric="other")
    assert not (tmp_path / ".dag").exists()


def test_a_project_that_cannot_be_recorded_leaves_no_store_behind(tmp_path):
    project = make_project(tmp_path / "p")
    (project / "dag.toml").write_text((project / "dag.toml").read_text() + 'file_limit = "1KB"\n')
    (project / "large").write_bytes(bytes(2000))
    with pytest.raises(BadInput, match="large"):
        dagstore.init(project)
    with pytest.raises(NotFound):
        dagstore.open(project)
    (project / "large").unlink()
    dagstore.init(project)


def test_an_init_that_breaks_off_leaves_no_finished_store(tmp_path):
    project = make_project(tmp_path / "p")

    def broken(size):
        raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable):
        dagstore.init(project, entropy=broken)
    with pytest.raises(NotFound, match="never finished") as caught:
        dagstore.open(project)
    assert "dag init" in caught.value.hint
    made = dagstore.init(project)
    with dagstore.open(project) as store:
        assert store.resolve("@seed") == made.node
        assert store.fsck("full").clean


def test_what_was_said_may_change_after_an_init_that_broke_off(tmp_path):
    (tmp_path / "train.py").write_text("print('loss: 1')\n")

    def broken(size):
        raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable):
        dagstore.init(tmp_path, metric="loss", entropy=broken)
    assert dagstore.init(tmp_path, metric="accuracy").charter.metric == "accuracy"


def test_a_folder_that_is_not_there_is_no_project(tmp_path):
    with pytest.raises(NotFound):
        dagstore.init(tmp_path / "none")
    with pytest.raises(NotFound, match="not in a store"):
        dagstore.open(tmp_path)


def test_a_store_is_found_from_below_and_from_workspaces(store, tmp_path):
    (store.root / "deep" / "er").mkdir(parents=True)
    spawned = store.spawn("@seed", into=tmp_path / "elsewhere")
    for start in (store.root / "deep" / "er", store.folder, spawned.workspace):
        with dagstore.open(start) as again:
            assert again.uuid == store.uuid


def test_a_closed_store_refuses(store):
    store.close()
    with pytest.raises(Refused, match="closed"):
        store.count()


def test_a_store_of_a_later_format_is_refused(store):
    with store._storage.write() as txn:
        txn.put("meta", b"format", b"3")
    with pytest.raises(Refused, match="format 3") as caught:
        dagstore.open(store.root)
    assert caught.value.code == "newer_format"


def test_indexes_of_another_version_are_rebuilt_on_demand(store):
    node = child(store, "x = 1\n")
    with store._storage.write() as txn:
        txn.put("place", VERSION_KEY, b"0")
    store.close()
    with pytest.raises(Refused, match="indexes of another version") as caught:
        dagstore.open(store.root)
    assert caught.value.code == "stale_index"
    with dagstore.open(store.root, stale=True) as stale:
        stale.reindex()
    with dagstore.open(store.root) as again:
        assert [row.id for row in again.nodes()] == [again.resolve("@seed"), node]


# --- identity ---


def test_a_node_is_its_parents_and_its_tree_and_nothing_else(store, clock):
    first = child(store, "x = 1\n", why="one reason", agent="ada")
    clock.advance(DAY)
    sealed = seal_again(store, "x = 1\n", why="another reason", agent="bob")
    assert (sealed.node, sealed.known) == (first, True)
    assert store.count() == 2
    assert [(note.author, note.text) for note in store.notes(first)] == [
        ("ada", "one reason"),
        ("bob", "another reason"),
    ]
    view = store.node(first)
    assert (view.message, view.agent, view.time) == ("one reason", "ada", int(START * 1000))


def seal_again(store, text, **said):
    workspace = store.spawn("@seed", agent=said.pop("agent", "")).workspace
    write_files(Path(workspace), edited(text))
    return store.seal(workspace, **said)


def test_the_same_change_in_another_store_is_the_same_node(tmp_path):
    with make_store(tmp_path / "a", seed=1) as one, make_store(tmp_path / "b", seed=2) as other:
        child(one, "# something before\n")
        assert child(one, "x = 1\n") == child(other, "x = 1\n")


def test_other_parents_make_another_node_of_the_same_tree(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    below = make_child(store, b, edited("x = 1\n"))
    assert below != a
    assert store.node(below).tree == store.node(a).tree


def test_the_order_of_parents_does_not_matter(tmp_path):
    made = []
    for number, order in enumerate(itertools.permutations(range(3))):
        with make_store(tmp_path / str(number), FLEET) as store:
            nodes = [make_child(store, "@seed", {"train.py": f"LR = {lr}\n"}) for lr in range(3)]
            project = make_project(tmp_path / "project", {**FILES, "train.py": "LR = 1\nMORE = 2\n"})
            sealed = store.record(project, [nodes[at] for at in order])
            made.append((sealed.node, sealed.primary, sealed.adopted))
            assert sealed.primary == nodes[1]
    assert len(set(made)) == 1


def test_modes_links_and_names_are_part_of_a_tree(store, tmp_path):
    project = make_project(tmp_path / "p")
    ids = {store.record(change(project), ["@seed"]).node for change in (executable, linked, renamed)}
    assert len(ids) == 3


def executable(project):
    (project / "train.py").chmod(0o755)
    return project


def linked(project):
    (project / "train.py").chmod(0o644)
    (project / "latest").symlink_to("train.py")
    return project


def renamed(project):
    (project / "latest").unlink()
    (project / "README.md").rename(project / "README.txt")
    return project


# --- spawn, seal, peek, record, abandon ---


def test_a_workspace_holds_the_files_of_its_parent_under_a_claim(store, clock):
    spawned = store.spawn("@seed", why="try", agent="ada", ttl=60)
    workspace = Path(spawned.workspace)
    assert {path.name for path in workspace.iterdir()} == {*FILES, "dag.toml", ".dag"}
    assert (workspace / "train.py").read_text() == TRAIN
    assert spawned.primary == store.resolve("@seed")
    (claim,) = store.claims()
    assert claim == spawned.claim
    assert (claim.agent, claim.purpose, claim.node) == ("ada", PROPOSE, spawned.primary)
    assert (claim.started, claim.deadline) == (int(START * 1000), int(START * 1000) + 60_000)


def test_sealing_records_the_workspace_and_gives_the_claim_back(store):
    spawned = store.spawn("@seed", why="wider", agent="ada")
    write_files(Path(spawned.workspace), {"train.py": TRAIN.replace("64", "128"), "new/file.txt": "1\n2\n"})
    sealed = store.seal(spawned.workspace)
    assert (sealed.primary, sealed.adopted, sealed.known, sealed.runs) == (spawned.primary, (), False, ())
    assert (sealed.diff.files, sealed.diff.insertions, sealed.diff.deletions) == (2, 3, 1)
    assert store.claims() == ()
    view = store.node(sealed.node)
    assert (view.message, view.agent, view.primary, view.generation) == ("wider", "ada", spawned.primary, 1)
    assert store.cat(sealed.node, "new/file.txt") == b"1\n2\n"
    assert [node.id for node in store.children("@seed")] == [sealed.node]
    assert store.workspace(spawned.workspace).sealed == sealed.node


def test_sealing_says_what_was_measured_of_a_known_node(store):
    node = child(store, "x = 1\n")
    run = measure(store, node, 0.5)
    assert seal_again(store, "x = 1\n").runs == (run,)


def test_sealing_from_inside_or_a_moved_workspace(store, tmp_path):
    spawned = store.spawn("@seed", into=tmp_path / "here")
    write_files(tmp_path / "here", {"sub/x.txt": "1", **edited("x = 1\n")})
    (tmp_path / "here").rename(tmp_path / "there")
    assert store.workspace(tmp_path / "there" / "sub").id == store.workspace(tmp_path / "there").id
    assert store.seal(tmp_path / "there" / "sub").primary == spawned.primary


def test_a_workspace_is_sealed_once(store):
    workspace = store.spawn("@seed").workspace
    write_files(Path(workspace), edited("x = 1\n"))
    node = store.seal(workspace).node
    write_files(Path(workspace), edited("x = 2\n"))
    before = state(store)
    with pytest.raises(Refused, match=str(node)[:12]) as caught:
        store.seal(workspace)
    assert caught.value.code == "sealed"
    assert state(store) == before


def test_no_change_is_no_experiment(store, tmp_path):
    before = store.spawn("@seed").workspace
    with pytest.raises(Refused, match="nothing changed") as caught:
        store.seal(before)
    assert caught.value.code == "nothing_changed"
    with pytest.raises(Refused, match="nothing changed"):
        store.record(make_project(tmp_path / "same"), ["@seed"])
    assert store.count() == 1
    assert len(store.claims()) == 1


@pytest.mark.parametrize("path", ["prepare.py", "dag.toml"])
def test_locked_paths_do_not_change_unless_unlocked(store, path):
    workspace = Path(store.spawn("@seed").workspace)
    with (workspace / path).open("a") as file:
        file.write("# looser\n")
    with pytest.raises(Refused, match=f"locked: {path}") as caught:
        store.seal(workspace)
    assert caught.value.code == "locked"
    assert store.count() == 1
    assert store.seal(workspace, unlock=True).diff.files == 1


def test_a_locked_path_cannot_be_removed_either(store):
    workspace = Path(store.spawn("@seed").workspace)
    (workspace / "prepare.py").unlink()
    with pytest.raises(Refused, match=r"locked: prepare\.py"):
        store.seal(workspace)


def test_a_node_without_a_charter_is_refused(store):
    workspace = Path(store.spawn("@seed").workspace)
    (workspace / "dag.toml").unlink()
    with pytest.raises(Refused, match=r"dag.toml is gone"):
        store.seal(workspace, unlock=True)
    (workspace / "dag.toml").write_text("command = 1\n")
    with pytest.raises(BadInput, match=r"dag.toml line 1"):
        store.seal(workspace, unlock=True)


def test_peeking_foresees_sealing_and_records_nothing(store):
    spawned = store.spawn("@seed")
    assert store.peek(spawned.workspace) == (spawned.primary, True)
    write_files(Path(spawned.workspace), edited("x = 1\n"))
    before = state(store)
    foreseen = store.peek(spawned.workspace)
    assert state(store) == before
    assert foreseen == (store.seal(spawned.workspace).node, False)
    again = store.spawn("@seed")
    write_files(Path(again.workspace), edited("x = 1\n"))
    assert store.peek(again.workspace) == (foreseen[0], True)


def test_edits_of_the_same_size_in_the_same_moment_are_seen(store):
    for number in range(10):
        workspace = Path(store.spawn("@seed").workspace)
        write_files(workspace, edited(f"x = {number}\n"))
        write_files(workspace, edited(f"y = {number}\n"))
        assert store.cat(store.seal(workspace).node, "train.py").decode() == TRAIN + f"y = {number}\n"


def test_what_is_no_workspace_cannot_be_sealed(store, tmp_path):
    for path in (tmp_path, tmp_path / "none", store.root):
        with pytest.raises(NotFound, match="no workspace"):
            store.seal(path)
    spawned = store.spawn("@seed", into=tmp_path / "w")
    (tmp_path / "w" / ".dag").write_text("{")
    with pytest.raises(NotFound):
        store.seal(spawned.workspace)


def test_a_workspace_of_another_store_is_not_ours(store, tmp_path):
    with make_store(tmp_path / "other", seed=9) as other:
        foreign = other.spawn("@seed").workspace
        with pytest.raises(NotFound, match="no workspace of this store"):
            store.seal(foreign)


def test_a_workspace_needs_an_empty_place(store, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    before = state(store)
    with pytest.raises(Refused, match="not empty"):
        store.spawn("@seed", into=tmp_path / "taken")
    assert state(store) == before


def test_abandoning_gives_back_the_claim_and_the_directory(store, tmp_path):
    inside, outside = store.spawn("@seed"), store.spawn("@seed", into=tmp_path / "w")
    for spawned in (inside, outside):
        store.abandon(spawned.workspace)
        with pytest.raises(NotFound):
            store.seal(spawned.workspace)
    assert not Path(inside.workspace).exists()
    assert (tmp_path / "w" / "train.py").exists()
    assert (store.claims(), store.workspaces()) == ((), ())


def test_releasing_gives_a_claim_back_once(store):
    token = store.spawn("@seed").claim.token
    assert [store.release(token), store.release(token), store.release(12345)] == [True, False, False]


def test_recording_a_directory_keeps_the_rules_of_every_parent(store, tmp_path):
    node = child(store, "x = 1\n")
    project = make_project(tmp_path / "p", {**FILES, **edited("x = 1\n")})
    with pytest.raises(Refused, match="nothing changed"):
        store.record(project, ["@seed", node])
    with pytest.raises(BadInput, match="at least one parent"):
        store.record(project, [])
    with pytest.raises(NotFound):
        store.record(tmp_path / "none", ["@seed"])
    assert store.record(project, ["@seed"]).known


def test_a_checkout_is_no_workspace(store, tmp_path):
    node = child(store, "x = 1\n")
    assert store.checkout(node, tmp_path / "out") == len(store.files(node))
    assert (tmp_path / "out" / "train.py").read_text() == TRAIN + "x = 1\n"
    assert (store.workspaces()[1:], store.claims()) == ((), ())


# --- looking ---


def test_every_way_through_the_graph_agrees(store):
    a = child(store, "x = 1\n")
    b = make_child(store, a, {"extra.py": "1\n"})
    c = child(store, "x = 2\n")
    seed = store.resolve("@seed")
    assert [node.id for node in store.nodes()] == [seed, a, b, c]
    assert [node.id for node in store.nodes(limit=2, newest_first=True)] == [c, b]
    assert [node.id for node in store.lineage(b)] == [b, a, seed]
    assert [node.id for node in store.lineage(b, limit=2)] == [b, a]
    assert [node.id for node in store.ancestors(b)] == [seed, a]
    assert [node.id for node in store.children(seed)] == [a, c]
    assert [(row.depth, row.node.id) for row in store.subtree(seed).nodes] == [(0, seed), (1, a), (2, b), (1, c)]
    graph = store.graph()
    assert networkx.is_directed_acyclic_graph(graph)
    assert set(graph.edges) == {(seed, a), (a, b), (seed, c)}
    assert networkx.descendants(graph, seed) == {a, b, c}


def test_a_forest_too_large_for_a_page_keeps_what_others_build_on(store):
    leaves = [child(store, f"x = {number}\n") for number in range(5)]
    below = make_child(store, leaves[4], {"extra.py": "1\n"})
    page = store.subtree("@seed", limit=3)
    assert {row.node.id for row in page.nodes} >= {store.resolve("@seed"), leaves[4]}
    assert len(page.nodes) == 3
    assert page.hidden == 7 - 3
    shallow = store.subtree("@seed", depth=1)
    assert (len(shallow.nodes), shallow.hidden) == (6, 1)
    assert below not in [row.node.id for row in shallow.nodes]


def test_differences(store):
    a = make_child(store, "@seed", {**edited("x = 1\n"), "new.bin": b"\0\1"})
    diff = store.diff(a)
    assert (diff.old, diff.new, diff.insertions, diff.deletions) == (store.resolve("@seed"), a, 1, 0)
    assert [(file.path, file.change) for file in diff.files] == [("new.bin", "added"), ("train.py", "modified")]
    assert "+x = 1" in str(diff)
    assert [file.change for file in store.diff(a, "@seed").files] == ["deleted", "modified"]
    assert store.diff(a, a).files == ()
    assert {file.change for file in store.diff("@seed").files} == {"added"}


def test_files_that_are_not_there_are_named(store):
    with pytest.raises(NotFound, match=r"no file 'none.py'") as caught:
        store.cat("@seed", "none.py")
    assert "dag files" in caught.value.hint


def test_notes_are_kept_in_order_and_for_good(store, clock):
    store.note("@seed", "first", agent="ada")
    clock.advance(1)
    made = store.note("@seed", "second\n\x1b[31m", agent="bob", kind="verdict")
    assert [note.text for note in store.notes("@seed")] == ["seed", "first", "second\n\x1b[31m"]
    assert (made.kind, made.author, made.time) == ("verdict", "bob", int((START + 1) * 1000))
    assert [note.text for note in store.board(2)] == ["second\n\x1b[31m", "first"]
    for text in ("", " \n"):
        with pytest.raises(BadInput, match="empty note"):
            store.note("@seed", text)


def test_text_that_is_no_unicode_is_kept_as_far_as_it_can_be(store):
    assert store.note("@seed", "caf\udce9", agent="\ud800").text == "caf?"


# --- runs ---


def test_a_run_is_recorded_with_its_protocol_and_log(store):
    node = child(store, "x = 1\n")
    made = measure(store, node, 0.5, metrics={"steps": 10}, log=b"step 1\n")
    assert (made.node, made.status, made.value) == (node, Status.OK, 0.5)
    assert made.metrics == {"steps": 10.0, "val_loss": 0.5}
    assert store.blob(made.artifacts["log"]) == b"step 1\n"
    assert store.runs(node) == store.runs() == (store.run(made.id),) == (made,)
    view = store.node(node)
    assert (view.runs, view.status, view.estimate, view.low, view.high) == (1, "ok", 0.5, None, None)
    with pytest.raises(NotFound):
        store.run(RunId.of(b"none"))


def test_recording_a_run_again_changes_nothing(store):
    first = measure(store, "@seed", 0.5, log=b"log")
    before = state(store)
    assert measure(store, "@seed", 0.5, log=b"log") == first
    assert state(store) == before


def test_equal_trees_share_their_runs(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    below = make_child(store, b, edited("x = 1\n"))
    run = measure(store, a, 0.5)
    assert store.runs(below) == store.runs(a) == (run,)
    assert store.node(below).estimate == 0.5
    assert store.queue([below]) == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(store, value):
    before = state(store)
    with pytest.raises(BadInput, match="not finite"):
        measure(store, "@seed", value)
    with pytest.raises(BadInput, match="not finite"):
        measure(store, "@seed", 1.0, metrics={"other": value})
    assert state(store) == before


def test_numbers_have_one_form_however_they_come(store):
    made = measure(store, "@seed", -0.0, metrics={"steps": 7})
    assert made == store.run(made.id)
    with dagstore.open(store.root) as again:
        assert again.run(made.id) == made
    assert str(made.value) == "0.0"
    assert type(made.metrics["steps"]) is float


def test_a_run_of_an_unknown_node_is_refused(store):
    run, protocol = make_run(store, "@seed", 1.0)
    before = state(store)
    with pytest.raises(NotFound, match="no node"):
        store.add_run(run._replace(node=NodeId.of(b"x")), protocol)
    with pytest.raises(NotFound, match="no node"):
        store.add_run(run._replace(node=NodeId.of(b"x")), protocol, {"log": b"x"})
    with pytest.raises(NotFound, match="no blob"):
        store.add_run(run._replace(artifacts={"log": BlobId.of(b"x")}), protocol)
    assert state(store) == before


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_failure_is_a_status_and_never_a_number(store, status):
    made = measure(store, "@seed", 0.1, status)
    assert (made.value, store.node("@seed").estimate, store.node("@seed").status) == (None, None, status.value)
    assert store.frontier().nodes == ()


def test_a_missing_metric_is_absent(store):
    made = measure(store, "@seed", None, metrics={"other": 1.0})
    assert made.value is None
    assert store.frontier().nodes == ()


# --- frontier ---


def test_the_frontier_of_an_unmeasured_store_is_empty(store):
    frontier = store.frontier()
    assert (frontier.nodes, frontier.metric, frontier.direction) == ((), "val_loss", Direction.MINIMIZE)
    assert (frontier.protocol, frontier.noise.sd, frontier.noise.n) == (None, None, 0)


def test_the_frontier_ranks_by_mean_best_first(store):
    a, b, c = (child(store, f"x = {number}\n") for number in range(3))
    for node, values in ((a, [0.5, 0.7]), (b, [0.4, 0.9]), (c, [0.61])):
        for seed, value in enumerate(values):
            measure(store, node, value, seed=seed)
    frontier = store.frontier()
    assert [(row.rank, row.id, row.runs) for row in frontier.nodes] == [(1, a, 2), (2, c, 1), (3, b, 2)]
    assert [row.mean for row in frontier.nodes] == pytest.approx([0.6, 0.61, 0.65])
    assert frontier.noise.n == 4
    assert frontier.noise.sd == pytest.approx(((0.02 + 0.125) / 2) ** 0.5)
    assert all(row.low < row.estimate < row.high for row in frontier.nodes)
    assert [row.id for row in store.frontier(top=1).nodes] == [a]
    assert store.frontier(top=0).nodes == ()


def test_directions(upward):
    a, b = child(upward, "x = 1\n"), child(upward, "x = 2\n")
    measure(upward, a, 0.9)
    measure(upward, b, -0.9)
    frontier = upward.frontier()
    assert frontier.direction is Direction.MAXIMIZE
    assert [row.id for row in frontier.nodes] == [a, b]
    assert upward.resolve("@best") == a


def test_equal_trees_are_one_row(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    below = make_child(store, b, edited("x = 1\n"))
    measure(store, a, 0.5)
    measure(store, below, 0.7, seed=1)
    measure(store, b, 1.0)
    assert [(row.id, row.runs, row.mean) for row in store.frontier().nodes] == [
        (a, 2, pytest.approx(0.6)),
        (b, 1, 1.0),
    ]


def test_a_ranking_that_is_asked_again_and_again_says_what_the_experiments_say(store):
    nodes = [store.resolve("@seed")]
    for number in range(40):
        nodes.append(make_child(store, nodes[number // 3], {"train.py": f"x = {number}\n".encode()}))
    for number in range(80):
        measure(store, nodes[number * 7 % len(nodes)], 1.0 + math.sin(number) / 10, seed=number)
        for strategy in ("estimate", "optimistic"):
            told = store.nodes().to_frame().set_index("id")[["estimate", "low", "high"]].astype(float)
            for row in store.frontier(top=5, strategy=strategy).nodes:
                asked = [math.nan if value is None else value for value in (row.estimate, row.low, row.high)]
                assert asked == pytest.approx(list(told.loc[str(row.id)]), nan_ok=True)


def test_ties_go_to_the_older_tree(store):
    nodes = [child(store, f"x = {number}\n") for number in range(4)]
    for node in reversed(nodes):
        measure(store, node, 0.5)
    assert [row.id for row in store.frontier().nodes] == nodes


def test_platforms_are_not_compared(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    measure(store, a, 0.5, platform="H100")
    measure(store, b, 0.4, platform="cpu")
    measure(store, b, 0.45, platform="H100", seed=1)
    assert [(one.platform, one.runs, one.nodes, one.shown) for one in store.platforms()] == [
        ("H100", 2, 2, True),
        ("cpu", 1, 1, False),
    ]
    frontier = store.frontier()
    assert (frontier.platform, frontier.outside) == ("H100", 1)
    assert [row.id for row in frontier.nodes] == [b, a]
    assert [row.estimate for row in store.frontier(platform="cpu").nodes] == [0.4]
    assert (store.frontier(platform="TPU").nodes, store.frontier(platform="TPU").outside) == ((), 3)
    assert [one.platform for one in store.frontiers()] == ["H100", "cpu"]


def test_protocols_are_not_compared_and_the_last_measured_counts(store):
    measure(store, "@seed", 0.1)
    workspace = Path(store.spawn("@seed").workspace)
    write_files(workspace, {"prepare.py": "DATA = 2\n"})
    node = store.seal(workspace, unlock=True).node
    measure(store, node, 0.9)
    frontier = store.frontier()
    assert [row.id for row in frontier.nodes] == [node]
    assert frontier.outside == 1
    measure(store, node, 0.8, fingerprint="data v2")
    assert [row.estimate for row in store.frontier().nodes] == [0.8]
    assert len(store.frontiers()) == 3


def test_another_metric_may_rank(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    measure(store, a, 0.5, metrics={"memory": 10.0})
    measure(store, b, 0.6, metrics={"memory": 5.0})
    frontier = store.frontier(metric="memory")
    assert (frontier.metric, [row.id for row in frontier.nodes]) == ("memory", [b, a])
    assert [row.id for row in store.frontier(metric="val_loss").nodes] == [a, b]
    with pytest.raises(NotFound, match="'speed'"):
        store.frontier(metric="speed")
    with pytest.raises(BadInput, match="no strategy"):
        store.frontier(strategy="luck")


# --- queue ---


def test_nothing_is_measured_twice_by_accident(store):
    a, b = child(store, "x = 1\n"), child(store, "x = 2\n")
    measure(store, a, 0.5)
    assert [ticket.node for ticket in store.queue([a, b, b, "@seed"])] == [b, store.resolve("@seed")]
    assert store.queue([a, b, "@seed"]) == ()
    measure(store, "@seed", None, Status.CRASHED)
    assert [len(store.queue([a], repeat=repeat)) for repeat in (3, 3, 4)] == [3, 0, 1]
    for repeat in (0, -1, 10_001):
        with pytest.raises(BadInput, match="--repeat"):
            store.queue([a], repeat=repeat)


def test_a_bad_reference_queues_nothing(store):
    with pytest.raises(NotFound):
        store.queue(["@seed", "nobody"])
    assert store.tickets() == ()


def test_tickets_are_taken_by_priority_then_in_order(store):
    nodes = [child(store, f"x = {number}\n") for number in range(4)]
    for node, priority in zip(nodes, (0, 5, -3, 5), strict=True):
        store.queue([node], priority=priority)
    assert [ticket.priority for ticket in store.tickets()] == [5, 5, 0, -3]
    taken = [store.take("w", 60).ticket.node for _ in nodes]
    assert taken == [nodes[1], nodes[3], nodes[0], nodes[2]]
    assert store.take("w", 60) is None


def test_one_ticket_may_be_asked_for(store):
    first, second = store.queue(["@seed"], repeat=2)
    assert store.take("w", 60, ticket=second.number).ticket.number == second.number
    assert store.take("w", 60, ticket=second.number) is None
    assert store.take("w", 60).ticket.number == first.number


def test_completing_records_the_run_and_ends_the_ticket(store):
    store.queue(["@seed"])
    taken = store.take("w", 60)
    assert store.tickets()[0].token == taken.claim.token
    run, protocol = make_run(store, "@seed", 0.5)
    made = store.complete(taken.claim, run, protocol, {"log": b"log"})
    assert (store.runs("@seed"), store.tickets(), store.claims()) == ((made,), (), ())
    before = state(store)
    with pytest.raises(ClaimLost):
        store.complete(taken.claim, run, protocol, {})
    assert state(store) == before


def test_an_overdue_claim_is_taken_over_and_its_holder_records_nothing(store, clock):
    store.queue(["@seed"])
    old = store.take("slow", 60)
    assert store.take("eager", 60) is None
    clock.advance(59.999)
    assert store.take("eager", 60) is None
    clock.advance(0.001)
    new = store.take("eager", 60)
    assert (new.ticket.number, new.lost) == (old.ticket.number, old.claim)
    assert new.claim.token > old.claim.token
    run, protocol = make_run(store, "@seed", 0.5)
    before = state(store)
    for act in (
        lambda: store.complete(old.claim, run, protocol, {"log": b"late"}),
        lambda: store.retry(old.claim, run, protocol, {"log": b"late"}),
        lambda: store.renew(old.claim, 60),
        lambda: store.give_back(old.claim),
    ):
        with pytest.raises(ClaimLost, match=str(old.claim.token)):
            act()
    assert state(store) == before
    assert store.complete(new.claim, run, protocol, {}).value == 0.5


def test_a_late_holder_that_nobody_replaced_still_counts(store, clock):
    store.queue(["@seed"])
    taken = store.take("slow", 60)
    clock.advance(DAY)
    assert store.complete(taken.claim, *make_run(store, "@seed", 0.5), {}).value == 0.5


def test_renewing_keeps_others_away(store, clock):
    store.queue(["@seed"])
    claim = store.take("w", 60).claim
    for _ in range(5):
        clock.advance(50)
        claim = store.renew(claim, 60)
        assert store.take("eager", 60) is None
    assert claim.deadline == int(clock() * 1000) + 60_000
    clock.advance(60)
    assert store.take("eager", 60).lost == claim


def test_a_ticket_given_back_is_as_if_it_had_not_been_taken(store):
    (queued,) = store.queue(["@seed"])
    assert store.give_back(store.take("w", 60).claim) == queued
    assert (store.tickets(), store.claims()) == ((queued,), ())
    assert store.take("x", 60).lost is None


def test_a_fault_of_the_machine_is_recorded_and_tried_again(store):
    store.queue(["@seed"])
    taken = store.take("w", 60)
    ticket = store.retry(taken.claim, *make_run(store, "@seed", None, Status.INFRA), {})
    assert (ticket.failures, ticket.token) == (1, 0)
    assert [run.status for run in store.runs("@seed")] == [Status.INFRA]
    assert store.take("w", 60).ticket.failures == 1


def test_a_run_that_is_refused_leaves_the_ticket_in_hand(store):
    store.queue(["@seed"])
    taken = store.take("w", 60)
    run, protocol = make_run(store, "@seed", float("nan"))
    before = state(store)
    with pytest.raises(BadInput):
        store.complete(taken.claim, run, protocol, {"log": b"x"})
    assert state(store) == before


def test_only_a_ticket_that_nobody_holds_is_cancelled(store):
    first, second = store.queue(["@seed"], repeat=2)
    store.take("w", 60)
    numbers = (first.number, second.number, second.number)
    assert [store.cancel(number) for number in numbers] == [False, True, False]


def test_tokens_are_never_given_twice(store):
    tokens = []
    for _ in range(5):
        spawned = store.spawn("@seed")
        tokens.append(spawned.claim.token)
        store.abandon(spawned.workspace)
        tokens.append(store.queue(["@seed"], repeat=1)[0].number)
        taken = store.take("w", 60)
        tokens.append(taken.claim.token)
        store.complete(taken.claim, *make_run(store, "@seed", 0.5, seed=len(tokens)), {})
    assert tokens == sorted(set(tokens))


# --- adopt ---


@pytest.fixture
def fleet(tmp_path):
    with make_store(tmp_path / "fleet", FLEET) as store:
        yield store


def variant(store, old, new, parent="@seed"):
    return make_child(store, parent, {"train.py": store.cat(parent, "train.py").decode().replace(old, new)})


@pytest.fixture
def donors(fleet):
    pairs = (("LR = 0.1", "LR = 0.2"), ("WIDTH = 64", "WIDTH = 128"), ("DEPTH = 4", "DEPTH = 8"))
    return [variant(fleet, old, new) for old, new in pairs]


def test_changes_that_do_not_touch_compose(fleet, donors):
    made = fleet.adopt(*donors, agent="ada")
    text = "LR = 0.2\n\nWIDTH = 128\n\nDEPTH = 8\n\nWARMUP = 10\n"
    assert fleet.cat(made.node, "train.py").decode() == text
    assert {made.primary, *made.adopted} == set(donors)
    assert (made.known, made.recorded, made.contradictions, made.runs) == (False, True, (), ())
    view = fleet.node(made.node)
    assert (view.generation, view.agent, view.estimate) == (2, "ada", None)
    (adoption,) = fleet.adoptions(made.node)
    assert (adoption.onto, adoption.decisions) == (made.onto, made.decisions)


def test_the_order_of_names_does_not_matter(fleet, donors):
    rival = variant(fleet, "LR = 0.1", "LR = 0.3")
    measure(fleet, donors[1], 0.5)
    measure(fleet, rival, 0.7)
    made = [fleet.adopt(*order) for order in itertools.permutations([*donors, rival])]
    assert len({(one.node, one.onto, one.primary, one.adopted, one.decisions) for one in made}) == 1
    assert [one.known for one in made] == [False] + [True] * 23
    assert made[0].onto == donors[1]
    assert len(made[0].contradictions) == 1
    assert b"LR = 0.3" in fleet.cat(made[0].node, "train.py")


def test_foreseeing_an_adoption_records_nothing(fleet, donors):
    before = state(fleet)
    foreseen = fleet.adopt(*donors, dry_run=True)
    assert state(fleet) == before
    assert (foreseen.known, foreseen.recorded) == (False, False)
    made = fleet.adopt(*donors)
    assert (foreseen.node, foreseen.onto, foreseen.decisions) == (made.node, made.onto, made.decisions)
    again = fleet.adopt(*donors, dry_run=True)
    assert (again.node, again.known, again.recorded) == (made.node, True, True)


def test_adopting_an_ancestor_makes_no_node_and_is_recorded_once(fleet, donors):
    below = variant(fleet, "WARMUP = 10", "WARMUP = 20", donors[0])
    nodes = fleet.count()
    for _ in range(2):
        for refs in ((below, donors[0]), ("@seed", donors[0], below)):
            made = fleet.adopt(*refs)
            assert (made.node, made.known) == (below, True)
            assert "already" in {decision.engine for decision in made.decisions}
    assert fleet.count() == nodes
    assert [len(record.adopted) for record in fleet.adoptions(below)] == [1, 2]


def test_a_contradiction_is_kept_where_the_files_do_not_change(fleet):
    good, bad = variant(fleet, "LR = 0.1", "LR = 0.2"), variant(fleet, "LR = 0.1", "LR = 0.9")
    measure(fleet, good, 0.1)
    assert fleet.adopt(good, bad).node == good
    (record,) = fleet.adoptions(good)
    (contested,) = (decision for decision in record.decisions if decision.contradiction)
    assert {side.text for side in contested.sides} == {b"LR = 0.2\n", b"LR = 0.9\n"}


def test_an_adopted_node_is_ahead_of_all_it_adopted(fleet, donors):
    made = fleet.adopt(*donors)
    assert fleet.adopt(made.node, *donors).node == made.node
    assert fleet.count() == 5


def test_a_contradiction_is_decided_by_merit_or_as_told_and_both_sides_are_kept(fleet):
    good, bad = variant(fleet, "LR = 0.1", "LR = 0.2"), variant(fleet, "LR = 0.1", "LR = 0.9")
    measure(fleet, good, 0.1)
    measure(fleet, bad, 0.9)
    made = fleet.adopt(bad, good, primary=bad)
    assert (made.onto, len(made.contradictions)) == (bad, 1)
    assert b"LR = 0.2" in fleet.cat(made.node, "train.py")
    (contested,) = (decision for decision in made.decisions if decision.contradiction)
    assert {side.origins for side in contested.sides} == {(good,), (bad,)}
    for prefer in ("primary", str(bad)):
        told = fleet.adopt(bad, good, primary=bad, prefer=prefer, dry_run=True)
        assert told.node == bad
    with pytest.raises(BadInput, match="--prefer"):
        fleet.adopt(good, bad, prefer="@seed")


def test_adopting_takes_two_nodes(fleet, donors):
    for refs in ((), (donors[0],), (donors[0], donors[0]), ("@last", donors[2])):
        with pytest.raises(BadInput, match="two different nodes"):
            fleet.adopt(*refs)


def test_locked_paths_stay_those_of_the_primary(fleet, donors):
    workspace = Path(fleet.spawn("@seed").workspace)
    write_files(workspace, {"prepare.py": "DATA = 2\n", "train.py": FLEET["train.py"].replace("10", "20")})
    other = fleet.seal(workspace, unlock=True).node
    made = fleet.adopt(donors[0], other, primary=donors[0])
    assert fleet.cat(made.node, "prepare.py") == b"DATA = 1\n"
    assert b"WARMUP = 20" in fleet.cat(made.node, "train.py")


def test_the_same_composition_is_the_same_node_in_every_store(tmp_path):
    nodes = set()
    for number, order in enumerate(itertools.permutations(range(3))):
        with make_store(tmp_path / str(number), FLEET, seed=number) as store:
            pairs = (("LR = 0.1", "LR = 0.2"), ("WIDTH = 64", "WIDTH = 128"), ("DEPTH = 4", "DEPTH = 8"))
            made = [variant(store, *pairs[at]) for at in order]
            nodes.add(store.adopt(*made).node)
    assert len(nodes) == 1


# --- gc, stats, notebooks ---


def test_gc_removes_what_nobody_can_miss(store, clock, tmp_path):
    sealed, open_, outside = store.spawn("@seed"), store.spawn("@seed"), store.spawn("@seed", into=tmp_path / "w")
    write_files(Path(sealed.workspace), edited("x = 1\n"))
    node = store.seal(sealed.workspace).node
    foreseen = store.gc(dry_run=True)
    assert Path(sealed.workspace).exists()
    assert store.gc() == foreseen
    assert (foreseen.workspaces, foreseen.claims, foreseen.leftovers) == ((sealed.workspace,), 0, ())
    assert not Path(sealed.workspace).exists()
    assert Path(open_.workspace).exists()
    clock.advance(3 * DAY)
    swept = store.gc()
    assert (swept.workspaces, swept.claims) == ((open_.workspace,), 2)
    assert (tmp_path / "w" / "train.py").exists()
    assert store.cat(node, "train.py").decode().endswith("x = 1\n")
    assert store.gc() == replace(swept, workspaces=(), claims=0, bytes=0)
    assert store.seal(write_into(outside.workspace, "x = 2\n")).primary == outside.primary


def write_into(workspace, text):
    write_files(Path(workspace), edited(text))
    return workspace


def test_gc_spares_a_workspace_whose_claim_runs_for_days(store, clock):
    spawned = store.spawn("@seed", ttl=7 * DAY)
    clock.advance(7 * DAY)
    assert store.gc().workspaces == ()
    clock.advance(1.1 * DAY)
    assert store.gc().workspaces == (spawned.workspace,)


def test_gc_spares_claims_on_tickets(store, clock):
    store.queue(["@seed"])
    claim = store.take("w", 60).claim
    clock.advance(3 * DAY)
    store.gc()
    assert store.claims() == (claim,)


def test_stats_count(store):
    child(store, "x = 1\n")
    measure(store, "@seed", 0.5)
    store.queue(["@last"])
    stats = store.stats()
    assert (stats.nodes, stats.runs, stats.queued, stats.claims, stats.workspaces) == (2, 1, 1, 0, 1)
    assert stats.kinds["tree"].count == 2
    assert stats.kinds["tree"].stored < stats.kinds["tree"].plain
    assert stats.disk > 0


def test_everything_shows_itself_in_a_notebook(store):
    node = child(store, "x = 1\n", why="<b>bold</b>")
    measure(store, node, 0.5, metrics={"steps": 3.0})
    shown = store.nodes()._repr_html_() + store.node(node)._repr_html_() + store.frontier()._repr_html_()
    assert "&lt;b&gt;bold" in shown
    assert "<b>" not in shown
    assert list(store.runs().to_frame()["metrics.steps"]) == [3.0]
    assert list(store.frontier().to_frame()["id"]) == [str(node)]


def test_answers_are_plain_values_of_one_moment(store):
    rows, board = store.nodes(), store.board()
    child(store, "x = 1\n", why="because")
    assert (len(rows), len(board)) == (1, 1)
    seed = rows[0]
    store.close()
    assert (seed.message, board[0].text) == ("seed", "seed")
    assert dagstore.plain(seed)["id"] == str(seed.id)
    with pytest.raises(Refused, match="closed"):
        _ = rows[0]


def test_a_copied_store_answers_the_same(store, tmp_path):
    node = child(store, "x = 1\n")
    measure(store, node, 0.5)
    frontier = store.frontier()
    shutil.copytree(store.folder, tmp_path / "copy" / ".dag")
    with dagstore.open(tmp_path / "copy") as copy:
        assert copy.frontier() == frontier
        assert copy.uuid == store.uuid
        assert copy.fsck("full").clean


def test_a_row_of_bytes_is_its_id(store):
    node = child(store, "x = 1\n")
    with store._storage.read() as txn:
        recorded = store._node(txn, store._seq(txn, node))
    assert NodeId.of(encode(recorded)) == node


def test_a_long_experiment_keeps_its_scratch_directory(store, clock):
    store.queue(["@seed"])
    taken = store.take("patient", 7 * 24 * 3600)
    scratch = store.folder / "scratch" / str(taken.claim.token)
    scratch.mkdir(parents=True)
    os.utime(scratch, (clock.now - 3 * 24 * 3600,) * 2)
    assert store.gc().leftovers == ()
    assert scratch.is_dir()
    store.give_back(taken.claim)
    assert store.gc().leftovers == (str(scratch),)
    assert not scratch.exists()
