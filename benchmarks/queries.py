"""Questions about a history of a million nodes, in-process, against pygit2 and git, turn by turn.

Two shapes (`graphs`), made once and kept in the cache. git has a commit-graph, and the time that it takes to start and
find the repository, measured beside it, is taken off. The reference is the fastest way that pygit2 or git has. All ways
must give the same answer; one that is far behind after a sample is not asked again. Samples differ and are asked
once each, so that nobody answers out of what the last answer left behind.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import questions
from graphs import SHAPES, Graph
from harness import Bar, Row, figure, percentile, timed
from histories import Ids, repository, store
from questions import Git, Pygit2, Way
from references import NOT_INSTALLED, pygit2, pygit2_version
from samples import Question, drawn

import dagstore

BAR = Bar(1.0)
OURS = "store"
QUICK_NODES, NODES = 50_000, 1_000_000
STARTS = 15
RESOLUTION = 1e-5
"""Seconds; what is left of a process without its start cannot be told more finely than starts differ."""
LONG, BEHIND = 1.0, 8
"""A way that took more seconds in all, and so many times those of the fastest, is not asked again."""


@dataclass(frozen=True, slots=True)
class Names:
    """How a node is named as an argument, and the node that an id in an answer means."""

    argument: Callable[[int], Any]
    number: Callable[[Any], int]


@dataclass(slots=True)
class Asked:
    """One way to ask one question, the seconds of every sample so far, and those of starting a process for it."""

    way: Way
    names: Names
    start: Sequence[float] = ()
    seconds: list[float] = field(default_factory=list)

    def milliseconds(self) -> float:
        """The median, without starting a process; at least what starts differ by."""
        return self._net(statistics.median(self.seconds))

    def worst(self) -> float:
        return self._net(max(self.seconds))

    def ask(self, sample: Sequence[int]) -> object:
        """Asks, and returns the answer with numbers of nodes for ids."""
        arguments = [self.names.argument(node) for node in sample]
        answers: list[object] = []
        self.seconds.append(timed(lambda: answers.append(self.way(*arguments))))
        return self._plain(answers[0])

    def _plain(self, answer: object) -> object:
        if answer is None or isinstance(answer, int):
            return answer
        return sorted(map(self.names.number, answer)) if isinstance(answer, list) else self.names.number(answer)

    def _net(self, seconds: float) -> float:
        if not self.start:
            return seconds * 1e3
        start = statistics.median(self.start)
        return max(seconds - start, percentile(self.start, 0.75) - start, RESOLUTION) * 1e3


class References:
    """git and pygit2 with one repository."""

    def __init__(self, folder: Path, ids: Ids) -> None:
        self.folder, self._ids = folder, ids
        self._git = Git(folder, ids.others)
        self._pygit2 = Pygit2.open(folder, ids) if pygit2() else None

    def asked(self, question: str) -> dict[str, Asked]:
        """Every way to ask it, by name."""
        start = [timed(self._git.start) for _ in range(STARTS)]
        found = {f"git {name}": Asked(way, self._hex(), start) for name, way in self._git.ways()[question].items()}
        if self._pygit2:
            ways = self._pygit2.ways().get(question, {})
            found |= {f"pygit2 {name}": Asked(way, self.oids()) for name, way in ways.items()}
        return found

    def oids(self) -> Names:
        module: Any = pygit2()
        return Names(lambda node: module.Oid(self._ids[node]), lambda oid: self._ids.number(oid.raw))

    def _hex(self) -> Names:
        return Names(lambda node: self._ids[node].hex(), lambda text: self._ids.number(bytes.fromhex(text.decode())))


def rows(*, quick: bool) -> list[Row]:
    count = QUICK_NODES if quick else NODES
    return [row for make in SHAPES.values() for row in _shape_rows(make(count))]


def _shape_rows(graph: Graph) -> list[Row]:
    folder, ids = store(graph)
    asking = list(drawn(graph))
    found = [_opening(graph, asking)]
    with dagstore.open(folder, readonly=True) as opened:
        ways = questions.ours(opened)
        for question, asked in with_references(graph, asking):
            ours = Asked(ways[question.asks], names_of(ids))
            compare(question, {OURS: ours} | asked)
            found.append(_row(graph, question, ours, asked))
    return found


def with_references(graph: Graph, asking: Sequence[Question]) -> Iterator[tuple[Question, dict[str, Asked]]]:
    """Every question with the ways to ask git and pygit2."""
    references: dict[bool, References] = {}
    for question in asking:
        print(f"  {graph.name}: {question.asks}", file=sys.stderr, flush=True)
        if question.forest not in references:
            references[question.forest] = References(*repository(graph, forest=question.forest))
        yield question, references[question.forest].asked(question.asks)


def compare(question: Question, asked: Mapping[str, Asked]) -> None:
    """Ask everyone about every sample, in turns; `AssertionError` if two answers are not the same."""
    for at, sample in enumerate(question.samples):
        names = [name for name in asked if not _behind(name, asked)]
        answers = {name: asked[name].ask(sample) for name in (names if at % 2 == 0 else reversed(names))}
        if question.same and len({repr(answer) for answer in answers.values()}) > 1:
            short = {name: repr(answer)[:200] for name, answer in answers.items()}
            raise AssertionError(f"{question.asks} of {sample}: {short}")


def _behind(name: str, asked: Mapping[str, Asked]) -> bool:
    mine = sum(asked[name].seconds)
    others = [sum(other.seconds) for label, other in asked.items() if label != OURS]
    return name != OURS and mine > LONG and mine > BEHIND * min(others)


def _row(graph: Graph, question: Question, ours: Asked, asked: Mapping[str, Asked]) -> Row:
    whole = {name: way.milliseconds() for name, way in asked.items() if len(way.seconds) == len(question.samples)}
    mine, best = ours.milliseconds(), min(whole, key=whole.__getitem__)
    name = f"{graph.name}, {len(graph):,}: {question.asks} / {best}"
    note = "; ".join(filter(None, (question.note, told(ours, asked, question.samples))))
    return Row(name, mine, whole[best], "ms", mine / whole[best], BAR, note)


def told(ours: Asked | None, asked: Mapping[str, Asked], samples: Sequence[object]) -> str:
    """The worst of ours, and the median and the worst of every reference, in ms."""
    parts = [f"worst {figure(max(ours.seconds) * 1e3)}"] if ours else []
    for name, way in asked.items():
        few = "" if len(way.seconds) == len(samples) else f" ({len(way.seconds)} of {len(samples)})"
        parts.append(f"{name} {figure(way.milliseconds())}, worst {figure(way.worst())}{few}")
    return "; ".join(parts if pygit2() else [*parts, f"pygit2 {NOT_INSTALLED}"])


def names_of(ids: Ids) -> Names:
    """A store's."""
    return Names(lambda node: dagstore.NodeId(ids[node]), lambda id: ids.number(bytes(id)))


def _opening(graph: Graph, asking: Sequence[Question]) -> Row:
    """The same with everything opened and closed around it, which is when a store reads what it keeps."""
    (folder, ids), (git_folder, commits) = store(graph), repository(graph)
    [asked] = [question for question in asking if question.asks == questions.ANCESTORS]
    module = pygit2()

    def ours(node: dagstore.NodeId) -> int:
        with dagstore.open(folder, readonly=True) as opened:
            return int(questions.ours(opened)[questions.ANCESTORS](node))

    def theirs(node: Any) -> int:
        with closing(Pygit2.open(git_folder, commits)) as opened:
            return int(opened.ways()[questions.ANCESTORS]["ahead_behind"](node))

    ways = {"pygit2": Asked(theirs, References(git_folder, commits).oids())} if module else {}
    mine = Asked(ours, names_of(ids))
    compare(asked, {OURS: mine} | ways)
    reference = ways["pygit2"].milliseconds() if module else None
    ratio = mine.milliseconds() / reference if reference else None
    name = f"{graph.name}, {len(graph):,}: opening, then {questions.ANCESTORS}"
    return Row(name, mine.milliseconds(), reference, "ms", ratio, None, pygit2_version())
