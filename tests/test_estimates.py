"""What a ranking says of what was measured: estimates by runs, lineage and noise, of real stores."""

import json
import math
import statistics
from contextlib import suppress
from random import Random

import pytest

import dagstore
from cli.main import main
from dagstore import Status
from dagstore.channels import default_channel
from dagstore.errors import BadInput, NotFound
from dagstore.index import DERIVED
from dagstore.lineage import Lineage
from dagstore.model import Run, Tree
from dagstore.rank import Noise
from dagstore.ranking import ORDERS, judged
from dagstore.storage import KEPT
from dagstore.testing.builders import CHARTER, make_store, measure, protocol_of
from dagstore.testing.children import start

SD = 0.01


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as made:
        yield made


def grow(store, parent, count=1, *, first=0):
    """So many different children of a node."""
    with store.batch() as batch:
        return [
            batch.record([parent], {"train.py": f"X = '{parent} {number}'\n".encode()})
            for number in range(first, first + count)
        ]


def repeat(store, node, *values, **more):
    for seed, value in enumerate(values):
        measure(store, node, value, seed=seed, **more)


def around(value, sd=SD, n=4):
    """So many numbers with this mean and (for two degrees of freedom or more) about this spread."""
    return [value + sd * z for z in statistics.NormalDist().quantiles(n + 1)]


def rows(store, **more):
    return {row.id: row for row in store.frontier(1000, **more).nodes}


def text_of(store, capsys, *words):
    """What a command says of a store, which is closed before."""
    store.close()
    with pytest.raises(SystemExit) as ended:
        main([*words, "-C", str(store.root)])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return said.out


class TestLineage:
    def test_children_of_a_well_known_parent_are_drawn_to_it(self, store):
        """The more so, the less they were measured; the more noise, the more."""
        repeat(store, "@seed", *around(1.0, n=20))
        children = grow(store, "@seed", 8)
        for at, child in enumerate(children):
            measure(store, child, 1.0 + SD * (-1) ** at * (0.3 + at / 8))
        lucky, often = grow(store, "@seed", 2, first=8)
        measure(store, lucky, 1.0 - 2 * SD)
        repeat(store, often, *around(1.0 - 2 * SD, n=20))
        found = rows(store)
        assert found[lucky].mean == pytest.approx(1.0 - 2 * SD)
        assert found[lucky].mean < found[lucky].estimate < 1.0
        drawn = {node: abs(found[node].estimate - found[node].mean) for node in (lucky, often)}
        assert drawn[often] < drawn[lucky] / 3
        assert found[often].rank == 1
        assert all(found[child].low <= found[child].estimate <= found[child].high for child in children)

    def test_a_lucky_parent_is_taken_down_by_its_children(self, store):
        repeat(store, "@seed", *around(1.0, n=6))
        (lucky,) = grow(store, "@seed")
        measure(store, lucky, 1.0 - 3 * SD)
        alone = rows(store)[lucky].estimate
        for at, child in enumerate(grow(store, lucky, 12)):
            measure(store, child, 1.0 + SD * math.sin(at))
        found = rows(store)[lucky]
        assert found.mean == pytest.approx(1.0 - 3 * SD)
        assert alone < found.estimate
        assert found.estimate > found.mean + SD / 2
        assert "drawn by" in found.why

    def test_children_of_a_parent_that_was_not_measured_say_what_it_is_worth_to_each_other(self, store):
        repeat(store, "@seed", *around(1.0, n=6))
        (between,) = grow(store, "@seed")
        children = grow(store, between, 10)
        for at, child in enumerate(children):
            measure(store, child, 0.8 + SD * math.sin(at))
        (far,) = grow(store, between, first=10)
        measure(store, far, 0.8 - 3 * SD)
        found = rows(store)
        assert between not in found
        assert found[far].estimate > found[far].mean

    def test_a_wreck_does_not_move_its_relatives(self, store):
        repeat(store, "@seed", *around(1.0, n=6))
        children = grow(store, "@seed", 12)
        for at, child in enumerate(children):
            measure(store, child, 1.0 + SD * math.sin(at))
        before = rows(store)
        (wreck,) = grow(store, "@seed", first=20)
        measure(store, wreck, 900.0)
        found = rows(store)
        assert found[wreck].estimate == pytest.approx(900.0, abs=2 * SD)
        for node in [store.resolve("@seed"), *children]:
            assert found[node].estimate == pytest.approx(before[node].estimate, abs=SD / 2)

    @pytest.mark.parametrize("diverged", [5.0, 1e4, 1e9, 1e200])
    def test_a_child_that_diverged_does_not_count_against_its_parent(self, store, diverged):
        """However far it went."""
        repeat(store, "@seed", *around(1.0, n=6))
        good, other = grow(store, "@seed", 2)
        measure(store, other, 1.0 - SD)
        measure(store, good, 1.0 - 3 * SD)
        before = rows(store)[good]
        for child in grow(store, good, 3):
            measure(store, child, diverged)
        found = rows(store)[good]
        assert found.rank == 1
        assert found.estimate == pytest.approx(before.estimate, abs=SD)

    def test_equal_trees_share_their_runs(self, store):
        """The same files under another parent are another node of the same experiment."""
        (a,) = grow(store, "@seed")
        with store.batch() as batch:
            again = batch.record([a], {"train.py": store.cat("@seed", "train.py")})
        measure(store, "@seed", 1.0)
        measure(store, again, 1.2)
        measure(store, a, 0.9)
        ranking = store.frontier()
        assert [(row.id, row.runs) for row in ranking.nodes] == [(a, 1), (store.resolve("@seed"), 2)]
        assert ranking.nodes[1].mean == pytest.approx(1.1)
        assert ranking.noise.n == 2
        assert store.node(again).estimate == store.node("@seed").estimate

    def test_reruns_are_one_row(self, store):
        repeat(store, "@seed", *around(1.0, n=30))
        (row,) = store.frontier().nodes
        assert (row.runs, row.estimate) == (30, pytest.approx(1.0))
        assert row.low < 1.0 < row.high
        assert row.high - row.low == pytest.approx(2 * 1.7 * store.frontier().noise.sd / 30**0.5, rel=0.05)


