"""What is looked up to say why a node is as good as it is: its donors' lines, their wishes, the node without each.

Nothing is run: the node without one donor was measured if any node with those files was.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from shlex import quote
from typing import NamedTuple

from dagstore.codec import encode
from dagstore.composing import Composing, Request
from dagstore.finding import find, short
from dagstore.gains import Combination, Gain, Place, Scale, Verdict, against_parent, against_sum, combined, over, place
from dagstore.graph import merge_base, partings
from dagstore.ids import NodeId, ProtocolId, TreeId
from dagstore.index import ADOPTION, facts, first_with, graph_row, row_of
from dagstore.lineage import moments_of
from dagstore.model import Adoption, Decision, Protocol, Tree
from dagstore.rank import Moments, Noise
from dagstore.refs import seed
from dagstore.shown import Rows
from dagstore.storage import Reader
from dagstore.views import DonorView, Why

BEST = "best"
REPEAT = 3
"""How often it is suggested to measure again what the noise leaves open."""


class Without(NamedTuple):
    """The node as it would be without one donor: a node with those files (0: none) and how to make and measure it."""

    seq: int
    command: str


class Part(NamedTuple):
    """What one donor is to the node: where its line begins (0: at another seed), its gain there, what came of it."""

    seq: int
    base: int
    own: Combination
    brings: bool
    taken: int | None
    refused: int | None
    without: Without


class Balance(NamedTuple):
    """The sum over donors. `counted` are their known gains, shared stretches once; the verdict is about `whole`."""

    counted: Sequence[Combination]
    shared: Sequence[int]
    whole: Combination
    measured: Gain | None
    expected: Gain | None
    difference: Gain | None


class Lack(NamedTuple):
    """What there is no answer without: nodes that have no run that counts, those whose runs would, and what to do."""

    missing: Sequence[int]
    runnable: Sequence[int]
    next: str


class Question:
    """Why one node of one snapshot is as good as it is. Nodes are numbers, and trees the first nodes that have them."""

    def __init__(self, store: Composing, txn: Reader, seq: int) -> None:
        self._store = store
        self._txn = txn
        self._seq = seq
        self._row = graph_row(txn, seq)
        self._channel = store._channel(txn)

    def answer(self) -> Why:
        """The whole answer; `Explaining.why` says what it holds."""
        parts = [self._part(donor) for donor in sorted(self._row.adopted, key=self._id)]
        balance = self._balance(parts)
        told = self._verdict(balance)
        lack = self._lack(parts, balance, told)
        channel, record, row = self._channel, self._record, self._row
        return Why(
            node=self._id(self._seq),
            short=self._short(self._seq),
            primary=self._id(row.primary) if row.primary else None,
            onto=record.primary if record else None,
            metric=channel.metric if channel else self._store._charter(self._txn, seed(self._txn)).metric,
            direction=self._scale.direction,
            protocol=channel.protocol if channel else None,
            platform=channel.platform if channel else None,
            noise=self._scale.noise,
            expected=balance.expected,
            measured=balance.measured,
            difference=balance.difference,
            verdict=told or (Verdict.UNMEASURED if lack.runnable else Verdict.UNTOLD),
            donors=Rows(map(self._donor, parts)),
            shared=tuple(map(self._id, balance.shared)),
            contradictions=sum(one.contradiction for one in record.decisions) if record else 0,
            reproduced=self._reproduced if parts else None,
            missing=tuple(map(self._id, lack.missing)),
            elsewhere=tuple(self._id(seq) for seq in lack.missing if seq not in lack.runnable),
            next=lack.next,
        )

    def _lack(self, parts: Sequence[Part], balance: Balance, told: Verdict | None) -> Lack:
        named = self._named(parts, balance)
        asked = (balance.whole, *balance.counted, *(part.own for part in parts))
        missing = sorted({named[tree] for one in asked for tree in self._scale.missing(one)})
        runnable = [seq for seq in missing if self._is_comparable(seq)]
        again = sorted(named[tree] for tree in balance.whole) if told is Verdict.UNTOLD else []
        return Lack(missing, runnable, self._measure(runnable) or self._measure(again, REPEAT))

    @cached_property
    def _scale(self) -> Scale:
        txn, channel = self._txn, self._channel
        if channel is None:
            return Scale(lambda _: Moments(), Noise(None, 0), self._store._charter(txn, seed(txn)).direction)
        return Scale(lambda tree: moments_of(txn, channel, tree), channel.pool.noise(), channel.direction)

    @cached_property
    def _record(self) -> Adoption | None:
        """The first record of how the node was composed of its parents, if it was."""
        parents = {self._id(parent) for parent in self._row.parents}
        numbers = facts(self._txn, self._seq, ADOPTION)
        records: Iterable[Adoption] = (self._store._objects.load(self._txn, number) for number in numbers)
        # Others tell of what was adopted onto the node itself and changed nothing.
        return next((one for one in records if one.primary in parents <= {one.primary, *one.adopted}), None)

    @cached_property
    def _onto(self) -> int:
        return find(self._txn, self._record.primary) if self._record else self._row.primary

    @cached_property
    def _reproduced(self) -> bool:
        """Whether composing the parents in the same way gives the node's files again."""
        return self._composed(self._onto, self._row.parents) == self._store._tree(self._txn, self._seq)

    def _composed(self, onto: int, parents: Sequence[int]) -> Tree:
        brought = self._store._brought(self._txn, self._request, onto, parents)
        return self._store._compose(self._txn, onto, brought, self._heard(onto, parents)).tree

    @cached_property
    def _request(self) -> Request:
        record = self._record
        return Request((), own=record.own, only=record.only) if record else Request(())

    def _heard(self, onto: int, parents: Sequence[int]) -> tuple[NodeId, ...]:
        """The parents in the order in which they are heard: that of the record, else that of an adoption made now."""
        said = self._record.preference if self._record else ()
        ids = {self._id(parent) for parent in parents}
        heard = tuple(id for id in said if id in ids)
        return heard or self._store._preference(self._txn, onto, list(parents), BEST)

    def _part(self, donor: int) -> Part:
        base = merge_base(self._row.primary, donor, row_of(self._txn))
        own = self._over(donor, base) if base else {}
        without = self._without(donor)
        if self._record is None:
            return Part(donor, base, own, self._differs(without), None, None, without)
        id, decisions = self._id(donor), self._record.decisions
        refused = _refused(decisions, id)
        if donor == self._onto:  # its wishes are in the files that the others change, and need no decision
            return Part(donor, base, own, self._differs(without), None, refused, without)
        brings = _brings(decisions, id, self._id(self._row.primary))
        return Part(donor, base, own, brings, _taken(decisions, id), refused, without)

    def _differs(self, without: Without) -> bool:
        """Whether the node has other files than without the donor."""
        return not without.seq or bool(self._over(self._seq, without.seq))

    def _without(self, donor: int) -> Without:
        """The node without one donor: its other parents, composed in the same way."""
        heads = [parent for parent in self._row.parents if parent != donor]
        onto = self._row.primary if donor == self._onto else self._onto
        if len(heads) == 1:
            return Without(onto, "")
        made = find(self._txn, TreeId.of(encode(self._composed(onto, heads))))
        return Without(first_with(self._txn, made) if made else 0, self._adopting(onto, heads))

    def _adopting(self, onto: int, heads: Sequence[int]) -> str:
        """The command that composes and measures them in the same way."""
        others = [self._short(head) for head in sorted(heads, key=self._id) if head != onto]
        words = ["dag adopt", *others, "--primary", self._short(onto)]
        if self._record and self._record.preference:
            words += ["--prefer", short(self._txn, self._heard(onto, heads)[0])]
        words += ["--own"] if self._request.own else []
        words += [f"--only {quote(place)}" for place in self._request.only]
        return " ".join((*words, "--run"))

    def _balance(self, parts: Sequence[Part]) -> Balance:
        bringing = [part for part in parts if part.brings]
        known = [part for part in bringing if part.base and self._scale.gain(part.own) is not None]
        since = partings(self._row.primary, [part.seq for part in known], row_of(self._txn))
        counted = [self._over(node, base) for node, base in since.items()]
        shared = sorted({since[part.seq] for part in known if since[part.seq] != part.base})
        own = self._over(self._seq, self._row.primary) if self._row.primary else {}
        whole = combined([own], counted)
        complete = bool(parts) and len(known) == len(bringing)
        return Balance(
            counted,
            shared,
            whole,
            measured=self._scale.gain(own) if self._row.primary else None,
            expected=self._scale.gain(combined(counted)) if known or complete else None,
            difference=self._scale.gain(whole) if complete else None,
        )

    def _verdict(self, balance: Balance) -> Verdict | None:
        """What can be said by now; None if it takes more runs, or can never be told."""
        if not self._row.primary:
            return Verdict.NO_PARENT
        if not self._row.adopted:
            return against_parent(balance.measured) if balance.measured else None
        if balance.difference is None or balance.expected is None:
            return None
        return against_sum(balance.difference, balance.expected)

    def _donor(self, part: Part) -> DonorView:
        without = part.without.seq
        note = self._store._first_note(self._txn, part.seq)
        contribution = self._scale.gain(self._over(self._seq, without)) if without else None
        verdict = place(contribution) if self._reproduced else Place.UNTOLD
        return DonorView(
            node=self._id(part.seq),
            short=self._short(part.seq),
            message=note.text if note else "",
            base=self._id(part.base) if part.base else None,
            gain=self._scale.gain(part.own) if part.base else None,
            brings=part.brings,
            taken=part.taken,
            refused=part.refused,
            without=self._id(without) if without else None,
            contribution=contribution,
            verdict=verdict,
            next=self._next(part.without, verdict) if self._reproduced else "",
        )

    def _next(self, without: Without, verdict: Place) -> str:
        """The command after which more can be told of a donor, if any."""
        pair = (self._seq, without.seq)
        if verdict is Place.UNTOLD:
            return self._measure(pair, REPEAT)
        if verdict is not Place.UNTESTED:
            return ""
        if not without.seq:
            return without.command
        return self._measure([seq for seq in pair if self._scale.missing({self._tree(seq): 1})])

    def _measure(self, nodes: Sequence[int], repeat: int = 0) -> str:
        """The command that measures nodes, also such as have runs that do not count here; empty for none."""
        again = repeat or int(any(map(self._is_known, nodes)))
        words = ["dag run", *map(self._short, nodes), *(["--repeat", str(again)] if again else [])]
        return " ".join(words) if nodes else ""

    def _is_known(self, seq: int) -> bool:
        return self._store._is_known(self._txn, self._tree(seq))

    def _is_comparable(self, seq: int) -> bool:
        """Whether runs of the node would be of the protocol that is ranked."""
        from dagstore.charter import make_protocol

        if self._channel is None:
            return True
        protocol: Protocol = self._store._objects.load(self._txn, find(self._txn, self._channel.protocol))
        tree = self._store._tree(self._txn, seq)
        own = make_protocol(self._store._charter(self._txn, seq, tree), tree, protocol.fingerprint)
        return ProtocolId.of(encode(own)) == self._channel.protocol

    def _named(self, parts: Sequence[Part], balance: Balance) -> Mapping[int, int]:
        """The nodes that gains are between, by tree; of several with the same, the one nearest to the question."""
        nodes = (*balance.shared, *(part.base for part in parts), *(part.seq for part in parts))
        return {self._tree(node): node for node in (*nodes, self._row.primary, self._seq) if node}

    def _over(self, new: int, old: int) -> Combination:
        return over(self._tree(new), self._tree(old))

    def _tree(self, seq: int) -> int:
        return graph_row(self._txn, seq).first

    def _id(self, seq: int) -> NodeId:
        return self._store._id(self._txn, seq)

    def _short(self, seq: int) -> str:
        return short(self._txn, self._id(seq))


def _brings(decisions: Iterable[Decision], donor: NodeId, primary: NodeId) -> bool:
    """Whether something of the donor was taken that the primary has not."""
    return any(donor in one.origins and primary not in one.origins for one in decisions if one.engine != "already")


def _taken(decisions: Iterable[Decision], donor: NodeId) -> int:
    return sum(donor in one.origins for one in decisions if one.engine != "already")


def _refused(decisions: Iterable[Decision], donor: NodeId) -> int:
    """How many decisions went against the donor; that a comment is another's is no loss."""
    lost = (one for one in decisions if donor not in one.origins and one.engine != "comment")
    return sum(any(donor in side.origins for side in one.sides) for one in lost)
