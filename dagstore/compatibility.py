"""What is composed to say which nodes can be adopted together: every two of them, then the most that may go."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from shlex import quote

from dagstore.adopt import Composition, Donor, compose
from dagstore.adopt.pairs import Contradictions, Pairs
from dagstore.adopt.shelf import Shelf
from dagstore.cliques import Found, together
from dagstore.composing import Composing, Request, check_used
from dagstore.errors import BadInput
from dagstore.finding import short
from dagstore.ids import BlobId, NodeId
from dagstore.index import Progress
from dagstore.shown import Rows
from dagstore.storage import Reader
from dagstore.views import Compatible, Pair

BEST = "best"


class Compatibility:
    """The nodes of one request in one snapshot, as numbers; those that are compared also by their place in `_nodes`."""

    def __init__(self, store: Composing, txn: Reader, request: Request) -> None:
        self._store = store
        self._txn = txn
        self._request = request
        self._made: dict[BlobId, bytes] = {}
        self._shelf = Shelf(self._read)
        self._resolve = store._resolve(txn)
        self._brought: dict[int, Mapping[NodeId, Donor]] = {}
        given, heads, self._onto = self._chosen()
        # A primary that is an ancestor of another node gives way to that one, as in an adoption.
        self._named = request.primary is not None and store._seq(txn, request.primary) == self._onto
        self._nodes = store._by_merit(txn, heads)
        self._covered = store._by_merit(txn, set(given).difference(heads))

    def answer(self, progress: Progress | None) -> Compatible:
        """The whole answer; `Comparing.compatible` says what it holds."""
        found = self._contradictions(progress)
        largest = self._largest(found)
        subset = [self._nodes[at] for at in largest.members]
        return Compatible(
            onto=self._id(self._onto),
            nodes=tuple(map(self._id, self._nodes)),
            pairs=Rows(self._pair(a, b, contradictions) for (a, b), contradictions in found.items()),
            subset=tuple(map(self._id, subset)),
            exact=largest.exact,
            verified=True,
            covered=tuple(map(self._id, self._covered)),
            next=self._command(subset),
        )

    def _chosen(self) -> tuple[list[int], list[int], int]:
        """The nodes that are given, those of them that bring something, and the one that `adopt` would compose onto."""
        request = self._request
        named = request.refs if request.primary is None else (*request.refs, request.primary)
        if len({self._store._seq(self._txn, ref) for ref in named}) < 2:
            raise BadInput("comparing takes at least two different nodes", hint="dag compatible A B [C …]")
        return self._store._chosen(self._txn, request)

    # --- two by two ---

    def _contradictions(self, progress: Progress | None) -> dict[tuple[int, int], Contradictions]:
        """What is between every two places."""
        pairs, ids = self._pairs, [self._id(seq) for seq in self._nodes]
        places = list(combinations(range(len(ids)), 2))
        found = {}
        for done, (a, b) in enumerate(places, start=1):
            found[a, b] = pairs.between(ids[a], ids[b])
            if progress:
                progress(done, len(places))
        return found

    @cached_property
    def _pairs(self) -> Pairs:
        donors = self._donors(self._onto)
        preference = self._store._preference(self._txn, self._onto, self._nodes, BEST)
        tree = self._store._tree(self._txn, self._onto)
        return Pairs(self._id(self._onto), tree, donors, preference, self._shelf, self._resolve)

    def _pair(self, a: int, b: int, contradictions: Contradictions) -> Pair:
        places = tuple(f"{one.path}: {one.region}" for one in contradictions)
        return Pair(self._id(self._nodes[a]), self._id(self._nodes[b]), len(places), places)

    # --- all together ---

    def _largest(self, found: Mapping[tuple[int, int], Contradictions]) -> Found:
        """The largest set with the node that all were composed onto; without it if that is larger and it may go."""
        onto = self._nodes.index(self._onto)
        fine = {pair for pair, contradictions in found.items() if not contradictions}
        with_it = together(self._friends(fine), self._quarrel, [onto])
        if self._named or len(with_it.members) >= len(self._nodes) - 1:
            return with_it
        # Two that contradict each other beside that node may do without it.
        fine |= {pair for pair in found.keys() - fine if onto not in pair and not self._quarrel(pair)}
        without = together(self._friends(pair for pair in fine if onto not in pair), self._quarrel)
        best = max(with_it, without, key=lambda one: len(one.members))
        return Found(best.members, with_it.exact and without.exact)

    def _friends(self, fine: Iterable[tuple[int, int]]) -> list[int]:
        friends = [0] * len(self._nodes)
        for a, b in fine:
            friends[a] |= 1 << b
            friends[b] |= 1 << a
        return friends

    def _quarrel(self, members: Sequence[int]) -> set[int]:
        """The members that a contradiction is between when all are adopted, of the one with the fewest; else none."""
        if len(members) < 2:
            return set()
        places = {self._id(self._nodes[at]): at for at in members}
        composed = self._composed([self._nodes[at] for at in members])
        between = [
            {places[origin] for side in decision.sides for origin in side.origins}
            for decision in composed.decisions
            if decision.contradiction
        ]
        return min(between, key=lambda some: (len(some), sorted(some)), default=set())

    def _composed(self, nodes: Sequence[int]) -> Composition:
        """What `adopt` makes of nodes in the order of merit."""
        store, txn, onto = self._store, self._txn, self._onto_of(nodes)
        donors = self._donors(onto)
        given = [donors[self._id(node)] for node in nodes if node != onto]
        preference = store._preference(txn, onto, list(nodes), BEST)
        tree = store._tree(txn, onto)
        return compose(self._id(onto), tree, given, self._read, preference, self._resolve, shelf=self._shelf)

    def _onto_of(self, nodes: Sequence[int]) -> int:
        return self._onto if self._named else nodes[0]

    def _donors(self, onto: int) -> Mapping[NodeId, Donor]:
        """What every node brings to one of them."""
        if onto not in self._brought:
            brought = self._store._brought(self._txn, self._request, onto, self._nodes)
            if onto == self._onto:
                check_used(brought)
            self._made |= brought.made
            self._brought[onto] = {donor.id: donor for donor in brought.donors}
        return self._brought[onto]

    def _read(self, blob: BlobId) -> bytes:
        made = self._made.get(blob)
        return self._store._objects.read(self._txn, blob) if made is None else made

    # --- what to do ---

    def _command(self, subset: Sequence[int]) -> str:
        """The command that adopts the subset in the same way; empty if there is nothing to adopt."""
        if len(subset) < 2:
            return ""
        onto = self._onto_of(subset)
        unused = self._store._brought(self._txn, self._request, onto, subset).unused
        only = [place for place in self._request.only if place not in unused]
        if self._request.only and not only:
            return ""
        words = ["dag adopt", *(self._short(node) for node in subset if not (self._named and node == onto))]
        words += ["--primary", self._short(onto)] if self._named else []
        words += ["--own"] if self._request.own else []
        return " ".join((*words, *(f"--only {quote(place)}" for place in only)))

    def _id(self, seq: int) -> NodeId:
        return self._store._id(self._txn, seq)

    def _short(self, seq: int) -> str:
        return short(self._txn, self._id(seq))
