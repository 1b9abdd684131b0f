"""What composing nodes of a store gives: onto which, what each donor brings, who is heard, and what comes of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dagstore.base import Ref
from dagstore.errors import BadInput
from dagstore.finding import find
from dagstore.graph import merge_base
from dagstore.ids import BlobId, NodeId
from dagstore.index import graph_row, resolutions, row_of
from dagstore.lineage import moments_of
from dagstore.looking import Looking
from dagstore.model import OPEN, Decision, GateFinding, Resolution, Side, Tree
from dagstore.objects import Objects
from dagstore.storage import Reader

if TYPE_CHECKING:
    from dagstore.adopt import Composition, Donor
    from dagstore.adopt.merge import Resolve


class Request(NamedTuple):
    """What is to be composed: of each donor its whole line or its `own` diff, of that what lies in `only`."""

    refs: tuple[Ref, ...]
    primary: Ref | None = None
    prefer: str = "best"
    own: bool = False
    only: tuple[str, ...] = ()
    strict: bool = False

    @property
    def in_part(self) -> bool:
        """Whether a node may bring something although it is an ancestor of another one."""
        return self.own or bool(self.only)


class Plan(NamedTuple):
    """An adoption before it is recorded. `parents` is `onto` alone when it changes nothing and leaves nothing open."""

    request: Request
    onto: NodeId
    parents: tuple[NodeId, ...]
    given: tuple[NodeId, ...]
    preference: tuple[NodeId, ...]
    composition: "Composition"
    decisions: tuple[Decision, ...]
    findings: tuple[GateFinding, ...]

    @property
    def adopted(self) -> tuple[NodeId, ...]:
        return tuple(id for id in self.given if id != self.onto)


class Brought(NamedTuple):
    """What the donors bring. `made` are contents that no node has, `unused` the places where nobody changes a thing."""

    donors: "Sequence[Donor]"
    made: Mapping[BlobId, bytes]
    unused: tuple[str, ...]

    def reading(self, txn: Reader, objects: Objects) -> Callable[[BlobId], bytes]:
        """How to read any content of these trees."""
        return lambda blob: self.made[blob] if blob in self.made else objects.read(txn, blob)


class Composing(Looking):
    def _plan(self, txn: Reader, request: Request) -> Plan:
        given, heads, onto = self._chosen(txn, request)
        preference = self._preference(txn, onto, heads, request.prefer)
        brought = self._brought(txn, request, onto, heads)
        check_used(brought)
        composition = self._compose(txn, onto, brought, preference)
        covered = (self._id(txn, seq) for seq in given if seq not in heads)
        found = (*composition.decisions, *(Decision("", "*", "already", (id,)) for id in sorted(covered)))
        decisions = tuple(_recorded(one, strict=request.strict) for one in found)
        nothing_new = composition.tree == self._tree(txn, onto) and not any(one.engine == OPEN for one in decisions)
        return Plan(
            request,
            self._id(txn, onto),
            self._ids(txn, [onto] if nothing_new else heads),
            self._ids(txn, given),
            preference,
            composition,
            decisions,
            self._findings(txn, onto, brought, composition),
        )

    def _chosen(self, txn: Reader, request: Request) -> tuple[list[int], list[int], int]:
        """The nodes that are given, those of them that bring something, and the one that is composed onto."""
        named = request.refs if request.primary is None else (*request.refs, request.primary)
        given = sorted({self._seq(txn, ref) for ref in named})
        if len(given) < 2:
            raise BadInput("adopting takes at least two different nodes", hint="dag adopt A B [C …]")
        for seq in given:
            self._code(txn, seq)
        heads = given if request.in_part else self._heads(txn, given)
        onto = self._by_merit(txn, given)[0] if request.primary is None else self._seq(txn, request.primary)
        if onto not in heads:
            onto = self._by_merit(txn, heads)[0]
        return given, heads, onto

    def _heads(self, txn: Reader, seqs: list[int]) -> list[int]:
        """Those that are no ancestor of another one."""
        from dagstore.reach import heads

        return heads(self._columns(txn), seqs)

    def _by_merit(self, txn: Reader, seqs: Iterable[int]) -> list[int]:
        """The better measured first, then the later generation, then the smaller id."""
        channel = self._channel(txn)
        sign = 1 if channel and channel.direction.value == "minimize" else -1

        def merit(seq: int) -> tuple[bool, float, int, NodeId]:
            row = graph_row(txn, seq)
            moments = moments_of(txn, channel, row.first) if channel else None
            measured = moments is not None and moments.n > 0
            score = sign * moments.mean if moments and measured else 0.0
            return not measured, score, -row.generation, self._id(txn, seq)

        return sorted(seqs, key=merit)

    def _preference(self, txn: Reader, onto: int, heads: list[int], prefer: str) -> tuple[NodeId, ...]:
        """The heads in the order in which they are heard where they disagree."""
        order = self._by_merit(txn, heads)
        first = self._preferred(txn, onto, order, prefer)
        if first not in heads:
            raise BadInput(f"--prefer {prefer} is none of the nodes", hint="say best, primary or one of the nodes")
        return tuple(self._id(txn, seq) for seq in (first, *(seq for seq in order if seq != first)))

    def _preferred(self, txn: Reader, onto: int, order: list[int], prefer: str) -> int:
        if prefer == "primary":
            return onto
        if prefer != "best":
            return self._seq(txn, prefer)
        channel = self._channel(txn)
        measured = channel is not None and moments_of(txn, channel, graph_row(txn, order[0]).first).n > 0
        return order[0] if measured else onto

    def _compose(
        self,
        txn: Reader,
        onto: int,
        brought: Brought,
        preference: Sequence[NodeId],
        resolve: "Resolve | None" = None,
        *,
        checked: bool = True,
    ) -> "Composition":
        """What comes of it, with every content that no node has. Locked paths stay those of the primary.

        Contradictions are resolved as they were before, or by `resolve`.
        """
        from dagstore.adopt import compose

        composed = compose(
            self._id(txn, onto),
            self._tree(txn, onto),
            brought.donors,
            brought.reading(txn, self._objects),
            preference,
            resolve or self._resolve(txn),
            checked=checked,
        )
        fresh = {entry.blob: brought.made[entry.blob] for entry in composed.tree if entry.blob in brought.made}
        return replace(composed, blobs={**composed.blobs, **fresh})

    def _resolve(self, txn: Reader) -> "Resolve":
        """How contradictions were resolved before; where in several ways, by the best measured node."""
        from dagstore.adopt.contradiction import as_deep_as, name_of
        from dagstore.adopt.merge import Resolved

        def resolve(path: str, region: str, sides: Sequence[bytes]) -> Resolved | None:
            contradiction = name_of(path, region, sides)
            found: list[Resolution] = [self._objects.load(txn, record) for record in resolutions(txn, contradiction)]
            by_node = {find(txn, one.node): one for one in found if one.contradiction == contradiction}
            if not by_node:
                return None
            best = by_node[self._by_merit(txn, by_node)[0]]
            return Resolved(as_deep_as(best.text, sides), best.node)

        return resolve

    def _findings(
        self, txn: Reader, onto: int, brought: Brought, composition: "Composition"
    ) -> tuple[GateFinding, ...]:
        from dagstore.adopt.gates import Gates

        is_locked, read = self._charter(txn, onto).is_locked, brought.reading(txn, self._objects)
        return Gates(
            self._id(txn, onto), self._tree(txn, onto), brought.donors, composition, read, is_locked
        ).findings()

    def _brought(self, txn: Reader, request: Request, onto: int, heads: Iterable[int]) -> Brought:
        """What all but the primary bring, in part if that is asked for."""
        from dagstore.adopt.part import Part, place_of

        is_locked = self._charter(txn, onto).is_locked
        donors = [self._donor(txn, onto, seq, is_locked, own=request.own) for seq in heads if seq != onto]
        if not request.only:
            return Brought(donors, {}, ())
        paths = {entry.path for donor in donors for tree in (donor.base, donor.tree) for entry in tree}
        places = {text: place_of(text, paths) for text in request.only}
        part = Part(list(places.values()), lambda blob: self._objects.read(txn, blob))
        limited = [part.of(donor) for donor in donors]
        return Brought(limited, part.made, tuple(text for text in places if places[text] not in part.used))

    def _donor(self, txn: Reader, onto: int, seq: int, is_locked: Callable[[str], bool], *, own: bool) -> "Donor":
        """What a node brings: what it has and its base has not."""
        from dagstore.adopt import Donor

        locked = [entry for entry in self._tree(txn, onto) if is_locked(entry.path)]

        def unlocked(node: int) -> Tree:
            entries = self._tree(txn, node) if node else ()
            return Tree.of((*locked, *(entry for entry in entries if not is_locked(entry.path))))

        base = graph_row(txn, seq).primary if own else merge_base(onto, seq, row_of(txn))
        return Donor(self._id(txn, seq), unlocked(base), unlocked(seq))


def _recorded(decision: Decision, *, strict: bool) -> Decision:
    """Whole files are left out of the record, the trees of their origins hold them; `strict` decides nothing."""
    if decision.region == "*":
        decision = decision._replace(sides=tuple(Side(side.origins, b"") for side in decision.sides))
    return decision._replace(engine=OPEN) if strict and decision.contradiction else decision


def check_used(brought: Brought) -> None:
    """`BadInput` if a place that was asked for is none that a donor changes."""
    for text in brought.unused:
        names = " ".join(str(donor.id)[:8] for donor in brought.donors)
        raise BadInput(
            f"{text} is nothing that {names} would change",
            hint="dag adopt --plan without --only says what they change; --primary chooses which node stays whole",
        )