class TestNoise:
    def test_nothing_repeated(self, store, capsys):
        """The estimate is the mean, to the bit, and it is said that differences may be noise."""
        a, b = grow(store, "@seed", 2)
        (c,) = grow(store, a)
        values = {store.resolve("@seed"): 1.1, a: 0.7, b: 1.3, c: 0.2}
        for node, value in values.items():
            measure(store, node, value)
        ranking = store.frontier()
        assert {row.id: row.estimate for row in ranking.nodes} == values
        assert {row.id: row.mean for row in ranking.nodes} == values
        assert [row.id for row in ranking.nodes] == sorted(values, key=values.get)
        assert (ranking.noise.sd, ranking.noise.n) == (None, 0)
        assert ranking.noise.assumed > 0
        assert all(row.low < row.estimate < row.high for row in ranking.nodes)
        said = text_of(store, capsys, "frontier")
        assert "nothing was measured twice, so differences may be noise; it is taken for" in said
        assert "dag confirm" in said

    def test_nothing_can_be_assumed_before_a_child_and_its_parent_were_measured(self, store, capsys):
        a, b = grow(store, "@seed", 2)
        measure(store, a, 0.5)
        measure(store, b, 0.7)
        ranking = store.frontier()
        assert ranking.noise == Noise(None, 0)
        assert [(row.id, row.low, row.high) for row in ranking.nodes] == [(a, None, None), (b, None, None)]
        assert not any(row.tied for row in ranking.nodes)
        measure(store, "@seed", 1.0)
        assert store.frontier().noise.assumed > 0
        assert "taken for" in text_of(store, capsys, "frontier")

    def test_one_run_in_all(self, store, capsys):
        measure(store, "@seed", 1.0)
        ranking = store.frontier()
        (row,) = ranking.nodes
        assert (row.rank, row.estimate, row.low, row.high, row.runs, row.tied) == (1, 1.0, None, None, 1, False)
        assert (ranking.measured, ranking.considered, ranking.outside) == (1, 1, 0)
        assert "nothing was measured twice" in text_of(store, capsys, "frontier")

    def test_all_runs_crashed(self, store, capsys):
        for seed in range(3):
            measure(store, "@seed", None, Status.CRASHED, seed=seed)
        assert (len(store.frontier().nodes), store.frontier().measured) == (0, 0)
        with pytest.raises(NotFound):
            store.resolve("@best")
        assert "nothing was measured yet" in text_of(store, capsys, "frontier")

    def test_repeats_that_give_the_very_same_number(self, store):
        """No noise at all: estimates are what was measured, and intervals have no width."""
        a, b = grow(store, "@seed", 2)
        for node, value in ((a, 0.7), (b, 0.9), ("@seed", 1.0)):
            repeat(store, node, value, value, value)
        ranking = store.frontier()
        assert (ranking.noise.sd, ranking.noise.n) == (0.0, 9)
        assert [row.estimate for row in ranking.nodes] == [0.7, 0.9, 1.0]
        assert all((row.low, row.high) == (row.estimate, row.estimate) for row in ranking.nodes)
        assert not any(row.tied for row in ranking.nodes)

    def test_equal_values(self, store):
        """In the order of age, none better than the first."""
        children = grow(store, "@seed", 5)
        for node in ["@seed", *children]:
            measure(store, node, 1.0)
        assert [row.id for row in store.frontier().nodes] == [store.resolve("@seed"), *children]
        repeat(store, "@seed", 1.0, *around(1.0, n=2))
        assert {row.id for row in store.frontier().nodes if not row.tied} == {store.frontier().nodes[0].id}

    def test_other_metrics_have_their_own_noise(self, store):
        """Only those nodes are ranked that have it."""
        a, b = grow(store, "@seed", 2)
        for seed, (loss, speed) in enumerate([(1.0, 50.0), (1.0, 54.0), (1.2, 52.0)]):
            measure(store, a, loss, seed=seed, metrics={"speed": speed})
        measure(store, "@seed", 0.9, metrics={"speed": 40.0})
        measure(store, b, 0.8)
        ranking = store.frontier(metric="speed")
        assert [row.id for row in ranking.nodes] == [store.resolve("@seed"), a]
        assert (ranking.metric, ranking.noise.sd, ranking.noise.n) == ("speed", pytest.approx(2.0), 3)
        assert ranking.nodes[1].estimate == pytest.approx(52.0)
        assert ranking.nodes[1].low < 52.0 < ranking.nodes[1].high
        assert store.frontier().noise.sd == pytest.approx(statistics.stdev([1.0, 1.0, 1.2]))
        assert len(store.frontier().nodes) == 3
        with pytest.raises(NotFound):
            store.frontier(metric="loudness")


