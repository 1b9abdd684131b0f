"""Many writers of one store at once, in processes and threads, some of them killed: nothing is lost or done twice."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import dagstore
from dagstore.testing.builders import make_store
from dagstore.testing.children import finish, hear, kill, start, tell

WRITERS, KILLS = 4, 40
CROWD, SEALS = 64, 3
THREADS = 8

FOR_EVER = """
import itertools
store = dagstore.open(root)
me = sys.argv[2]
folder = Path(sys.argv[3])
for number in itertools.count():
    text = f"print('{me}', {number})\\n".encode()
    large = {"large.bin": os.urandom(70_000)} if number % 4 == 0 else {}
    node = seal(store, {"train.py": text, **large}).node
    say("node", node)
    (ticket,) = store.queue([node], agent=me)
    say("ticket", ticket.number)
    say("note", store.note(node, f"from {me}").id)
    (folder / "README.md").write_text(text.decode())
    say("node", store.record(folder, [node]).node)
"""
SEAL_SOME = """
store = dagstore.open(root)
say("ready")
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    sealed = seal(store, {"train.py": f"print({sys.argv[2]}, {number})\\n".encode()})
    say(sealed.node, sealed.known)
"""


@pytest.fixture
def project(tmp_path):
    with make_store(tmp_path) as store:
        return store.root


def assert_sound(store):
    assert store.fsck("full").findings == ()


def test_writers_killed_at_random_moments_lose_nothing_that_they_acknowledged(project, tmp_path):
    with ThreadPoolExecutor(WRITERS) as pool:
        said = [
            line for lines in pool.map(lambda one: be_killed(project, tmp_path, one), range(WRITERS)) for line in lines
        ]
    told = {
        kind: [word for first, word in map(str.split, said) if first == kind] for kind in ("node", "ticket", "note")
    }
    assert min(map(len, told.values())) > KILLS // 2
    for _ in range(2):
        with dagstore.open(project) as store:
            assert_sound(store)
            nodes = {str(node) for node in every_node(store)}
            assert nodes >= set(told["node"])
            assert len(nodes) == store.count() <= len(told["node"]) + KILLS + 1
            assert {str(ticket.number) for ticket in store.tickets()} >= set(told["ticket"])
            assert {str(note.id) for note in store.board(100_000)} >= set(told["note"])
    with dagstore.open(project) as store:
        store.note("@seed", "others go on")
        assert_sound(store)


def be_killed(project, tmp_path, writer):
    """What one writer acknowledged over its many lives."""
    chance = random.Random(writer)
    folder = tmp_path / f"files-{writer}"
    with dagstore.open(project) as store:
        store.checkout("@seed", folder)
    said = []
    for life in range(KILLS // WRITERS):
        process = start(FOR_EVER, project, f"{writer}.{life}", folder)
        said += [hear(process) for _ in range(chance.randint(1, 8))]
        threading.Event().wait(chance.random() * 0.01)  # any moment of a write
        said += kill(process)
    return said


def every_node(store):
    return [node.node.id for node in store.subtree("@seed", limit=100_000).nodes]


def test_a_crowd_of_processes_seals_into_one_store(project):
    processes = [start(SEAL_SOME, project, number, SEALS) for number in range(CROWD)]
    assert {hear(process) for process in processes} == {"ready"}
    for process in processes:
        tell(process)
    said = Counter(line for process in processes for line in finish(process))
    assert len(said) == sum(said.values()) == CROWD * SEALS
    assert {line.split()[1] for line in said} == {"False"}
    with dagstore.open(project) as store:
        assert_sound(store)
        assert {str(node.id) for node in store.children("@seed")} == {line.split()[0] for line in said}
        assert store.count() == CROWD * SEALS + 1
        # Claims and tickets are numbered without gaps: the next number is one more than were given.
        assert store.spawn("@seed").claim.token == CROWD * SEALS + 1


def test_threads_of_one_process_seal_at_once(project):
    with dagstore.open(project) as store:
        gate = threading.Barrier(THREADS)
        with ThreadPoolExecutor(THREADS) as pool:
            sealed = [
                one for many in pool.map(lambda thread: seal_some(store, gate, thread), range(THREADS)) for one in many
            ]
        assert len({one.node for one in sealed}) == len(sealed) == THREADS * SEALS
        assert {node.id for node in store.children("@seed")} == {one.node for one in sealed}
        assert_sound(store)
    with dagstore.open(project) as store:
        assert store.count() == THREADS * SEALS + 1
        assert_sound(store)


def seal_some(store, gate, thread):
    gate.wait()
    sealed = []
    for number in range(SEALS):
        workspace = store.spawn("@seed").workspace
        with open(f"{workspace}/train.py", "w") as file:
            file.write(f"print({thread}, {number})\n")
        sealed.append(store.seal(workspace))
    return sealed
