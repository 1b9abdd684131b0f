"""Who is heard first when parents contradict each other, and the record of what each of them wanted."""

from collections.abc import Iterable, Mapping, Sequence

from dagstore.ids import NodeId
from dagstore.model import Decision, Side

FAINT = "blank "
"""How the engine of a decision about blank rows alone begins, until it is known whether the decision is needed."""


class Preference:
    """An order of all nodes: those that were named, best first, then the others by id."""

    def __init__(self, best_first: Sequence[NodeId]) -> None:
        self._rank: dict[NodeId, int] = {}
        for node in best_first:
            self._rank.setdefault(node, len(self._rank))

    def rank(self, node: NodeId) -> tuple[int, NodeId]:
        return self._rank.get(node, len(self._rank)), node

    def ordered(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """`nodes` without repetition, best first."""
        return sorted(set(nodes), key=self.rank)

    def best(self, nodes: Iterable[NodeId]) -> NodeId:
        return min(nodes, key=self.rank)


def sides(wishes: Mapping[NodeId, bytes]) -> tuple[Side, ...]:
    """One side for each text that was wanted, in the order of the ids that wanted it."""
    origins: dict[bytes, list[NodeId]] = {}
    for node in sorted(wishes):
        origins.setdefault(wishes[node], []).append(node)
    return tuple(Side(tuple(nodes), text) for text, nodes in origins.items())


def needed(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    """The decisions about one file, without those about blank rows alone of parents that others tell of."""
    given = list(decisions)
    heard = {origin for one in given if not one.engine.startswith(FAINT) for origin in one.origins}
    out = []
    for one in given:
        if one.engine.startswith(FAINT):
            if heard.issuperset(one.origins):
                continue
            heard.update(one.origins)
        out.append(one._replace(engine=one.engine.removeprefix(FAINT)))
    return tuple(out)
