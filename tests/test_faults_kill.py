"""A writer that is killed at a step of a write: what it acknowledged is there, and the rest can be repeated."""

import os

import pytest

import dagstore
from dagstore import ClaimLost, Refused, Status
from dagstore.testing.builders import make_run, make_store
from dagstore.testing.children import hear, killed, run, start, tell

ARMED = """
from dagstore.testing.steps import aim, install
install()
fatal, times = sys.argv[2], int(sys.argv[3])
"""
SEAL = """
if fatal.startswith("presence") or fatal == "log reserve after":
    aim(fatal, times)
    store = dagstore.open(root)
else:
    store = dagstore.open(root)
    say(store.note("@seed", "acknowledged").id)
    aim(fatal, times)
say(store.seal(sys.argv[4], why="the fatal one").node)
"""
INTERRUPTED = """
import signal
store = dagstore.open(root)
store.note("@seed", "the log has room")
aim(fatal, times, signal.SIGINT)
try:
    store.seal(sys.argv[4])
except KeyboardInterrupt:
    say("interrupted", store.count())
aim("")
expect(dagstore.Refused, lambda: say(store.seal(sys.argv[4]).node))
assert store.fsck("full").clean
store.note("@seed", "others go on")
"""
LEAVE = """
from dagstore.testing.steps import aim, install
install()
store = dagstore.open(root)
store.note("@seed", "mine")
say("ready")
sys.stdin.readline()
aim("log sync before")
store.close()
say("closed without a sync")
"""
BATCH = """
store = dagstore.open(root)
store.note("@seed", "the log has room")
aim(fatal, times)
made = []
with store.batch(2) as batch:
    for number in range(6):
        if fatal == "the middle" and number == 3:
            os.kill(os.getpid(), 9)
        made.append(batch.record(["@seed"], {"train.py": b"print(%d)" % number}))
        if number % 2 == 0:  # the transaction before this one is over
            for node in made[:-1]:
                say(node)
            del made[:-1]
"""
COMPLETE = """
from dagstore.testing.builders import make_run
store = dagstore.open(root)
store.queue(["@seed"])
taken = store.take("trainer", 1000)
say(taken.claim.token)
run, protocol = make_run(store, "@seed", 0.5)
aim(fatal, times)
say(store.complete(taken.claim, run, protocol, {"log": bytes(range(256)) * 400}).id)
"""

BEFORE = [
    ("presence write before", 1),
    ("presence write half", 1),
    ("presence write after", 1),
    ("presence sync after", 1),
    ("blob open after", 1),
    ("blob write half", 1),
    ("blob sync before", 1),
    ("blob sync after", 1),
    ("blob rename before", 1),
    ("blob rename after", 1),
    ("shelf sync before", 1),
    ("shelf sync after", 1),
    ("shelf sync after", 2),
    ("log write before", 1),
    ("log write half", 1),
    ("log reserve after", 1),
]
"""Steps until which nothing of a write counts."""
AFTER = [
    ("log write after", 1),
    ("index commit before", 1),
    ("index commit after", 1),
    ("log sync before", 1),
    ("log sync after", 1),
]
"""Steps from which on all of a write counts, although nobody was told so."""
LARGE = os.urandom(100_000)


@pytest.fixture
def project(tmp_path):
    with make_store(tmp_path) as store:
        return store.root


def spawn(project):
    """A workspace with a file that is too large for the log, and a small edit."""
    with dagstore.open(project) as store:
        workspace = store.spawn("@seed", agent="ada").workspace
    for name, data in (("large.bin", LARGE), ("train.py", b"print('changed')\n")):
        with open(f"{workspace}/{name}", "wb") as file:
            file.write(data)
    return workspace


def assert_sound(store):
    assert store.fsck("full").findings == ()


def die(project, script, step, *arguments):
    """What a child acknowledged before it died at that step."""
    return killed(start(ARMED + script, project, *step, *arguments))


@pytest.mark.parametrize("step", BEFORE, ids=str)
def test_a_seal_killed_before_it_counted_can_be_repeated(project, step):
    workspace = spawn(project)
    acknowledged = die(project, SEAL, step, workspace)
    with dagstore.open(project) as store:
        assert_sound(store)
        assert [str(note.id) for note in store.notes("@seed")][1:] == acknowledged
        assert store.count() == 1
        assert [claim.agent for claim in store.claims()] == ["ada"]
        assert_sealed(store, store.seal(workspace).node)
    assert_sound_again(project)


