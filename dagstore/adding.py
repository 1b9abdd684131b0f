"""The sums that gains are of: which edits the measured nodes of a store have, and what each of them is worth."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from dagstore.additive import Additive, Estimate, Trial
from dagstore.effects import Effect, Effects, Interaction
from dagstore.errors import DagError
from dagstore.paired import Pair, firsts, measured, pairs
from dagstore.rank import Noise
from dagstore.shown import Rows
from dagstore.storage import Reader
from dagstore.touched import Edit, is_comment, kind_of, same_edit
from dagstore.touching import Touching

PAIRS = 500
"""Pairs of edits that are asked whether they interact."""
CHANCE = 0.1
_MEDIAN = 0.6744897501960817
"""The median size of a standard normal number."""


class Told(NamedTuple):
    """An edit with its number, what it is worth, and the nodes that have it."""

    edit: Edit
    estimate: Estimate
    nodes: Sequence[int]
    alone: int


class Sums:
    """The newest measured nodes of one snapshot, `limit` at most, as sums of the effects of their edits."""

    def __init__(self, store: Touching, txn: Reader, limit: int) -> None:
        self._store = store
        self._txn = txn
        self.channel = store._channel(txn)
        self.unread = 0
        self._numbers: dict[Edit, int] = {}
        self.nodes: list[int] = []
        self._trials: list[Trial] = []
        found = self._pairs
        self.outside = max(0, len(found) - limit)
        for pair in found[self.outside :]:
            self._add(pair)

    def answer(self) -> Effects:
        """All of it; `Accounting.effects` says what it holds."""
        channel, told = self.channel, self.told()
        places = {at: place for place, at in enumerate(self._order)}
        asked, testable = self._asked()
        return Effects(
            metric=channel.metric if channel else None,
            direction=channel.direction if channel else None,
            protocol=channel.protocol if channel else None,
            platform=channel.platform if channel else None,
            noise=self.noise,
            sd=self.sd if self._trials else self.noise.sd,
            assumed=self.assumed,
            spread=self._model.spread if self._trials else None,
            nodes=len(self._trials),
            outside=self.outside,
            unread=self.unread,
            repeated=sum(len(one.nodes) > 1 for one in told),
            edits=Rows(map(self._row, told)),
            pairs=Rows(sorted(self._interacting(asked, places), key=lambda one: -min(abs(one.low), abs(one.high)))),
            tested=len(asked),
            testable=testable,
            by_chance=CHANCE * len(asked),
        )

    def told(self) -> list[Told]:
        """Every edit with what it is worth, those that are surest to help first."""
        edits, holders = self._contents, self._model.holders
        return [Told(edits[at], self.effects[at], self._holding(holders[at]), self._alone(at)) for at in self._order]

    @cached_property
    def effects(self) -> dict[int, Estimate]:
        """What every edit is worth, by its number."""
        return self._model.effects()

    def total(self, edits: frozenset[int]) -> Estimate:
        """What some edits are worth together."""
        return self._model.total(edits)

    def content(self, number: int) -> Edit:
        return self._contents[number]

    def count(self, number: int) -> int:
        """How many nodes have an edit."""
        return len(self._model.holders[number])

    @cached_property
    def gains(self) -> dict[int, float]:
        """What every node gained over its parent."""
        return {node: trial.gain for node, trial in zip(self.nodes, self._trials, strict=True)}

    @property
    def edits(self) -> list[frozenset[int]]:
        """The numbers of the edits of each of `nodes`."""
        return [trial.edits for trial in self._trials]

    @cached_property
    def noise(self) -> Noise:
        return self.channel.pool.noise() if self.channel else Noise(None, 0)

    @cached_property
    def sd(self) -> float:
        """The noise of one run; while it is unknown, all of a usual gain is taken for it."""
        if self.noise.sd is not None:
            return self.noise.sd
        sizes = sorted(abs(trial.gain) for trial in self._trials)
        return sizes[len(sizes) // 2] / _MEDIAN / math.sqrt(2) if sizes else 0.0

    def numbers(self, edits: Iterable[Edit]) -> frozenset[int]:
        """The numbers of edits, of those that have one."""
        return frozenset(self._numbers[edit] for edit in edits if edit in self._numbers)

    def edits_of(self, node: int) -> set[Edit]:
        """The edits of any node's own diff by content; comments do nothing, and what cannot be read has none."""
        try:
            return self._edits(node)
        except DagError:
            return set()

    @property
    def assumed(self) -> bool:
        return self.noise.sd is None and bool(self._trials)

    # --- trials ---

    @cached_property
    def _pairs(self) -> Sequence[Pair]:
        """Comparable nodes, oldest first; of nodes with the same files over the same files, the first."""
        columns, first = self._store._columns(self._txn), firsts(self._txn)
        found = pairs(columns.primary, first, measured(self._txn, self.channel))
        return list({(pair.tree, pair.base): pair for pair in found}.values())

    def _add(self, pair: Pair) -> None:
        assert self.channel
        try:
            edits = self._edits(pair.node)
        except DagError:
            self.unread += 1
            return
        if edits:
            numbers = frozenset(self._numbers.setdefault(edit, len(self._numbers)) for edit in edits)
            gain = pair.gain(self.channel.direction)
            self._trials.append(Trial(gain, numbers, pair.tree, pair.base, pair.new.n, pair.old.n))
            self.nodes.append(pair.node)

    def _edits(self, node: int) -> set[Edit]:
        """The edits of a node by content; comments do nothing."""
        return {same_edit(edit) for edit in self._store._edits(self._txn, node) if not is_comment(edit)}

    @cached_property
    def _contents(self) -> list[Edit]:
        return list(self._numbers)

    # --- estimates ---

    @cached_property
    def _model(self) -> Additive:
        return Additive(self._trials, self.sd)

    @cached_property
    def _order(self) -> list[int]:
        return sorted(self.effects, key=lambda at: (-self.effects[at].low, at))

    def _holding(self, trials: Sequence[int]) -> list[int]:
        return sorted(self.nodes[at] for at in trials)

    def _alone(self, edit: int) -> int:
        return sum(len(self._trials[at].edits) == 1 for at in self._model.holders[edit])

    def _row(self, told: Told) -> Effect:
        nodes = tuple(self._store._id(self._txn, node) for node in told.nodes)
        path, region, before, after = told.edit
        return Effect(path, region, kind_of(told.edit), before, after, *told.estimate, len(nodes), told.alone, nodes)

    # --- pairs ---

    def _asked(self) -> tuple[list[tuple[int, int]], int]:
        """The pairs that are asked, and how many could be."""
        found = self._model.pairs()
        asked = list(islice(found, PAIRS))
        return asked, len(asked) + sum(1 for _ in found)

    def _interacting(self, asked: Sequence[tuple[int, int]], places: dict[int, int]) -> Iterator[Interaction]:
        for one, other in asked:
            it = self._model.interaction(one, other)
            if not it.low <= 0 <= it.high:
                first, second = sorted((places[one], places[other]))
                both = set(self._model.holders[one]) & set(self._model.holders[other])
                yield Interaction(first, second, *it, len(both))
