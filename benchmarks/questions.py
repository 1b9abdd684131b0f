"""The questions about a history and the ways to ask them: a store's, pygit2's and git's.

A question's answer is plain (a number, whether, an id, ids) and the same in each way. Ways that are ten times as slow
in one shape and no faster in the other are not here: `git rev-list` without `--topo-order` (its queue is a
list), with `--children`, and pygit2's walk where only a count is wanted.
"""

import subprocess
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from references import REF, environment, git, pygit2

import dagstore

if TYPE_CHECKING:
    from histories import Ids

Way = Callable[..., Any]

BASE = "merge base"
BEST = "all best common ancestors"
IS_ANCESTOR = "is ancestor"
ANCESTORS = "count of ancestors"
RANGE = "count of a range"
DESCENDANTS = "count of descendants"
LINEAGE = "lineage, up to 1,000"
LEAVES = "count of leaves"
CHILDREN = "children"
FIRST = "1,000 in topological order"
PAGES = "all ids, by pages"

LIMIT = 1_000
PAGE = 10_000
MOST_PARENTS = 5
"""Of a node; commits with more only collect leaves."""


def ours(store: dagstore.Store) -> dict[str, Way]:
    """The questions, put to a store. Arguments are full ids."""
    return {
        BASE: store.merge_base,
        BEST: lambda one, other: list(store.common_ancestors(one, other, best=True).ids()),
        IS_ANCESTOR: store.is_ancestor,
        ANCESTORS: lambda node: len(store.ancestors(node)),
        RANGE: lambda old, new: len(store.range(old, new)),
        DESCENDANTS: lambda node: len(store.descendants(node)),
        LINEAGE: lambda node: list(store.lineage(node, limit=LIMIT).ids()),
        LEAVES: lambda: len(store.leaves()),
        CHILDREN: lambda node: list(store.children(node).ids()),
        FIRST: lambda: len(list(store.nodes(limit=LIMIT).ids())),
        PAGES: lambda: _paged(store),
    }


def _paged(store: dagstore.Store) -> int:
    count = 0
    last: dagstore.NodeId | None = None
    while page := list(store.nodes(after=last, limit=PAGE).ids()):
        count, last = count + len(page), page[-1]
    return count


class Git:
    """git with a commit-graph; its process start is in these times. Arguments are ids in hex."""

    def __init__(self, folder: Path, others: int) -> None:
        self._folder, self._others = folder, others

    def start(self) -> None:
        """What every command has to do before its work: start, and find the repository."""
        git(self._folder, "rev-parse", "--git-dir")

    def ways(self) -> dict[str, dict[str, Way]]:
        """By question, the ways to ask it, each with its name."""
        return {
            BASE: {"merge-base": lambda one, other: next(iter(self._lines("merge-base", one, other)), None)},
            BEST: {"merge-base --all": lambda one, other: self._lines("merge-base", "--all", one, other)},
            IS_ANCESTOR: {"merge-base --is-ancestor": self._is_ancestor},
            ANCESTORS: {"rev-list": lambda node: self._count(node) - 1},
            RANGE: {"rev-list": lambda old, new: self._count(f"{old}..{new}")},
            DESCENDANTS: {"all parents": self._descendants, "rev-list --ancestry-path": self._on_paths},
            LINEAGE: {"rev-list": lambda node: self._lines("rev-list", "--first-parent", f"-n{LIMIT}", node)},
            LEAVES: {"all parents": self._leaves},
            CHILDREN: {"all parents": self._children},
            FIRST: {"rev-list": lambda: len(self._lines("rev-list", "--topo-order", f"-n{LIMIT}", REF))},
            PAGES: {"rev-list": lambda: len(self._lines("rev-list", "--topo-order", REF)) - self._others},
        }

    def _count(self, what: str) -> int:
        return int(self._ask("rev-list", "--topo-order", "--count", what))

    def _is_ancestor(self, old: str, young: str) -> bool:
        words = ["git", "merge-base", "--is-ancestor", old, young]
        return subprocess.run(words, cwd=self._folder, env=environment(), check=False).returncode == 0

    def _descendants(self, node: str) -> int:
        """From all parents, oldest first: below are those with a parent that is the node or below."""
        below = {node.encode()}
        for line in reversed(self._all()):
            id, *parents = line.split()
            if not below.isdisjoint(parents):
                below.add(id)
        return len(below) - 1

    def _on_paths(self, node: str) -> int:
        words = ("rev-list", "--count", f"--max-parents={MOST_PARENTS}", "--ancestry-path", f"{node}..{REF}")
        return int(self._ask(*words))

    def _children(self, node: str) -> list[bytes]:
        return [line[:40] for line in self._all() if node.encode() in line[40:]]

    def _leaves(self) -> int:
        lines = self._all()
        parents = {parent for line in lines for parent in line[41:].split()}
        return len(lines) - len(parents & {line[:40] for line in lines})

    def _all(self) -> list[bytes]:
        """Every node and its parents, descendants first."""
        lines = self._lines("rev-list", "--topo-order", "--parents", REF)
        return [line for line in lines if len(line) < 41 * (MOST_PARENTS + 1)] if self._others else lines

    def _lines(self, *words: str) -> list[bytes]:
        return self._ask(*words).splitlines()

    def _ask(self, *words: str) -> bytes:
        return git(self._folder, *words)


class Pygit2:
    """pygit2, where it is installed. Arguments are `Oid`s."""

    def __init__(self, repository: Any, others: int, seed: Any) -> None:
        self._repository, self._others, self._seed = repository, others, seed

    @classmethod
    def open(cls, folder: Path, commits: "Ids") -> Self:
        module: Any = pygit2()
        return cls(module.Repository(str(folder)), commits.others, module.Oid(commits[0]))

    def close(self) -> None:
        self._repository.free()

    def ways(self) -> dict[str, Mapping[str, Way]]:
        """By question, the ways to ask it, each with its name."""
        ask = self._repository
        return {
            BASE: {"merge_base": ask.merge_base},
            IS_ANCESTOR: {
                "descendant_of": lambda old, young: ask.descendant_of(young, old),
                "ahead_behind": lambda old, young: ask.ahead_behind(old, young)[0] == 0,
            },
            ANCESTORS: {"ahead_behind": lambda node: ask.ahead_behind(node, self._seed)[0]},
            RANGE: {"ahead_behind": lambda old, new: ask.ahead_behind(new, old)[0]},
            LINEAGE: {"parent_ids": self._lineage, "walk": self._walked},
            LEAVES: {"all objects": self._leaves},
            CHILDREN: {"all objects": lambda node: [one.id for one in self._nodes() if node in one.parent_ids]},
            PAGES: {"all objects": lambda: len([one.id for one in self._nodes()])},
        }

    def _lineage(self, node: Any) -> list[Any]:
        found = [node]
        while len(found) < LIMIT and (parents := self._repository[found[-1]].parent_ids):
            found.append(parents[0])
        return found

    def _walked(self, node: Any) -> list[Any]:
        walk = self._repository.walk(node)
        walk.simplify_first_parent()
        return [one.id for one in islice(walk, LIMIT)]

    def _leaves(self) -> int:
        nodes = {one.id: one.parent_ids for one in self._nodes()}
        return len(nodes) - len({parent for parents in nodes.values() for parent in parents})

    def _nodes(self) -> Iterable[Any]:
        """Every node in no order, by looking at all objects; the commits that collect leaves are left out."""
        every = map(self._repository.get, self._repository)
        return (one for one in every if one.type_str == "commit" and len(one.parent_ids) <= MOST_PARENTS)
