"""Whose turn it is: shares of agents, order, what is passed by, deaths of trainers, and stores that know no turns."""

import random
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagstore
from dagstore import NodeId, deaths
from dagstore.codec import pack
from dagstore.demands import Demands
from dagstore.line import (
    add_ticket,
    finish_ticket,
    give_ticket_back,
    has_work,
    next_ticket,
    readmit_ticket,
    take_ticket,
    tickets_in_order,
)
from dagstore.storage_memory import MemoryStorage
from dagstore.testing.builders import make_store
from dagstore.tickets import MAX_PRIORITY

NODE = NodeId(bytes(32))
ONLINE = Demands(network=True)
AGENTS = ("ada", "bob", "cleo")

queues = st.tuples(st.just("queue"), st.sampled_from(AGENTS), st.integers(0, 2), st.booleans())
acts = st.lists(
    st.one_of(queues, queues, st.tuples(st.sampled_from(("take", "take", "finish", "back", "lose index")))), max_size=60
)


class Line:
    """A line in memory, and what is known of it besides."""

    def __init__(self):
        self.storage = MemoryStorage()
        self.held = []
        self.now = 0

    @contextmanager
    def write(self):
        with self.storage.write() as txn:
            yield txn

    def queue(self, agent="ada", priority=0, demands=None, count=1):
        with self.write() as txn:
            return [add_ticket(txn, NODE, priority, agent, self.now, demands) for _ in range(count)]

    def take(self, number=0, allows=None, ttl=1000):
        with self.write() as txn:
            foreseen = next_ticket(txn, self.now, number, allows)
            taken = take_ticket(txn, "trainer", self.now, ttl, number, allows)
        assert (foreseen and foreseen.number) == (taken and taken.ticket.number)
        if taken:
            self.held.append(taken.claim)
        return taken

    def finish(self, claim=None):
        claim = claim or self.held[0]
        self.held.remove(claim)
        with self.write() as txn:
            finish_ticket(txn, claim)

    def back(self, claim=None):
        claim = claim or self.held[0]
        self.held.remove(claim)
        with self.write() as txn:
            return give_ticket_back(txn, claim, failed=False)

    def lose_index(self):
        """What a power cut may take."""
        with self.write() as txn:
            for key, _ in list(txn.scan("hints")):
                txn.delete("hints", key)

    def tickets(self):
        with self.storage.read() as txn:
            return tickets_in_order(txn)

    def waiting(self):
        return [ticket for ticket in self.tickets() if not ticket.token and not ticket.aside]

    def drain(self):
        found = []
        while taken := self.take():
            found.append(taken.ticket)
            self.finish(taken.claim)
        return found


@given(acts)
def test_shares_are_equal_within_one_and_order_within_an_agent_is_kept(script):
    """While an agent waits at the highest priority, nobody is served twice there, whatever else goes on."""
    line, since = Line(), defaultdict(Counter)
    for word, *rest in script:
        if word == "queue":
            line.queue(*rest[:2], ONLINE if rest[2] else Demands())
        elif word == "lose index":
            line.lose_index()
        elif word in ("finish", "back") and line.held:
            line.finish() if word == "finish" else line.back()
        elif word == "take":
            waiting = line.waiting()
            taken = line.take()
            if taken is None:
                assert not waiting
                continue
            one = taken.ticket
            assert one.priority == max(ticket.priority for ticket in waiting)
            peers = [ticket for ticket in waiting if ticket.priority == one.priority]
            assert one.number == min(ticket.number for ticket in peers if ticket.agent == one.agent)
            assert one.number == waiting[0].number
            for agent in {ticket.agent for ticket in peers} - {one.agent}:
                since[one.priority, agent][one.agent] += 1
                assert since[one.priority, agent][one.agent] <= 1
            since[one.priority, one.agent].clear()
        for key in [key for key in since if key not in {(it.priority, it.agent) for it in line.waiting()}]:
            del since[key]
    expected = [ticket.number for ticket in line.waiting()]
    for claim in list(line.held):
        line.finish(claim)
    assert [ticket.number for ticket in line.drain()] == expected


def test_who_queues_ten_thousand_does_not_starve_who_queues_one():
    line = Line()
    line.queue("many", count=10_000)
    line.finish(line.take().claim)
    (one,) = line.queue("one")
    assert [line.take().ticket.agent for _ in range(3)] == ["many", "one", "many"]
    line.queue("one")  # who was served keeps its place: nothing is lost by coming one at a time
    assert [line.take().ticket.agent for _ in range(2)] == ["one", "many"]
    assert all(ticket.number != one.number for ticket in line.waiting())