class TestDoor:
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_no_number_is_refused(self, store, value):
        measure(store, "@seed", 1.0)
        with pytest.raises(BadInput) as caught:
            measure(store, "@seed", value, seed=1)
        assert caught.value.hint
        with pytest.raises(BadInput):
            measure(store, "@seed", 1.0, seed=1, metrics={"speed": value})
        assert [row.runs for row in store.frontier().nodes] == [1]

    def test_a_run_without_the_metric_is_not_ranked(self, store):
        (a,) = grow(store, "@seed")
        measure(store, "@seed", 1.0)
        measure(store, a, None, Status.INVALID, metrics={"speed": 1.0})
        measure(store, a, None, metrics={"speed": 1.0}, seed=1)
        assert [row.id for row in store.frontier().nodes] == [store.resolve("@seed")]
        assert store.node(a).estimate is None
        with pytest.raises(NotFound):
            store.frontier(metric="speed")

    @pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
    def test_a_number_of_a_run_that_failed_does_not_count(self, store, status):
        measure(store, "@seed", 1.0)
        measure(store, "@seed", 0.1, status, seed=1)
        assert [(row.estimate, row.runs) for row in store.frontier().nodes] == [(1.0, 1)]

    def test_another_direction_opens_another_column(self, store, capsys):
        measure(store, "@seed", 1.0)
        text = CHARTER.format(direction="maximize")
        with store.batch() as batch:
            other = batch.record(["@seed"], {"dag.toml": text.encode()}, unlock=True)
        measure(store, other, 0.5)
        ranking = store.frontier()
        assert (ranking.direction, ranking.outside) == (dagstore.Direction.MAXIMIZE, 1)
        assert [row.id for row in ranking.nodes] == [other]
        assert [(one.direction.value, len(one.nodes)) for one in store.frontiers()] == [
            ("minimize", 1),
            ("maximize", 1),
        ]
        said = text_of(store, capsys, "frontier")
        assert "val_loss (maximize)" in said
        assert "1 run of other protocols or platforms cannot be compared" in said

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    def test_the_ends_of_the_number_line(self, tmp_path, capsys, direction):
        values = [1e300, -1e300, 1.7e308, -1.7e308, 1e-300, -1e-300, 5e-324, 0.0, 1.0, 1e140, 1e141, 1e-140]
        with make_store(tmp_path, direction=direction) as store:
            children = grow(store, "@seed", len(values))
            for child, value in zip(children, values, strict=True):
                measure(store, child, value)
            self._sound(store)
            below = grow(store, children[0], len(values))
            for child, value in zip(below, values, strict=True):
                repeat(store, child, value, value / 2, -value)
                self._sound(store)
            for strategy in dagstore.frontier.STRATEGIES:
                for chance in range(20 if strategy == "promise" else 1):
                    assert all(map(math.isfinite, _numbers(store.frontier(strategy=strategy, seed=chance))))
            assert json.loads(text_of(store, capsys, "frontier", "--json"))["nodes"]
            text_of(store, capsys, "frontier")

    @pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-100, 1e100, 1e160, 1e300])
    def test_numbers_of_an_odd_unit(self, tmp_path, unit):
        with make_store(tmp_path) as store:
            repeat(store, "@seed", *(unit * one for one in around(1.0)))
            children = grow(store, "@seed", 6)
            for at, child in enumerate(children):
                repeat(store, child, *(unit * (1.0 + at / 100 + one) for one in (0.0, 0.02)))
            self._sound(store)
            assert next(iter(store.frontier().nodes)).id in {children[0], store.resolve("@seed")}

    def _sound(self, store):
        for order in ORDERS:
            ranking = store.frontier(strategy=order)
            assert all(map(math.isfinite, _numbers(ranking)))
            assert all(row.low is None or row.low <= row.high for row in ranking.nodes)


