"""Two shapes of a large history, the same numbers for every reference: a swarm's DAG (`wide`) and one line (`deep`).

Node 0 is the seed; parents have smaller numbers than their children, so the order of numbers is topological. The first
parent is the one that a child's file differs from least, so that a store derives it as the primary.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

VERSION = 1
"""Of what is generated: a cached repository or store of another version is built again."""

HUB = 100
HUB_SHARE = 12_707 / 1_000_000
"""A public hub of agents has one node with 12,707 children; smaller graphs keep the share."""

RECENT_SHARE = 0.02
HOT_SHARE = 0.1
HOT_NODES = 500
ADOPTING = 0.15


@dataclass(frozen=True)
class Graph:
    """The parents of all nodes, flat: those of node n are `flat[starts[n] : starts[n + 1]]`, the first one first."""

    name: str
    starts: Sequence[int]
    flat: Sequence[int]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def parents(self, node: int) -> Sequence[int]:
        return self.flat[self.starts[node] : self.starts[node + 1]]

    def ancestors(self, node: int) -> set[int]:
        """Every node above this one, over all parents; not itself."""
        seen: set[int] = set()
        waiting = [node]
        while waiting:
            for parent in self.parents(waiting.pop()):
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return seen

    @cached_property
    def leaves(self) -> list[int]:
        """Nodes without children, by number."""
        has_child = bytearray(len(self))
        for parent in self.flat:
            has_child[parent] = 1
        return [node for node in range(len(self)) if not has_child[node]]

    @cached_property
    def generations(self) -> int:
        """The longest way from the seed, in steps."""
        longest = array("I", bytes(4 * len(self)))
        for node in range(1, len(self)):
            longest[node] = 1 + max(longest[parent] for parent in self.parents(node))
        return max(longest)

    def text(self, node: int) -> bytes:
        """The file of a node: its number and its first parent's, so that no other parent is as near."""
        return f"{node}\n{self.flat[self.starts[node]]}\n".encode()


def wide(count: int) -> Graph:
    """A swarm: 85 % extend one node, 15 % compose 2 to 5; most are recent, some of a slowly changing hot set."""
    random = Random(count)
    hub_children = set(random.sample(range(HUB * 10, count), round(HUB_SHARE * count)))
    starts, flat, first = array("I", [0, 0]), array("I"), array("I", [0])
    draw = _Choice(random, count)
    for node in range(1, count):
        parents = [HUB] if node in hub_children else _parents(draw, random, node, first)
        flat.extend(parents)
        starts.append(len(flat))
        first.append(parents[0])
        draw.grow(node)
    return Graph("wide", starts, flat)


def deep(count: int) -> Graph:
    """Every node is the child of the one before."""
    return Graph("deep", array("I", [0, *range(count)]), array("I", range(count - 1)))


SHAPES: dict[str, Callable[[int], Graph]] = {"wide": wide, "deep": deep}


class _Choice:
    """Draws what agents build on: out of the hot nodes, or any recent one; never the hub."""

    def __init__(self, random: Random, count: int) -> None:
        self._random, self._hot = random, [0]
        self._recent, self._every = round(count * RECENT_SHARE), max(1, count // 5_000)

    def __call__(self, node: int) -> int:
        while True:
            hot = self._random.random() < HOT_SHARE
            found = self._random.choice(self._hot) if hot else self._any_recent(node)
            if found != HUB:
                return found

    def grow(self, node: int) -> None:
        """Now and then a recent node becomes hot, in place of another one."""
        if node % self._every:
            return
        found = self(node + 1)
        if len(self._hot) < HOT_NODES:
            self._hot.append(found)
        else:
            self._hot[self._random.randrange(HOT_NODES)] = found

    def _any_recent(self, node: int) -> int:
        return node - 1 - self._random.randrange(min(node, self._recent))


def _parents(draw: _Choice, random: Random, node: int, first: Sequence[int]) -> list[int]:
    """One parent, or 2 to 5. A donor is neither the seed nor a child of the first parent: those would be as near."""
    parents = [draw(node)]
    if random.random() < ADOPTING:
        for _ in range(random.randint(1, 4)):
            donor = draw(node)
            if donor and donor not in parents and first[donor] != parents[0]:
                parents.append(donor)
    return parents
