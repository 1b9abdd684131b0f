"""The shapes of `graphs`, made once and kept in the cache: as repositories of git and as a store.

In git one ref reaches everything: leaves are collected, 1,000 at a time, by commits that stand in a line of their own.
A ref for each of 300,000 leaves makes every command that looks at all of them slower.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from graphs import VERSION, Graph
from project import CHARTER
from references import REF, cached, commit_command, commits_of, fast_import, git

import dagstore
from dagstore.index import VERSION as INDEX

LEAVES_EACH = 1_000
FILE = "x"


@dataclass(frozen=True)
class Ids:
    """The ids of all nodes by number, as one file of equally long ones; what follows them are not nodes."""

    file: Path
    width: int
    count: int

    @cached_property
    def _bytes(self) -> bytes:
        return self.file.read_bytes()

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        return {self[node]: node for node in range(self.count)}

    def __getitem__(self, node: int) -> bytes:
        return self._bytes[node * self.width : (node + 1) * self.width]

    def number(self, id: bytes) -> int:
        """The node that an id means, -1 for none of them."""
        return self._numbers.get(id, -1)

    @property
    def others(self) -> int:
        """How many commits are there beside the nodes."""
        return len(self._bytes) // self.width - self.count


def repository(graph: Graph, *, forest: bool = False) -> tuple[Path, Ids]:
    """A bare repository with a commit-graph. In a `forest` commits have their first parents only."""
    name = f"{graph.name}-{len(graph)}-v{VERSION}-{'forest' if forest else 'git'}"
    folder = cached(name, lambda folder: _make_repository(folder, graph, forest=forest))
    return folder, Ids(folder / "commits", 20, len(graph))


def store(graph: Graph) -> tuple[Path, Ids]:
    """A project with a store of the same nodes."""
    name = f"{graph.name}-{len(graph)}-v{VERSION}-dag-{dagstore.__version__}-{INDEX}"
    folder = cached(name, lambda folder: _make_store(folder, graph))
    return folder, Ids(folder / "ids", 32, len(graph))


def _make_repository(folder: Path, graph: Graph, *, forest: bool) -> None:
    git(folder, "init", "-q", "--bare", "-b", REF.rpartition("/")[2])
    fast_import(folder, _commands(graph, forest=forest), folder / "marks")
    commits = commits_of(folder / "marks")
    (folder / "marks").unlink()
    (folder / "commits").write_bytes(b"".join(map(bytes.fromhex, commits)))
    git(folder, "commit-graph", "write", "--stdin-commits", stdin="\n".join(commits).encode())


def _commands(graph: Graph, *, forest: bool) -> Iterator[bytes]:
    for node in range(len(graph)):
        parents = graph.parents(node)[: 1 if forest else None]
        yield commit_command(node + 1, [f":{parent + 1}" for parent in parents])
    if len(graph.leaves) > 1 and not forest:
        yield from _collecting(graph.leaves, len(graph) + 1)


def _collecting(leaves: Sequence[int], mark: int) -> Iterator[bytes]:
    """Commits in a line that have the leaves as parents, each dated like the latest of its leaves."""
    waiting = iter(leaves)
    before: list[str] = []
    while group := list(islice(waiting, LEAVES_EACH)):
        yield commit_command(mark, before + [f":{leaf + 1}" for leaf in group], second=group[-1] + 1)
        mark, before = mark + 1, [f":{mark}"]


def _make_store(folder: Path, graph: Graph) -> None:
    for name, text in {"dag.toml": CHARTER, "prepare.py": "VOCABULARY = 8192\n", "train.py": "RATE = 1\n"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    dagstore.init(folder)
    with dagstore.open(folder) as store:
        ids = [store.resolve("@seed")]
        with store.batch() as batch:
            for node in range(1, len(graph)):
                ids.append(batch.record([ids[parent] for parent in graph.parents(node)], {FILE: graph.text(node)}))
    (folder / "ids").write_bytes(b"".join(map(bytes, ids)))
