"""The books of a store: what runs took, what was caught before it ran, and which changes were kept."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from dagstore.errors import DagError
from dagstore.index import NOTE, RUN, facts, graph_row, path_key, touched_paths
from dagstore.ledger import Duplicates, Kept, Ledger, SlotTime, Spent
from dagstore.model import Note, Run, Status, changes
from dagstore.paired import Pair, firsts, measured, pairs
from dagstore.rank import Moments, Noise
from dagstore.rows import count_nodes
from dagstore.shown import Rows
from dagstore.spending import AWAY, Idle, Span, between, gpus
from dagstore.storage import Reader, after
from dagstore.touched import kind_of, nameless
from dagstore.touching import Touching

PROPOSED = "hypothesis"
Key = tuple[str, str, str]


@dataclass(slots=True)
class _Took:
    """The sums over some runs."""

    runs: int = 0
    seconds: float = 0.0
    gpu: float = 0.0
    slot: float = 0.0

    def add(self, seconds: float, devices: float) -> None:
        self.runs += 1
        self.seconds += seconds
        self.gpu += seconds * devices
        self.slot += 0.0 if devices else seconds


@dataclass(slots=True)
class _Tree:
    """The runs of one tree: which nodes they were made for, what the good ones took, and the first record of those."""

    names: set[bytes] = field(default_factory=set)
    good: _Took = field(default_factory=_Took)
    since: int = 0


@dataclass(slots=True)
class _Tally:
    nodes: int = 0
    measured: int = 0
    gains: list[float] = field(default_factory=list)
    clearly: int = 0


class Books:
    """The books of one snapshot."""

    def __init__(self, store: Touching, txn: Reader, regions: int) -> None:
        self._store = store
        self._txn = txn
        self._regions = regions
        self._channel = store._channel(txn)
        self._statuses: dict[Status, _Took] = {}
        self._trees: dict[int, _Tree] = {}
        self._slots: dict[str, list[Span]] = {}
        self._unread = 0

    def answer(self) -> Ledger:
        self._read_runs()
        channel, looked = self._channel, self._newest()
        regions, kinds = self._by_region(looked)
        return Ledger(
            nodes=count_nodes(self._txn),
            measured=self._count_measured(),
            runs=sum(took.runs for took in self._statuses.values()),
            gpu_seconds=sum(took.gpu for took in self._statuses.values()),
            slot_seconds=sum(took.slot for took in self._statuses.values()),
            statuses=self._spent(),
            duplicates=self._duplicates(),
            slots=self._slot_time(),
            metric=channel.metric if channel else None,
            direction=channel.direction if channel else None,
            protocol=channel.protocol if channel else None,
            platform=channel.platform if channel else None,
            noise=self._noise,
            paths=self._by_path(),
            regions=regions,
            kinds=kinds,
            looked=len(looked),
            unread=self._unread,
        )

    # --- runs ---

    def _read_runs(self) -> None:
        for key, _ in self._txn.scan("facts", RUN, after(RUN)):
            record = int.from_bytes(key[5:], "big")
            run: Run = self._store._objects.load(self._txn, record)
            devices = gpus(run.platform)
            self._statuses.setdefault(run.status, _Took()).add(run.seconds, devices)
            tree = self._trees.setdefault(int.from_bytes(key[1:5], "big"), _Tree())
            tree.names.add(run.node)
            if run.status is Status.OK:
                tree.good.add(run.seconds, devices)
                tree.since = tree.since or record
            if run.runner and run.started > 0 and run.seconds > 0:
                start = run.started / 1000
                self._slots.setdefault(run.runner, []).append(Span(start, start + run.seconds))

    def _spent(self) -> Rows[Spent]:
        ordered = (status for status in Status if status in self._statuses)
        rows = ((status, self._statuses[status]) for status in ordered)
        return Rows(Spent(status.value, it.runs, it.seconds, it.gpu, it.slot) for status, it in rows)

    def _count_measured(self) -> int:
        return sum(self._tree_of(node) in self._good for node in range(1, count_nodes(self._txn) + 1))

    @cached_property
    def _good(self) -> Mapping[int, _Tree]:
        return {first: tree for first, tree in self._trees.items() if tree.good.runs}

    def _slot_time(self) -> SlotTime:
        total = Idle()
        for spans in self._slots.values():
            total = total.plus(between(spans))
        return SlotTime(len(self._slots), total.runs, total.busy, total.idle, total.share, AWAY)

    # --- duplicates ---

    def _duplicates(self) -> Duplicates:
        trees = list(self._caught_trees())
        proposals = list(self._caught_proposals())
        found = [*trees, *proposals]
        cost = [self._cost(first) for first, _ in found]
        return Duplicates(
            trees=len(trees),
            proposals=len(proposals),
            measured=sum(first in self._good and self._good[first].since < record for first, record in found),
            guessed=sum(first in self._trees and first not in self._good for first, _ in found),
            seconds=sum(seconds for seconds, _ in cost),
            gpu_seconds=sum(gpu for _, gpu in cost),
        )

    def _caught_trees(self) -> Iterator[tuple[int, int]]:
        """Nodes with the files of an earlier one that were not run themselves: that one, and their records."""
        for node, first in self._first.items():
            tree = self._trees.get(first)
            if tree is None or self._store._id(self._txn, node) not in tree.names:
                yield first, graph_row(self._txn, node).record

    def _caught_proposals(self) -> Iterator[tuple[int, int]]:
        """Proposals of nodes that were there: each is one more hypothesis."""
        before = 0
        several: dict[int, list[int]] = {}
        for key, _ in self._txn.scan("facts", NOTE, after(NOTE)):
            node = int.from_bytes(key[1:5], "big")
            if node == before:
                several.setdefault(node, list(facts(self._txn, node, NOTE)))
            before = node
        for node, records in several.items():
            notes: Iterator[tuple[int, Note]] = ((one, self._store._objects.load(self._txn, one)) for one in records)
            again = [record for record, note in notes if note.kind == PROPOSED][1:]
            yield from ((self._tree_of(node), record) for record in again)

    def _cost(self, first: int) -> tuple[float, float]:
        """The seconds and GPU-seconds that one more run of a tree would have taken."""
        if first not in self._trees:
            return 0.0, 0.0
        took = self._good[first].good if first in self._good else self._usual
        return (took.seconds / took.runs, took.gpu / took.runs) if took.runs else (0.0, 0.0)

    @cached_property
    def _usual(self) -> _Took:
        """What the good runs of the column took."""
        trees = [self._good[first].good for first in self._moments if first in self._good]
        runs, seconds, gpu = ([getattr(one, name) for one in trees] for name in ("runs", "seconds", "gpu"))
        return _Took(sum(runs), sum(seconds), sum(gpu))

    # --- changes ---

    @cached_property
    def _first(self) -> Mapping[int, int]:
        return firsts(self._txn)

    @cached_property
    def _moments(self) -> Mapping[int, Moments]:
        return measured(self._txn, self._channel)

    @cached_property
    def _pairs(self) -> Mapping[int, Pair]:
        columns = self._store._columns(self._txn)
        return {pair.node: pair for pair in pairs(columns.primary, self._first, self._moments)}

    @cached_property
    def _noise(self) -> Noise:
        return self._channel.pool.noise() if self._channel else Noise(None, 0)

    def _tree_of(self, node: int) -> int:
        return self._first.get(node, node)

    def _newest(self) -> list[int]:
        """The newest nodes that have a parent."""
        primary, last = self._store._columns(self._txn).primary, count_nodes(self._txn)
        with_parent = (node for node in range(last, 0, -1) if primary[node])
        return [node for node, _ in zip(with_parent, range(self._regions), strict=False)]

    def _by_path(self) -> Rows[Kept]:
        names: dict[bytes, str] = {}
        primary = self._store._columns(self._txn).primary
        found: dict[Key, _Tally] = {}
        for key, node in touched_paths(self._txn):
            if primary[node]:
                path = names.get(key) or self._named(names, key, node)
                self._count(found, node, [(path, "", "")])
        return _kept(found)

    def _named(self, names: dict[bytes, str], key: bytes, node: int) -> str:
        """The path of a key, among those that a node touches."""
        store, txn = self._store, self._txn
        with suppress(DagError):
            for change in changes(store._tree(txn, graph_row(txn, node).primary), store._tree(txn, node)):
                names.setdefault(path_key(change.path), change.path)
        return names.get(key, "?")

    def _by_region(self, nodes: Iterable[int]) -> tuple[Rows[Kept], Rows[Kept]]:
        regions: dict[Key, _Tally] = {}
        kinds: dict[Key, _Tally] = {}
        # Oldest first: versions that are made from each other are read from each other.
        for node in sorted(nodes):
            try:
                edits = self._store._edits(self._txn, node)
            except DagError:
                self._unread += 1
                continue
            touched = {(edit.path, nameless(edit.region), kind_of(edit)) for edit in edits}
            self._count(regions, node, touched)
            self._count(kinds, node, {("", "", kind) for _, _, kind in touched})
        return _kept(regions), _kept(kinds)

    def _count(self, found: dict[Key, _Tally], node: int, keys: Iterable[Key]) -> None:
        pair, direction = self._pairs.get(node), self._channel.direction if self._channel else None
        for key in keys:
            tally = found.setdefault(key, _Tally())
            tally.nodes += 1
            tally.measured += self._tree_of(node) in self._moments
            if pair and direction:
                gain = pair.gain(direction)
                tally.gains.append(gain)
                tally.clearly += pair.clear(gain, self._noise)


def _kept(found: Mapping[Key, _Tally]) -> Rows[Kept]:
    """The tallies, those of most nodes first."""
    ordered = sorted(found.items(), key=lambda item: (-item[1].nodes, item[0]))
    return Rows(_row(*key, tally) for key, tally in ordered)


def _row(path: str, region: str, kind: str, it: _Tally) -> Kept:
    gain = sum(one / len(it.gains) for one in it.gains) if it.gains else None
    better = sum(one > 0 for one in it.gains)
    return Kept(path, region, kind, it.nodes, it.measured, len(it.gains), better, it.clearly, gain)
