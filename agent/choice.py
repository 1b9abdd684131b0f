"""Where an agent builds next: pure choices over what the frontier says, with chance as an argument."""

import random
from collections.abc import Mapping, Sequence, Set

from dagstore import NodeId
from dagstore.views import FrontierRow

DECAY = 0.6
"""Each rank is this much less likely than the one before."""


def choose_parent(rows: Sequence[FrontierRow], busy: Mapping[NodeId, int], rng: random.Random) -> NodeId:
    """One of the ranked nodes; likelier the better it is and the fewer agents work on it already.

    Counting those at work keeps N agents from all taking the same node.
    """
    weights = [DECAY**place / (1 + busy.get(row.id, 0)) for place, row in enumerate(rows)]
    return rng.choices([row.id for row in rows], weights)[0]


def choose_donors(
    rows: Sequence[FrontierRow], above: Mapping[NodeId, Set[NodeId]], rng: random.Random
) -> tuple[NodeId, ...]:
    """Two or three ranked nodes to adopt together, none an ancestor of another; empty if there are no two.

    `above` gives, for each ranked node, which others are its ancestors.
    """
    chosen: list[NodeId] = []
    wanted = rng.choice((2, 2, 3))
    for row in sorted(rows, key=lambda row: rng.random() * DECAY ** -(row.rank - 1)):
        apart = all(row.id not in above[other] and other not in above[row.id] for other in chosen)
        if apart and len(chosen) < wanted:
            chosen.append(row.id)
    return tuple(sorted(chosen)) if len(chosen) > 1 else ()