def _numbers(ranking):
    for row in ranking.nodes:
        yield from (row.estimate, row.mean, row.low or 0.0, row.high or 0.0, row.score or 0.0)


class GivenUp(Exception):
    """Ends a transaction without a trace."""


class World:
    """Experiments whose truth is known, in a store, in one transaction that is given up in the end."""

    def __init__(self, store, direction="minimize", unit=1.0):
        self.store = store
        self.unit = unit if direction == "minimize" else -unit
        self.protocol = protocol_of(store, "@seed")
        self.nodes = []
        self.truth = {}
        self.values = {}

    def __enter__(self):
        self._writing = self.store._write()
        self.txn = self._writing.__enter__()
        self.add(self.store._seq(self.txn, "@seed"), 0.0)
        return self

    def __exit__(self, kind, error, trace):
        with suppress(GivenUp):
            self._writing.__exit__(GivenUp, GivenUp(), None)

    def add(self, node, truth):
        self.nodes.append(node)
        self.truth[node], self.values[node] = truth, []
        return node

    def child(self, parent, truth):
        data = f"x = {len(self.nodes)}\n".encode()
        blob = dagstore.ids.BlobId.of(data)
        tree = self.store._tree(self.txn, parent)
        changed = Tree.of(one._replace(blob=blob) if one.path == "train.py" else one for one in tree)
        return self.add(self.store._record(self.txn, [parent], changed, {blob: data}, None).seq, truth)

    def measure(self, node, value):
        self.values[node].append(value)
        number = sum(map(len, self.values.values()))
        made, protocol = self.store._id(self.txn, node), self.protocol
        run = Run(
            node=made,
            protocol=dagstore.ProtocolId(bytes(32)),
            platform="sim",
            status=Status.OK,
            metrics={protocol.metric: value * self.unit},
            started=number,
            seconds=1.0,
            runner="sim",
        )
        self.store._record_run(self.txn, run, protocol, {})

    def judged(self):
        channel = default_channel(self.txn)
        lineage = Lineage(self.txn, channel)
        return {node: judged(lineage, node) for node in self.nodes if self.values[node]}


