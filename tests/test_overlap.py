"""What a worker does beside its experiment: preparing the next, recording the last, telling what goes on."""

import json
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagstore
from dagstore import Status
from dagstore.claims import Standing
from trainer.output import PENDING, Follower, Output, output_so_far
from trainer.scratch import Desk, Scratch, living_desks
from trainer.slottime import SlotClock, SlotTime
from trainer.status import parse_status, read_statuses
from trainer.worker import Setting, Silent, Worker

ENVIRON = {"PATH": "/usr/bin:/bin"}
PATIENCE = 20
CHARTER = """command = "sh train.sh"
metric = "val_bpb"
direction = "minimize"
budget = "20s"
grace = "1s"
editable = ["train.sh"]
"""


class Bench:
    def __init__(self, root):
        self.root = root
        root.mkdir()
        (root / "dag.toml").write_text(CHARTER)
        (root / "train.sh").write_text("echo val_bpb: 0\n")
        dagstore.init(root)
        self.store = dagstore.open(root)

    def queue(self, *scripts):
        nodes = []
        for script in scripts:
            (self.root / "train.sh").write_text(script)
            nodes.append(self.store.record(self.root, ["@seed"]).node)
        self.store.queue(nodes)
        return nodes

    def worker(self, watcher=None, ttl=30.0):
        return Worker(self.store, Setting("bench", ENVIRON, ttl=ttl), watcher)

    def drain(self, watcher=None, **settings):
        return list(self.worker(watcher, **settings).work(until_idle=True))

    def assert_tidy(self):
        assert list((self.store.folder / "scratch").glob("*")) == []
        assert not self.store.claims()
        assert not self.store.tickets()
        assert self.store.fsck("full").clean


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "project")
    yield made
    made.store.close()


class Diary(Silent):
    """Remembers the steps, and does something at some of them, once each."""

    def __init__(self, **acts):
        self.steps, self.acts, self.lock = [], acts, threading.Lock()

    def step(self, name):
        with self.lock:
            self.steps.append(name)
            act = self.acts.pop(name, None)
        if act is not None:
            act()

    def output(self, chunk):
        self.step("running")


def script(number, before=""):
    return f"{before}\necho val_bpb: {number}\n"


# Overlap


def test_the_next_workspace_is_ready_before_the_experiment_ends(bench, tmp_path):
    ready = tmp_path / "ready"
    wait = f"until test -e {ready}; do sleep 0.01; done"
    nodes = bench.queue(script(1, wait), script(2))
    diary = Diary(prepared=ready.touch)
    assert [run.node for run in bench.drain(diary)] == nodes
    assert diary.steps.index("prepared") < diary.steps.index("ended")
    bench.assert_tidy()


def test_an_experiment_is_recorded_while_the_next_one_runs(bench):
    begun = threading.Event()
    nodes = bench.queue(script(1), script(2, "echo begun"), script(3))
    seen = []

    class Slow(Silent):
        def output(self, chunk):
            if b"begun" in chunk:
                begun.set()

        def end(self, run):
            seen.append((run.node, begun.wait(PATIENCE)))

    runs = bench.drain(Slow())
    assert [run.node for run in runs] == nodes
    assert seen == [(node, True) for node in nodes]
    bench.assert_tidy()


def test_what_is_only_prepared_may_be_taken_by_anybody(bench, tmp_path):
    taken = tmp_path / "taken"
    wait = f"until test -e {taken}; do sleep 0.01; done"
    first, second, third = bench.queue(script(1, wait), script(2), script(3))
    stolen = []

    def steal():
        if not stolen:  # where the first takes its time to end, the third is prepared as well
            stolen.append(bench.store.take("other", 60.0))
            taken.touch()

    worker = bench.worker(Diary(prepared=steal))
    runs = []
    for run in worker.work():
        runs.append(run.node)
        if run.node == third:
            break
    assert stolen[0].ticket.node == second
    assert runs == [first, third]
    bench.store.give_back(stolen[0].claim)
    assert [run.node for run in bench.drain()] == [second]
    bench.assert_tidy()