def test_an_absence_earns_one_turn():
    line = Line()
    line.queue("often", count=200)
    line.queue("seldom")
    for _ in range(100):
        line.finish(line.take().claim)
    line.queue("seldom", count=50)
    agents = [ticket.agent for ticket in line.drain()]
    assert agents[:4] == ["seldom", "often", "seldom", "often"]
    assert Counter(agents[:80]) == {"seldom": 40, "often": 40}


def test_ever_new_names_do_not_starve_who_was_there():
    line = Line()
    line.queue("patient", count=2)
    line.take()
    served = []
    for name in range(10):
        line.queue(f"new {name}")
        line.queue(f"newer {name}")
        served.append(line.take().ticket.agent)
    assert "patient" in served[:2]


@given(st.lists(st.tuples(st.sampled_from(AGENTS), st.booleans()), min_size=1, max_size=30))
def test_what_is_not_allowed_is_passed_by_and_stays(wanted):
    line = Line()
    for agent, online in wanted:
        line.queue(agent, 0, ONLINE if online else Demands())
    offline = {ticket.number for ticket in line.waiting() if ticket.demands == Demands()}
    taken = []
    while one := line.take(allows=lambda demands: not demands.network):
        taken.append(one.ticket)
    assert {ticket.number for ticket in taken} == offline
    for agent in AGENTS:
        numbers = [ticket.number for ticket in taken if ticket.agent == agent]
        assert numbers == sorted(numbers)
    with line.storage.read() as txn:
        assert has_work(txn, lambda demands: demands.network) == (len(offline) < len(wanted))
    online = {ticket.number for ticket in line.waiting()}
    assert {ticket.number for ticket in line.drain()} == online


class Counting:
    """A transaction that counts what it is asked."""

    def __init__(self, txn):
        self._txn, self.asked = txn, 0
        self.memo = txn.memo

    def scan(self, *arguments, **options):
        self.asked += 1
        for pair in self._txn.scan(*arguments, **options):
            self.asked += 1
            yield pair

    def __getattr__(self, name):
        found = getattr(self._txn, name)
        self.asked += name in ("get", "seek", "put", "delete")
        return found


def cost(tickets, held, passed_by):
    line = Line()
    line.queue("queuer", 1, ONLINE, count=passed_by)
    for place in range(tickets):
        line.queue(f"agent {place % 5}", 0, Demands())
    for _ in range(held):
        line.take(allows=lambda demands: not demands.network)
    with line.write() as txn:
        counting = Counting(txn)
        assert take_ticket(counting, "trainer", 0, 1000, 0, lambda demands: not demands.network)
        return counting.asked


def test_a_taking_costs_the_same_however_long_the_line_is():
    assert cost(3000, 4, 0) == cost(30, 4, 0)
    assert cost(30, 4, 2000) == cost(30, 4, 2)
    assert cost(200, 64, 0) < 64 * 4 + 60


# Deaths


def kill(line, times=1):
    """Trainers die over what is next."""
    for _ in range(times):
        line.held.remove(line.take().claim)
        line.now += 2000


def put_off(line):
    """A successor finds out, as a worker does: what is suspected goes back at once."""
    taken = line.take()
    assert taken.lost is not None
    assert taken.ticket.is_suspected
    return line.back(taken.claim)


def test_what_kills_its_trainer_twice_is_set_aside_and_the_others_go_on():
    line = Line()
    (killer, *others) = line.queue(count=3)
    kill(line, 2)
    assert (put_off(line).number, line.tickets()[-1].number) == (killer.number, killer.number)
    assert (line.tickets()[-1].aside, line.tickets()[-1].deaths) == (True, 2)
    assert [ticket.number for ticket in line.drain()] == [ticket.number for ticket in others]
    assert [ticket.number for ticket in line.tickets()] == [killer.number]
    with line.storage.read() as txn:
        assert not has_work(txn)
    assert line.take(killer.number).ticket.number == killer.number  # it was asked for
    line.back()
    with line.write() as txn:
        assert readmit_ticket(txn, killer.number).deaths == 0
        assert readmit_ticket(txn, killer.number) is None
    assert line.take().ticket.number == killer.number


def test_where_trainers_die_all_the_time_two_deaths_are_suspicious_only():
    """It goes behind all others, and is tried again when nothing else waits."""
    line = Line()
    line.queue(count=12)
    for _ in range(10):
        kill(line)
        line.finish(line.take().claim)
    last = line.waiting()[-2].number
    kill(line, 2)
    back = put_off(line)
    assert (back.number, line.tickets()[-1].number, line.tickets()[-1].aside) == (last, last, False)
    assert [ticket.number for ticket in line.drain()] == [last + 1, last]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.34])