def simulate(world, step, *, count, seed, repeated=0.2):
    """Children of good and of any nodes, measured with noise of sd 1."""
    random = Random(seed)
    world.measure(world.nodes[0], random.gauss(0, 1))
    for _ in range(count):
        known = random.sample(world.nodes, min(8, len(world.nodes)))
        if random.random() < repeated:
            node = random.choice(known)
        else:
            parent = min(known, key=lambda node: statistics.fmean(world.values[node]))
            node = world.child(parent, world.truth[parent] + step(random))
        world.measure(node, world.truth[node] + random.gauss(0, 1))


def ordinary(random):
    return random.gauss(0, 1.0)


def mixed(random):
    """Most small, some large, a few to the worse only."""
    kind = random.random()
    return random.gauss(0, 0.25) if kind < 0.5 else random.gauss(0, 2.0) if kind < 0.9 else random.gauss(12.0, 8.0)


class TestSimulated:
    @pytest.mark.parametrize("step", [ordinary, mixed])
    def test_intervals_hold_the_truth_as_often_as_they_say(self, tmp_path, step):
        """90 % of the intervals hold the truth, and estimates are nearer to it than means are."""
        inside, errors, raw = [], [], []
        with make_store(tmp_path) as store:
            for seed in range(4):
                with World(store) as world:
                    simulate(world, step, count=1500, seed=seed)
                    for node, found in world.judged().items():
                        inside.append(found.low <= world.truth[node] <= found.high)
                        errors.append((found.estimate - world.truth[node]) ** 2)
                        raw.append((found.moments.mean - world.truth[node]) ** 2)
        assert len(inside) > 4000
        assert 0.88 <= statistics.fmean(inside) <= 0.92
        assert statistics.fmean(errors) < 0.75 * statistics.fmean(raw)

    @pytest.mark.parametrize("seed", [3, 4])
    def test_maximize_mirrors_minimize(self, tmp_path, seed):
        found = {}
        for direction in ("minimize", "maximize"):
            with make_store(tmp_path / direction, direction=direction) as store, World(store, direction) as world:
                simulate(world, mixed, count=200, seed=seed)
                channel = default_channel(world.txn)
                orders = {
                    order: [it.tree for it in dagstore.ranking.leaders(world.txn, channel, 30, order)]
                    for order in ORDERS
                }
                found[direction] = world.judged(), orders
        (one, orders), (other, mirrored) = found["minimize"], found["maximize"]
        assert orders == mirrored
        for node, it in one.items():
            that = other[node]
            assert (-that.estimate, -that.high, -that.low) == pytest.approx((it.estimate, it.low, it.high), abs=1e-6)

    @pytest.mark.parametrize("power", [-40, 3, 200])
    def test_another_unit_scales_estimates(self, tmp_path, power):
        found = {}
        for unit in (1.0, 2.0**power):
            with make_store(tmp_path / str(unit)) as store, World(store, unit=unit) as world:
                simulate(world, mixed, count=200, seed=5)
                found[unit] = world.judged()
        one, other = found.values()
        for node, it in one.items():
            scaled = [value / 2.0**power for value in (other[node].estimate, other[node].low, other[node].high)]
            assert scaled == pytest.approx((it.estimate, it.low, it.high), rel=1e-9, abs=1e-9)


def scans(store):
    with store._storage.read() as txn:
        return {table: list(txn.scan(table)) for table in (*DERIVED, *KEPT)}


def grown(store, random, count):
    """Random trees of a store, some of them equal, measured in random order and often again."""
    nodes, contents = [store.resolve("@seed")], {}
    with store.batch() as batch:
        for _ in range(count):
            parent, content = random.choice(nodes), b"X = %d\n" % random.randrange(2 * count)
            if contents.get(parent) != content:
                nodes.append(batch.record([parent], {"train.py": content}))
                contents[nodes[-1]] = content
    return nodes


