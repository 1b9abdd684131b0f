"""Adoption in a store: nodes are composed, and what that gives is recorded with how it came about."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.codec import encode
from dagstore.composing import Plan, Request
from dagstore.finding import find, short
from dagstore.ids import AdoptionId, BlobId, NodeId, TreeId
from dagstore.index import ADOPTION, facts, first_with, graph_row
from dagstore.model import OPEN, Adoption, Node, changes
from dagstore.printable import clean
from dagstore.proposing import Proposing
from dagstore.shown import Rows
from dagstore.storage import Reader, Writer

if TYPE_CHECKING:
    from dagstore.views import Adopted, RunView


class Adopting(Proposing):
    def adopt(
        self,
        *refs: Ref,
        primary: Ref | None = None,
        why: str = "",
        agent: str = "",
        prefer: str = "best",
        own: bool = False,
        only: Iterable[str] = (),
        strict: bool = False,
        dry_run: bool = False,
    ) -> "Adopted":
        """Compose the changes of any nodes onto one of them; never blocks, and the order of `refs` never matters.

        `primary` says onto which: by default the best measured, else the one of the latest generation, else the
        smallest id. A donor brings its whole line since it parted from the primary, with `own` only its diff against
        its own primary parent; of that only what lies in the places of `only` (`PATH` or `PATH:REGION`), if given.

        Where nodes really disagree, `prefer` decides (`best`: the better measured, `primary`, or a node) and the
        record keeps all sides. With `strict` such places stay open: the node is recorded and cannot be queued until
        somebody resolves it in a child or adopts the same without `strict`.

        Nodes that are ancestors of others bring nothing new, unless `own` or `only` asks for part of them; if nobody
        does, the answer is the node that was there, with a record that says so. Locked paths stay those of the
        primary. `BadInput` if a place of `only` is none that a donor changes.
        """
        request = Request(refs, primary, prefer, own, tuple(sorted(set(only))), strict)
        with self._storage.read() as txn:
            plan = self._plan(txn, request)
            if dry_run:
                return self._foreseen(txn, plan)
        with self._write() as writer:
            known = self._record_plan(writer, plan, agent, why)
            return replace(self._foreseen(writer, plan), known=known, recorded=True)

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
            record = Adoption(
                node=node,
                primary=plan.onto,
                adopted=plan.adopted,
                decisions=plan.decisions,
                author=clean(agent),
                time=self._now(),
                own=plan.request.own,
                only=plan.request.only,
                preference=plan.preference if any(one.sides for one in plan.decisions) else (),
                findings=plan.findings,
            )
            self._put(txn, record, encode(record), AdoptionId)
        return known

    def _is_recorded(self, txn: Reader, node: NodeId, plan: Plan) -> bool:
        """Whether the same adoption was recorded before: adopting twice changes nothing."""
        before = (self._objects.load(txn, seq) for seq in facts(txn, find(txn, node), ADOPTION))
        wanted = (plan.onto, plan.adopted, plan.decisions, plan.request.own, plan.request.only)
        return any((one.primary, one.adopted, one.decisions, one.own, one.only) == wanted for one in before)

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
            open=any(decision.engine == OPEN for decision in plan.decisions),
            findings=plan.findings,
            runs=runs,
            diff=self._stat(changes(before, plan.composition.tree), read),
        )


def _default_why(plan: Plan) -> str:
    donors = " ".join(str(id)[:8] for id in plan.parents if id != plan.onto)
    return f"adopt {donors} onto {str(plan.onto)[:8]}"
