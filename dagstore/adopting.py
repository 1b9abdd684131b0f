"""Adoption in a store: which nodes are composed onto which, what that gives, and the record of how."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dagstore.base import Ref
from dagstore.codec import encode
from dagstore.errors import BadInput
from dagstore.finding import find, short
from dagstore.graph import merge_base
from dagstore.ids import AdoptionId, BlobId, NodeId, TreeId
from dagstore.index import ADOPTION, facts, first_with, graph_row, row_of
from dagstore.model import Adoption, Decision, Node, Side, Tree, changes
from dagstore.proposing import Proposing, clean
from dagstore.ranking import moments_of
from dagstore.shown import Rows
from dagstore.storage import Reader, Writer

if TYPE_CHECKING:
    from dagstore.adopt import Composition
    from dagstore.views import Adopted, RunView


class Plan(NamedTuple):
    """An adoption before it is recorded. `parents` is `onto` alone when the composition changes nothing."""

    onto: NodeId
    parents: tuple[NodeId, ...]
    given: tuple[NodeId, ...]
    composition: "Composition"
    decisions: tuple[Decision, ...]

    @property
    def adopted(self) -> tuple[NodeId, ...]:
        return tuple(id for id in self.given if id != self.onto)


class Adopting(Proposing):
    def adopt(
        self,
        *refs: Ref,
        primary: Ref | None = None,
        why: str = "",
        agent: str = "",
        prefer: str = "best",
        dry_run: bool = False,
    ) -> "Adopted":
        """Compose the changes of any nodes onto one of them; never blocks, and the order of `refs` never matters.

        `primary` says onto which: by default the best measured, else the one of the latest generation, else the
        smallest id. Where nodes really disagree, `prefer` decides (`best`: the better measured, `primary`, or a node)
        and the record keeps all sides. Nodes that are ancestors of others bring nothing new; if nobody does, the
        answer is the node that was there, with a record that says so. Locked paths stay those of the primary.
        """
        with self._storage.read() as txn:
            plan = self._plan(txn, refs, primary, prefer)
            if dry_run:
                return self._foreseen(txn, plan)
        with self._write() as writer:
            known = self._record_plan(writer, plan, agent, why)
            return replace(self._foreseen(writer, plan), known=known, recorded=True)

    def _plan(self, txn: Reader, refs: Iterable[Ref], primary: Ref | None, prefer: str) -> Plan:
        named = [*refs] if primary is None else [*refs, primary]
        given = sorted({self._seq(txn, ref) for ref in named})
        if len(given) < 2:
            raise BadInput("adopting takes at least two different nodes", hint="dag adopt A B [C …]")
        heads = self._heads(txn, given)
        onto = self._by_merit(txn, given)[0] if primary is None else self._seq(txn, primary)
        if onto not in heads:
            onto = self._by_merit(txn, heads)[0]
        composition = self._compose(txn, onto, heads, self._preference(txn, onto, heads, prefer))
        covered = (self._id(txn, seq) for seq in given if seq not in heads)
        decisions = (*composition.decisions, *(Decision("", "*", "already", (id,)) for id in sorted(covered)))
        parents = [onto] if composition.tree == self._tree(txn, onto) else heads
        return Plan(
            self._id(txn, onto),
            self._ids(txn, parents),
            self._ids(txn, given),
            composition,
            tuple(map(_slim, decisions)),
        )

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

    def _preference(self, txn: Reader, onto: int, heads: list[int], prefer: str) -> list[NodeId]:
        """The heads in the order in which they are heard where they disagree."""
        order = self._by_merit(txn, heads)
        first = self._preferred(txn, onto, order, prefer)
        if first not in heads:
            raise BadInput(f"--prefer {prefer} is none of the nodes", hint="say best, primary or one of the nodes")
        return [self._id(txn, seq) for seq in (first, *(seq for seq in order if seq != first))]

    def _preferred(self, txn: Reader, onto: int, order: list[int], prefer: str) -> int:
        if prefer == "primary":
            return onto
        if prefer != "best":
            return self._seq(txn, prefer)
        channel = self._channel(txn)
        measured = channel is not None and moments_of(txn, channel, graph_row(txn, order[0]).first).n > 0
        return order[0] if measured else onto

    def _compose(self, txn: Reader, onto: int, heads: list[int], preference: list[NodeId]) -> "Composition":
        from dagstore.adopt import Donor, compose

        tree = self._tree(txn, onto)
        charter = self._charter(txn, onto)
        locked = [entry for entry in tree if charter.is_locked(entry.path)]

        def without_locks(other: Tree) -> Tree:
            return Tree.of((*locked, *(entry for entry in other if not charter.is_locked(entry.path))))

        def donor(seq: int) -> Donor:
            base = merge_base(onto, seq, row)
            before = without_locks(self._tree(txn, base)) if base else Tree.of(locked)
            return Donor(self._id(txn, seq), before, without_locks(self._tree(txn, seq)))

        row = row_of(txn)
        donors = [donor(seq) for seq in heads if seq != onto]
        return compose(self._id(txn, onto), tree, donors, lambda blob: self._objects.read(txn, blob), preference)

    def _record_plan(self, txn: Writer, plan: Plan, agent: str, why: str) -> bool:
        """Record node and provenance; whether the node was known before."""
        if plan.parents == (plan.onto,):
            node, known = plan.onto, True
        else:
            parents = [find(txn, id) for id in (plan.onto, *(id for id in plan.parents if id != plan.onto))]
            note = (agent, why or _default_why(plan))
            made = self._record(txn, parents, plan.composition.tree, plan.composition.blobs, note)
            node, known = made.id, not made.new
        if not self._is_recorded(txn, node, plan):
            record = Adoption(node, plan.onto, plan.adopted, plan.decisions, clean(agent), self._now())
            self._put(txn, record, encode(record), AdoptionId)
        return known

    def _is_recorded(self, txn: Reader, node: NodeId, plan: Plan) -> bool:
        """Whether the same adoption was recorded before: adopting twice changes nothing."""
        before = (self._objects.load(txn, seq) for seq in facts(txn, find(txn, node), ADOPTION))
        wanted = (plan.onto, plan.adopted, plan.decisions)
        return any((one.primary, one.adopted, one.decisions) == wanted for one in before)

    def _foreseen(self, txn: Reader, plan: Plan) -> "Adopted":
        """What the plan gives, with what is known of it already."""
        from dagstore.views import Adopted

        tree = TreeId.of(encode(plan.composition.tree))
        unchanged = plan.parents == (plan.onto,)
        id = plan.onto if unchanged else NodeId.of(encode(Node.of(plan.parents, tree)))
        seq, at = find(txn, id), find(txn, tree)
        row = graph_row(txn, seq) if seq else None
        first = first_with(txn, at) if at else 0
        runs: Rows[RunView] = self._runs_of(txn, first) if first else Rows()

        def read(blob: BlobId) -> bytes:
            return plan.composition.blobs.get(blob) or self._objects.read(txn, blob)

        before = self._tree(txn, find(txn, plan.onto))
        return Adopted(
            node=id,
            short=short(txn, id),
            primary=plan.onto if row is None else self._id(txn, row.primary) if row.primary else None,
            adopted=self._ids(txn, row.adopted) if row else tuple(one for one in plan.parents if one != plan.onto),
            onto=plan.onto,
            known=seq > 0,
            recorded=seq > 0,
            decisions=plan.decisions,
            contradictions=tuple(decision for decision in plan.decisions if decision.contradiction),
            runs=runs,
            diff=self._stat(changes(before, plan.composition.tree), read),
        )


def _slim(decision: Decision) -> Decision:
    """Whole files are left out of the record: the trees of their origins hold them."""
    if decision.region != "*":
        return decision
    return decision._replace(sides=tuple(Side(side.origins, b"") for side in decision.sides))


def _default_why(plan: Plan) -> str:
    donors = " ".join(str(id)[:8] for id in plan.parents if id != plan.onto)
    return f"adopt {donors} onto {str(plan.onto)[:8]}"