def test_a_node_that_is_measured_again_is_prepared_all_the_same(bench):
    (node,) = bench.queue(script(1, "sleep 0.1"))
    bench.store.queue([node], repeat=3)
    runs = bench.drain()
    assert [run.status for run in runs] == [Status.OK] * 3
    assert len({run.seed for run in runs}) == 3
    bench.assert_tidy()


def test_a_fault_while_recording_is_raised_and_loses_no_other_run(bench):
    nodes = bench.queue(script(1), script(2), script(3))

    class Faulty(Silent):
        def end(self, run):
            if run.node == nodes[0]:
                raise RuntimeError("the watcher broke")

    with pytest.raises(RuntimeError, match="the watcher broke"):
        bench.drain(Faulty())
    assert [run.node for run in bench.store.runs()] == nodes[: len(bench.store.runs())]
    bench.drain()
    assert [run.node for run in bench.store.runs()] == nodes
    bench.assert_tidy()


def test_leaving_the_loop_early_records_what_was_measured(bench):
    bench.queue(script(1), script(2), script(3))
    for run in bench.worker().work():
        assert run.status is Status.OK
        break
    measured = {run.node for run in bench.store.runs()}
    assert len(measured) + len(bench.store.tickets()) == 3
    assert not bench.store.claims()
    assert list((bench.store.folder / "scratch").glob("*")) == []


# Cancelling


def test_a_cancelled_experiment_is_ended_and_recorded_as_that(bench):
    first, second = bench.queue("echo here\nsleep 60\n", script(2))
    began = time.monotonic()

    def cancel():
        assert bench.store.end(bench.store.tickets()[0].number)

    runs = bench.drain(Diary(running=cancel))
    assert time.monotonic() - began < 10  # the experiment would last a minute
    assert [(run.node, run.status) for run in runs] == [(first, Status.CANCELLED), (second, Status.OK)]
    assert bench.store.blob(runs[0].artifacts["log"]) == b"here\n"
    assert bench.store.queue([first])
    bench.store.cancel(bench.store.tickets()[0].number)
    bench.assert_tidy()


def test_cancelling_and_giving_back_leave_nothing_in_line(bench):
    (node,) = bench.queue(script(1))
    assert not bench.store.end(99)
    taken = bench.store.take("somebody", 60.0)
    assert bench.store.standing(taken.claim) is Standing.HELD
    assert not bench.store.cancel(taken.ticket.number)
    assert bench.store.end(taken.ticket.number)
    assert bench.store.standing(taken.claim) is Standing.CANCELLED
    assert bench.store.queue([node])  # what was cancelled does not count as waiting
    bench.store.give_back(taken.claim)
    assert bench.store.standing(taken.claim) is Standing.LOST
    assert [ticket.number for ticket in bench.store.tickets()] != [taken.ticket.number]
    assert len(bench.store.tickets()) == 1


def test_a_ticket_whose_holder_died_before_it_heard_of_the_cancelling_is_not_run(bench):
    (node,) = bench.queue("echo here\nsleep 60\n")
    gone = bench.store.take("gone", 0.0)
    bench.store.end(gone.ticket.number)
    began = time.monotonic()
    assert [run.status for run in bench.drain()] == [Status.CANCELLED]
    assert time.monotonic() - began < 10  # the experiment would last a minute
    assert [run.status for run in bench.store.runs(node)] == [Status.LOST, Status.CANCELLED]
    bench.assert_tidy()


# What others see


def test_a_running_experiment_is_seen_from_outside(bench):
    (node,) = bench.queue("echo loss: 3\nprintf '\\033[2Jstep 7 loss 0.5\\n'\nsleep 60\n")
    scratch = bench.store.folder / "scratch"
    seen = []

    def look():
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not seen:
            seen.extend(status for status in read_statuses(scratch) if "step 7" in status.said)
            time.sleep(0.02)
        seen.append(output_so_far(scratch / str(seen[0].token)))
        bench.store.end(seen[0].ticket)

    watcher = threading.Thread(target=look)
    watcher.start()
    bench.drain()
    watcher.join()
    status, log = seen
    assert (status.node, status.budget, status.runner) == (str(node), 20.0, "bench")
    assert abs(status.started / 1000 - time.time()) < PATIENCE
    assert log.startswith(b"loss: 3\n")
    assert read_statuses(scratch) == []


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"1" * 5000, b'{"runner": 1, "slot": "", "platform": ""}']
)
def test_a_status_that_is_none_is_passed_over(data):
    assert parse_status(data) is None


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=4), st.sampled_from(
    ["runner", "slot", "node", "ticket", "token", "started", "budget", "said", "inside"]))  # fmt: skip
