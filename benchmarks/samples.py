"""Which nodes the questions of `queries` are asked about: drawn by chance, and the same in every run."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import questions
from graphs import HUB, Graph

PAIRS, FEW = 9, 3
RELATED = 5
"""Of the pairs of the question whether one is an ancestor: so many are."""

Sample = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A row: which question, its arguments by sample, and what it is compared with.

    In a `forest` git's commits have their first parents only. Answers of git that are none to the same question are
    not `same`.
    """

    asks: str
    samples: list[Sample]
    note: str = ""
    forest: bool = False
    same: bool = True


def drawn(graph: Graph) -> Iterator[Question]:
    """All questions about a graph."""
    random, count = Random(len(graph)), len(graph)
    late = [random.randrange(count * 4 // 5, count) for _ in range(2 * PAIRS)]
    pairs: list[Sample] = [(min(pair), max(pair)) for pair in zip(late[::2], late[1::2], strict=True)]
    single: list[Sample] = [(node,) for node in late[:PAIRS]]
    line = graph.name == "deep"
    if line:
        yield Question(questions.BASE, pairs)
    else:
        yield Question(questions.BASE, pairs, "primary parents; git's commits have first parents only", forest=True)
        yield Question(questions.BASE, pairs, "primary parents; git: over all parents, any of the best", same=False)
    yield Question(questions.BEST, pairs, "pygit2 has no such question")
    yield Question(questions.IS_ANCESTOR, _related(graph, random, pairs), f"{RELATED} of {PAIRS} are")
    yield Question(questions.ANCESTORS, single)
    yield Question(questions.RANGE, pairs)
    yield Question(questions.DESCENDANTS, _above(graph, late[0]), "git: from all parents, in topological order")
    yield Question(questions.LINEAGE, single)
    yield Question(questions.LEAVES, [()] * FEW, "from all parents")
    yield Question(questions.CHILDREN, [(count // 2 if line else HUB,)] * FEW, "from all parents")
    yield Question(questions.FIRST, [()] * FEW, "ours oldest, git newest first")
    yield Question(questions.PAGES, [()] * FEW, "pygit2: in no order")


def _related(graph: Graph, random: Random, pairs: list[Sample]) -> list[Sample]:
    """Some that are ancestors; and some that are not, the older one first wherever there are such."""
    found: list[Sample] = []
    for old, young in pairs:
        above = graph.ancestors(young)
        if len(found) < RELATED:
            found.append((random.choice(sorted(above)), young))
        else:
            found.append((young, old) if old in above else (old, young))
    return found


def _above(graph: Graph, node: int) -> list[Sample]:
    """Ancestors of the node after a tenth, half and nine tenths of its time."""
    above = sorted(graph.ancestors(node))
    return [(min(above, key=lambda one: abs(one - node * tenths // 10)),) for tenths in (1, 5, 9)]