def test_by_chance_hardly_anything_is_set_aside_and_a_killer_is_soon(rate):
    """1,200 nodes whose trainers are killed at random; 0.34 is what eight trainers under fire had."""
    rng, taken, died, histories = random.Random(int(rate * 100)), 0, 0, []
    for _ in range(1200):
        killed = 0
        while rng.random() < rate:
            killed, taken, died = killed + 1, taken + 1, died + 1
        taken += 1
        histories.append(killed)
    assert not any(deaths.is_killer(killed, taken, died) for killed in histories)
    needed = next(n for n in range(1, 50) if deaths.is_killer(n, taken + n, died + n))
    assert needed == {0.0: 2, 0.01: 3, 0.1: 5, 0.34: 10}[rate]


@given(st.integers(2, 12), st.integers(0, 500), st.integers(0, 2000))
def test_more_deaths_are_less_by_chance_and_a_higher_rate_more(killed, died, lived):
    chance = deaths.by_chance(killed, killed + died + lived, killed + died)
    assert deaths.by_chance(killed, killed + died + lived, killed + died + 1) >= chance or lived == 0
    more = deaths.by_chance(killed + 1, killed + 1 + died + lived, killed + 1 + died)
    assert more <= chance * (killed + 1 + died + lived) / (killed + died + lived)


# Stores


@pytest.fixture
def store(tmp_path):
    with dagstore.open(make_store(tmp_path / "project").root) as opened:
        yield opened


def test_a_line_of_a_store_that_knew_no_turns_is_read_and_drained(store):
    seed = store.resolve("@seed")
    with store._storage.write() as txn:
        txn.put("state", b"counter", (99).to_bytes(8, "big"))
        for number, priority, agent in ((11, 0, "ada"), (12, 0, "ada"), (13, 0, "bob"), (14, 7, "bob")):
            key = b"ticket/" + (MAX_PRIORITY - priority).to_bytes(4, "big") + number.to_bytes(8, "big")
            txn.put("state", key, pack([bytes(seed), agent, 5, 1, 0]))
    order = [14, 11, 13, 12]
    assert [ticket.number for ticket in store.tickets()] == order
    assert store.next_in_line().number == 14
    assert not store.queue([seed])  # it waits already
    taken = []
    while one := store.take("trainer", 60):
        taken.append(one.ticket.number)
        assert one.ticket.failures == 1
        assert store.cancel(one.ticket.number) is False
        assert one.claim.ticket == one.ticket.number
        store.end(one.ticket.number)
        store.give_back(one.claim)
    assert taken == order
    assert not store.tickets()
    assert store.fsck("full").clean


TAKER = """
import sys
import dagstore
with dagstore.open(sys.argv[1]) as store:
    while taken := store.take(sys.argv[2], 600):
        print(taken.claim.token, taken.ticket.number, flush=True)
"""


def test_processes_that_take_at_once_take_in_one_order(store):
    for agent in AGENTS * 2:
        store.queue(["@seed"], repeat=len(store.tickets()) + 10, agent=agent)
    foreseen = [ticket.number for ticket in store.tickets()]
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, store.root, f"taker {n}"], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    told = [line.split() for taker in takers for line in taker.communicate(timeout=120)[0].splitlines()]
    assert all(taker.returncode == 0 for taker in takers)
    assert [int(number) for _, number in sorted(told, key=lambda pair: int(pair[0]))] == foreseen


def test_the_index_is_made_again_where_it_is_not_that_of_the_tickets(store):
    """As where a process was killed between writing to the log and to the index."""
    store.queue(["@seed"], repeat=6, agent="ada")
    store.queue(["@seed"], repeat=9, agent="bob")
    foreseen = [ticket.number for ticket in store.tickets()]
    with store._storage.write() as txn:
        row = next(raw for _, raw in txn.scan("state", b"line/tally"))
        txn.put("state", b"line/tally", pack([row[1] + 50, 0, 0]))
        for key, _ in list(txn.scan("hints", b"line/first/")):
            txn.delete("hints", key)
    assert [ticket.number for ticket in store.tickets()] == foreseen
    assert store.next_in_line().number == foreseen[0]
    taken = []
    while one := store.take("trainer", 60):
        taken.append(one.ticket.number)
    assert taken == foreseen