def test_a_status_has_fields_of_their_kinds_or_is_none(value, name):
    whole = {"runner": "a", "slot": "1", "platform": "cpu"}
    status = parse_status(json.dumps({**whole, name: value}).encode())
    assert status is None or type(getattr(status, name)) is type(value)
    assert parse_status(json.dumps(whole).encode()) is not None


def test_a_link_in_place_of_a_status_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"runner": "a", "slot": "1", "platform": "cpu"}))
    with Desk(tmp_path / "scratch") as desk:
        (desk.folder / "status.json").symlink_to(secret)
        assert read_statuses(tmp_path / "scratch") == []


def test_desks_are_told_from_what_the_dead_left(bench):
    scratch = bench.store.folder / "scratch"
    with Desk(scratch) as desk:
        left = scratch / "desk-of-the-dead"
        (left / "0" / "work").mkdir(parents=True)
        assert list(living_desks(scratch)) == [desk.folder]
        Scratch(bench.store).tidy()
        assert not left.exists()
        assert desk.folder.exists()
    bench.assert_tidy()


# Output


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=40), st.integers(80, 200))
def test_a_follower_reads_everything_in_order_however_the_files_are_rotated(tmp_path_factory, chunks, limit):
    home = tmp_path_factory.mktemp("home")
    output, follower = Output(home, limit), Follower(home)
    written = read = b""
    for chunk in chunks:
        output.add(chunk)
        output.flush()
        written += chunk
        read += b"".join(follower.more())
    follower.close()
    assert read == written
    assert written.endswith(output_so_far(home))
    assert sum(path.stat().st_size for path in home.iterdir()) <= limit


def test_a_flood_is_thinned_and_says_so(tmp_path):
    output = Output(tmp_path, 1 << 30)
    for number in range(10_000):
        output.add(b"x" * 60 + b" %d\n" % number)
    output.flush()
    log = output_so_far(tmp_path)
    assert len(log) < 2 * PENDING + 100
    assert b"bytes left out" in log[:60]
    assert log.endswith(b" 9999\n")
    assert output.said().endswith(" 9999")


def test_what_is_told_is_the_last_line_with_a_number(tmp_path):
    output = Output(tmp_path, 1 << 20)
    for text, told in (("begin\n", "begin"), ("loss: 3\rloss: 2\nsaving\n", "loss: 2"), ("done\n", "loss: 2")):
        output.add(text.encode())
        output.flush()
        assert output.said() == told


# Slot time


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.sampled_from(["inside", "around", "waiting"]), st.integers(0, 1000)), max_size=20))
def test_slot_time_is_all_the_time_there_is(spans):
    clock = Clock()
    slot = SlotClock(clock)
    spent = {"inside": 0, "around": 0, "waiting": 0}
    for kind, seconds in spans:
        if kind == "waiting":
            with slot.waiting():
                clock.now += seconds
        else:
            if kind == "inside":
                slot.begin()
            clock.now += seconds
            if kind == "inside":
                slot.end(seconds)
        spent[kind] += seconds
    found = slot.time()
    assert found == SlotTime(1, **spent)
    line = spent["inside"] + spent["around"]
    assert found.share == (spent["inside"] / line if line else None)
    assert found.plus(found) == SlotTime(2, *(2 * value for value in spent.values()))


def test_a_worker_counts_its_time(bench):
    bench.queue(script(1, "sleep 0.3"), script(2, "sleep 0.3"))
    worker = bench.worker()
    runs = list(worker.work(until_idle=True))
    time_ = worker.slot_time
    assert time_.inside == pytest.approx(sum(run.seconds for run in runs))
    assert 0.6 <= time_.inside < time_.inside + time_.around < 5
    with suppress(StopIteration):
        next(worker.work(seconds=0.3))
    assert worker.slot_time.waiting > time_.waiting + 0.2
