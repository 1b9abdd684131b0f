"""Which adoptions are worth a try: donors by what their edits are worth, and sets of them that do not contradict."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import combinations, islice
from typing import NamedTuple

from dagstore.adding import Sums
from dagstore.additive import Estimate
from dagstore.codec import encode
from dagstore.composing import Composing, Request
from dagstore.finding import find, short
from dagstore.ids import NodeId, TreeId
from dagstore.model import Node
from dagstore.reach import ancestors
from dagstore.rows import line
from dagstore.shown import Rows
from dagstore.storage import Reader
from dagstore.suggestions import Suggestion, Suggestions
from dagstore.touched import Edit, kind_of

DONORS, ENOUGH = 100, 20
"""Donors that are composed by themselves, and how many that go are enough."""
PAIRED, TRIPLED = 10, 6
"""How many of those, the best, are composed in pairs, and in threes."""
LINE = 500
"""Nodes of the line of the best one whose edits are passed over."""
UNIQUE = frozenset({"assignment", "key"})
"""Kinds of places of which there is one by its name."""
TOLD = 3
WIDTH = 24
OWN = Request((), own=True)


class Donor(NamedTuple):
    """A node, its edits that the best node has not, and about what these are worth."""

    node: int
    edits: frozenset[int]
    worth: float


class Made(NamedTuple):
    """What composing some donors onto the best node gives."""

    donors: tuple[Donor, ...]
    node: NodeId
    goes: bool
    new: bool

    @property
    def edits(self) -> frozenset[int]:
        return frozenset[int]().union(*(donor.edits for donor in self.donors))


class Combining:
    """Adoptions onto the node `onto` of one snapshot; 0 is none, onto which nothing goes."""

    def __init__(self, store: Composing, txn: Reader, sums: Sums, onto: int) -> None:
        self._store = store
        self._txn = txn
        self._sums = sums
        self._onto = onto

    def answer(self, top: int) -> Suggestions:
        """The `top` ones; `Suggesting.suggest` says what it holds."""
        alone = self._alone
        found = [*alone, *self._sets([made.donors[0] for made in alone if made.goes])]
        fresh = {made.node: made for made in found if made.goes and made.new}
        told = [(made, self._sums.total(made.edits)) for made in fresh.values()]
        best = sorted((pair for pair in told if pair[1].mean > 0), key=lambda pair: (-pair[1].mean, pair[0].node))
        channel = self._sums.channel
        return Suggestions(
            onto=self._id(self._onto) if self._onto else None,
            short=self._short(self._onto) if self._onto else "",
            metric=channel.metric if channel else None,
            direction=channel.direction if channel else None,
            protocol=channel.protocol if channel else None,
            platform=channel.platform if channel else None,
            noise=self._sums.noise,
            sd=self._sums.sd,
            assumed=self._sums.assumed,
            nodes=len(self._sums.nodes),
            clashing=len(self._promising) - len(self._donors),
            donors=len(alone),
            composed=len(found),
            contradicted=sum(not made.goes for made in found),
            recorded=sum(made.goes and not made.new for made in found),
            rows=Rows(self._row(rank, *pair) for rank, pair in enumerate(best[:top], start=1)),
        )

    # --- donors ---

    @cached_property
    def _alone(self) -> list[Made]:
        """Donors composed by themselves, the most promising first, until enough of them go."""
        found: list[Made] = []
        for donor in islice(self._donors, DONORS):
            found.append(self._made([donor]))
            if sum(made.goes for made in found) >= ENOUGH:
                break
        return found

    @cached_property
    def _donors(self) -> list[Donor]:
        """Those that may go, the most promising first."""
        return [donor for donor in self._promising if self._may_go(donor.edits)]

    @cached_property
    def _promising(self) -> list[Donor]:
        """Those whose edits are worth something, the most first; of those with the same edits the oldest."""
        distinct: dict[frozenset[int], Donor] = {}
        for donor in self._worthy() if self._onto else ():
            distinct.setdefault(donor.edits, donor)
        return sorted(distinct.values(), key=lambda one: (-one.worth, one.node))

    def _worthy(self) -> Iterator[Donor]:
        above = ancestors(self._store._columns(self._txn), [self._onto])
        for node, edits in zip(self._sums.nodes, self._sums.edits, strict=True):
            new = edits - self._had
            worth = sum(self._sums.effects[edit].mean for edit in new)
            if worth > 0 and node not in above and node != self._onto:
                yield Donor(node, new, worth)

    def _may_go(self, edits: Iterable[int]) -> bool:
        """False if one of them changes a value that the line of the best node has made something else of."""
        for edit in map(self._sums.content, edits):
            now = self._state.get((edit.path, edit.region))
            if kind_of(edit) in UNIQUE and edit.before and now not in (None, edit.before):
                return False
        return True

    @cached_property
    def _line(self) -> list[set[Edit]]:
        """The edits of the best node and of its primary ancestors, nearest first."""
        return [self._sums.edits_of(node) for node in islice(line(self._txn, self._onto), LINE)]

    @cached_property
    def _had(self) -> frozenset[int]:
        """The numbers of the edits in its line."""
        return self._sums.numbers(edit for edits in self._line for edit in edits)

    @cached_property
    def _state(self) -> dict[tuple[str, str], bytes]:
        """What the places that its line edited have become."""
        state: dict[tuple[str, str], bytes] = {}
        for edits in self._line:
            for edit in edits:
                state.setdefault((edit.path, edit.region), edit.after)
        return state

    # --- sets ---

    def _sets(self, fine: Sequence[Donor]) -> Iterator[Made]:
        """Pairs and threes of the best that go by themselves, then as many as go together."""
        pairs = [self._made(some) for some in combinations(fine[:PAIRED], 2)]
        quarrels = {frozenset(made.donors) for made in pairs if not made.goes}
        yield from pairs
        for some in combinations(fine[:TRIPLED], 3):
            if not any(quarrel <= set(some) for quarrel in quarrels):
                yield self._made(some)
        together: list[Donor] = []
        for donor in fine[:PAIRED]:
            if not any(quarrel <= {donor, *together} for quarrel in quarrels):
                together.append(donor)
        if len(together) > 3:
            yield self._made(together)

    def _made(self, donors: Iterable[Donor]) -> Made:
        """What adopting their own diffs gives, as `adopt` would compose it."""
        store, txn, some = self._store, self._txn, tuple(donors)
        heads = sorted((self._onto, *(donor.node for donor in some)))
        brought = store._brought(txn, OWN, self._onto, heads)
        composed = store._compose(txn, self._onto, brought, store._preference(txn, self._onto, heads, "best"))
        tree = TreeId.of(encode(composed.tree))
        node = NodeId.of(encode(Node.of(map(self._id, heads), tree)))
        goes = not any(decision.contradiction for decision in composed.decisions)
        return Made(some, node, goes, not find(txn, tree))

    # --- rows ---

    def _row(self, rank: int, made: Made, it: Estimate) -> Suggestion:
        donors = [donor.node for donor in made.donors]
        names = " ".join(map(self._short, donors))
        return Suggestion(
            rank=rank,
            node=made.node,
            donors=tuple(map(self._id, donors)),
            gain=it.mean,
            low=it.low,
            high=it.high,
            edits=len(made.edits),
            near=tuple(self._id(node) for node in donors if self._sums.gains[node] <= 0),
            why=self._why(made.edits),
            command=f"dag adopt {names} --primary {self._short(self._onto)} --own",
        )

    def _why(self, edits: frozenset[int]) -> str:
        """The edits of which most is expected, in words."""
        best = sorted(edits, key=lambda edit: (-self._sums.effects[edit].mean, edit))
        told = "; ".join(map(self._in_words, best[:TOLD]))
        return f"{told}; and {len(best) - TOLD} more" if len(best) > TOLD else told

    def _in_words(self, number: int) -> str:
        edit, held = self._sums.content(number), self._sums.count(number)
        before, after = (_short(data) for data in (edit.before, edit.after))
        change = f"{before} -> {after}" if before and after else f"+ {after}" if after else f"- {before}"
        seen = "1 node" if held == 1 else f"{held} nodes"
        return f"{edit.path}: {edit.region} {change} ({self._sums.effects[number].mean:+.3g}, {seen})"

    def _id(self, seq: int) -> NodeId:
        return self._store._id(self._txn, seq)

    def _short(self, seq: int) -> str:
        return short(self._txn, self._id(seq))


def _short(data: bytes) -> str:
    text = " ".join(data[: 8 * WIDTH].decode("utf-8", "replace").split())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