class TestIndex:
    def test_it_is_what_would_be_made_again(self, tmp_path):
        """More trees than are brought up to date at a time or sampled, more runs than that, with repeats."""
        random = Random(11)
        with make_store(tmp_path) as store:
            nodes = grown(store, random, 560)
            for number in range(800):
                node = nodes[number % len(nodes)] if number < 561 else random.choice(nodes)
                value = random.gauss(1.0, 0.1) if random.random() < 0.9 else random.choice([50.0, 1e300, -0.0])
                status = Status.OK if random.random() < 0.95 else Status.CRASHED
                more = {"speed": random.random()} if random.random() < 0.2 else {}
                platform = "cpu" if random.random() < 0.95 else "gpu"
                measure(store, node, value, status, seed=number, metrics=more, platform=platform)
            assert store.frontier().measured > 400
            before = scans(store)
            store.reindex()
            assert scans(store) == before

    @pytest.mark.parametrize("seed", range(16))
    def test_also_after_any_sequence_of_runs(self, tmp_path, seed):
        random = Random(seed)
        extreme = [0.0, 1.0, 1.0, 1.0, 1e300, -1e300, 1.7e308, -1.7e308, 1e-300, 1e9]
        with make_store(tmp_path) as store:
            nodes = grown(store, random, random.randrange(12))
            for number in range(random.randrange(1, 40)):
                value = random.choice(extreme) if random.random() < seed / 32 else random.gauss(1.0, 0.1)
                measure(store, random.choice(nodes), value, seed=number)
                assert all(map(math.isfinite, _numbers(store.frontier())))
            before = scans(store)
            store.reindex()
            assert scans(store) == before


class TestOrder:
    """Two stores that know the same say nearly the same, in whatever order they came to know it."""

    @pytest.mark.parametrize("seed", range(3))
    def test_of_runs_matters_little(self, tmp_path, seed):
        one, other = (self.ranked(tmp_path / name, shuffle) for name, shuffle in (("one", None), ("other", seed)))
        apart = sorted(abs(one[node].estimate - other[node].estimate) / self.sd(one[node]) for node in one)
        assert one.keys() == other.keys()
        assert apart[len(apart) // 2] < 0.06
        assert apart[-1] < 0.2
        assert len({*list(one)[:20]} & {*list(other)[:20]}) >= 19

    def ranked(self, folder, shuffle):
        """The frontier of a swarm that builds on its newest, every fourth measured twice."""
        random, runs = Random(1), []
        folder.mkdir()
        with make_store(folder) as store:
            nodes, truth = [store.resolve("@seed")], [0.0]
            for number in range(150):
                above = random.randrange(max(0, len(nodes) - 15), len(nodes))
                nodes += grow(store, nodes[above], first=number)
                truth.append(truth[above] + random.gauss(0.3, 1))
                runs += [(nodes[-1], random.gauss(truth[-1], 1), seed) for seed in range(1 + (number % 4 == 0))]
            if shuffle is not None:
                Random(shuffle).shuffle(runs)
            for node, value, seed in runs:
                measure(store, node, value, seed=seed)
            return rows(store)

    def sd(self, row):
        return (row.high - row.low) / (2 * 1.645)


RECORD = """
from dagstore.testing.builders import measure
with dagstore.open(root) as store:
    for number, line in enumerate(sys.stdin):
        node, value = line.split()
        measure(store, node, float(value), seed=number)
        say("recorded")
"""


class TestTwoProcesses:
    def test_what_another_process_records_is_ranked_at_once(self, store):
        children = grow(store, "@seed", 12)
        repeat(store, "@seed", *around(1.0))
        best = {}
        with closing_process(start(RECORD, store.root)) as other:
            for at, child in enumerate([*children, *children[:4]]):
                value = 1.0 - at / 100
                print(child, value, file=other.stdin, flush=True)
                assert other.stdout.readline() == "recorded\n"
                found = rows(store)
                best.setdefault(child, []).append(value)
                assert found[child].mean == pytest.approx(statistics.fmean(best[child]))
                assert found[child].runs == len(best[child])
                assert store.resolve("@best") == store.frontier(1).nodes[0].id
        measure(store, children[0], 2.0, seed=99)
        assert rows(store)[children[0]].runs == 3
        before = scans(store)
        store.reindex()
        assert scans(store) == before


class closing_process:
    def __init__(self, process):
        self.process = process

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        with self.process:
            self.process.stdin.close()
        assert self.process.returncode == 0