@pytest.mark.parametrize("step", AFTER, ids=str)
def test_a_seal_killed_after_it_counted_is_whole(project, step):
    workspace = spawn(project)
    acknowledged = die(project, SEAL, step, workspace)
    assert len(acknowledged) == 1
    with dagstore.open(project) as store:
        assert_sound(store)
        assert [str(note.id) for note in store.notes("@seed")][1:] == acknowledged
        (child,) = store.children("@seed")
        assert_sealed(store, child.id)
        with pytest.raises(Refused, match=str(child.id)[:12]) as caught:
            store.seal(workspace)
        assert caught.value.code == "sealed"
    assert_sound_again(project)


def assert_sealed(store, node):
    assert (store.cat(node, "large.bin"), store.cat(node, "train.py")) == (LARGE, b"print('changed')\n")
    assert (store.count(), len(store.claims())) == (2, 0)
    assert_sound(store)


def assert_sound_again(project):
    with dagstore.open(project) as store:
        assert_sound(store)
        assert store.count() == 2


def test_who_leaves_last_makes_durable_what_a_killed_writer_left(project):
    """Else a power cut could leave an index that knows more than the log, and says that it can be trusted."""
    workspace = spawn(project)
    last = start(LEAVE, project)
    assert hear(last) == "ready"
    die(project, SEAL, ("log sync before", 1), workspace)
    tell(last)
    assert killed(last) == []
    with dagstore.open(project) as store:
        assert store.count() == 2
        assert_sound(store)


def test_a_seal_whose_writer_lives_reaches_every_step(project):
    """Were a step renamed, no child would die there."""
    assert len(run(ARMED + SEAL, project, "no such step", 1, spawn(project))) == 2


@pytest.mark.parametrize("step", [*BEFORE[4:15], *AFTER], ids=str)
def test_an_interrupted_seal_leaves_a_store_that_goes_on(project, step):
    """Ctrl-C may come between any two steps, also when all of it counts already."""
    workspace = spawn(project)
    interrupted, repeated, *rest = run(ARMED + INTERRUPTED, project, *step, workspace)
    whole = step in AFTER[2:]
    assert interrupted == f"interrupted {1 + whole}"
    assert ("Refused sealed True" in repeated) == whole
    assert rest == ([] if whole else ["nothing was raised"])
    with dagstore.open(project) as store:
        (child,) = store.children("@seed")
        assert_sealed(store, child.id)


@pytest.mark.parametrize(
    ("step", "nodes"),
    [
        (("the middle", 1), 2),
        (("log write half", 1), 0),
        (("log sync after", 1), 2),
        (("log write before", 2), 2),
        (("log write half", 2), 2),
        (("index commit before", 2), 4),
        (("log sync after", 3), 6),
    ],
    ids=str,
)
def test_of_a_killed_batch_whole_transactions_are_there(project, step, nodes):
    acknowledged = die(project, BATCH, step)
    for _ in range(2):
        with dagstore.open(project) as store:
            assert_sound(store)
            assert store.count() == nodes + 1
            assert len(acknowledged) in (nodes, max(nodes - 2, 0))
            assert {store.cat(node, "train.py") for node in acknowledged} == numbered(len(acknowledged))
    with dagstore.open(project) as store, store.batch(2) as batch:
        for number in range(6):
            batch.record(["@seed"], {"train.py": b"print(%d)" % number})
    with dagstore.open(project) as store:
        assert_sound(store)
        assert {store.cat(node.id, "train.py") for node in store.children("@seed")} == numbered(6)


def numbered(count):
    return {b"print(%d)" % number for number in range(count)}


@pytest.mark.parametrize("step", [("log write half", 1), ("blob rename after", 1), *AFTER], ids=str)
def test_a_run_whose_trainer_was_killed_is_recorded_once(project, step):
    (token,) = die(project, COMPLETE, step)
    with dagstore.open(project) as store:
        assert_sound(store)
        recorded = step in AFTER
        assert (len(store.runs()), len(store.tickets()), len(store.claims())) == (recorded, not recorded, not recorded)
        run, protocol = make_run(store, "@seed", 0.5)
        if recorded:
            assert store.take("another", 1000) is None
        else:
            (claim,) = store.claims()
            assert str(claim.token) == token
            store.complete(claim, run, protocol, {"log": bytes(range(256)) * 400})
            with pytest.raises(ClaimLost):
                store.complete(claim, run, protocol, {})
    with dagstore.open(project) as store:
        (run,) = store.runs("@seed")
        assert (run.status, store.blob(run.artifacts["log"])) == (Status.OK, bytes(range(256)) * 400)
        assert (len(store.tickets()), len(store.claims())) == (0, 0)
        assert_sound(store)
