"""Which version of a file brought each of its lines, traced through primary and adopted parents. Pure.

A line that the primary parent has came from there, else one that an adopted parent has, as line diffs against each of
them say; of what is left of a composed version, a line that stands elsewhere in a parent was moved. The rest is the
version's own.

Versions are taken from the youngest to the oldest, and each of them once, however many ways lead to it: the work grows
with the versions and not with the ways. Nothing here is recursive.
"""

from collections.abc import Collection, Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from dagstore.composed import Source, found_in, gave_words
from dagstore.lines import changed_lines, is_text, split_lines

Asked = list[int]
"""What is asked of a version, as long as it has lines: at each one the number of the answer, 0 if it is not wanted."""


class Place(NamedTuple):
    """A version of a file: that at `path` in a node. The parents of a node have smaller numbers."""

    node: int
    path: str


class Parent(NamedTuple):
    """A parent that has the file, as it was at `place`; `adopted` is the parent's number, 0 for the primary.

    The place may be that of an ancestor, where the file did not change since.
    """

    place: Place
    adopted: int


class History(Protocol):
    def parents(self, place: Place) -> Sequence[Parent]:
        """The parents that have the file: the primary first, adopted ones in the order in which they are asked."""

    def content(self, place: Place) -> bytes:
        """The bytes of a version."""

    def donors(self, place: Place) -> Collection[int]:
        """The adopted parents whose wishes went into this version, by the record of the adoption; none without one."""


class Traced(NamedTuple):
    """Who brought a line. If it was put together of several parents' lines, `origins` are the donors of its words."""

    place: Place
    origins: tuple[int, ...] = ()


Before = list[tuple[Parent, bytes]]
"""The versions that one was made of."""


def blame(start: Place, history: History, wanted: range) -> list[Traced]:
    """Who brought each of the `wanted` lines of a version; they count from 0, and all of them are there."""
    asked = [0] * len(split_lines(history.content(start)))
    asked[wanted.start : wanted.stop] = range(1, len(wanted) + 1)
    work = _Work(history)
    work.ask(start, asked)
    while work.open:
        work.settle(*work.next())
    return [work.answer(number) for number in range(1, len(wanted) + 1)]


class _Work:
    """The lines that are still being traced, by the version that they were traced to, and the answers so far."""

    def __init__(self, history: History) -> None:
        self.open: list[tuple[int, Place]] = []
        self._history = history
        self._asked: dict[Place, Asked] = {}
        self._found: dict[int, Traced] = {}
        self._same: dict[int, int] = {}

    def ask(self, place: Place, asked: Asked) -> None:
        """Trace lines of a version. Two answers that come to the same line of it are the same from there on."""
        if not any(asked):
            return
        known = self._asked.setdefault(place, asked)
        if known is asked:
            heappush(self.open, (-place.node, place))
            return
        for line, answer in _wanted(asked):
            if known[line]:
                self._same[answer] = known[line]
            else:
                known[line] = answer

    def next(self) -> tuple[Place, Asked]:
        """The youngest version, of which nothing more can be asked by now, and what is asked of it."""
        _, place = heappop(self.open)
        return place, self._asked.pop(place)

    def settle(self, place: Place, asked: Asked) -> None:
        """Ask the parents of a version for the lines that they have, and answer the rest."""
        versions = self._versions_before(place)
        if not versions:
            self._answer(place, _wanted(asked))
            return
        first, old = versions[0]
        new = self._history.content(place)
        left = _cut_out(asked, changed_lines(old, new))
        self.ask(first.place, asked)
        if len(versions) == 1 or not left:
            self._answer(place, left)
        else:
            self._compose(place, new, versions, dict(left))

    def answer(self, number: int) -> Traced:
        """When nothing is open any more."""
        while number in self._same:
            number = self._same[number]
        return self._found[number]

    def _versions_before(self, place: Place) -> Before:
        """What the parents have; adopted ones only if it is text that the first has not at the same place."""
        found = [(parent, self._history.content(parent.place)) for parent in self._history.parents(place)]
        texts = [(parent, data) for parent, data in found if is_text(data)]
        return texts[:1] + [(parent, data) for parent, data in texts[1:] if parent.place != texts[0][0].place]

    def _compose(self, place: Place, new: bytes, versions: Before, left: dict[int, int]) -> None:
        """Settle lines of a composed version, given with their answers, that the first parent has not by its diff."""
        parents = [parent for parent, _ in versions]
        lines, sources = split_lines(new), [Source(data, new) for _, data in versions]
        asked = [[0] * len(source.lines) for source in sources]
        for line, spot in found_in(lines, left, sources).items():
            asked[spot.source][spot.line] = left.pop(line, 0)
        for parent, some in zip(parents, asked, strict=True):
            self.ask(parent.place, some)
        heard = self._heard(place, parents, sources) if left else []
        primary = None if parents[0].adopted else sources[0]
        for line, answer in left.items():
            origins = [donor for donor, source in heard if gave_words(lines[line], line, primary, source)]
            self._answer(place, [(line, answer)], tuple(origins))

    def _heard(self, place: Place, parents: Sequence[Parent], sources: Sequence[Source]) -> list[tuple[int, Source]]:
        """The donors whose wishes went into a version, each beside it."""
        donors = self._history.donors(place)
        both = zip(parents, sources, strict=True)
        return [(parent.adopted, source) for parent, source in both if parent.adopted in donors]

    def _answer(self, place: Place, some: Iterable[tuple[int, int]], origins: tuple[int, ...] = ()) -> None:
        for _, answer in some:
            self._found[answer] = Traced(place, origins)


def _wanted(asked: Asked) -> list[tuple[int, int]]:
    """The lines that are wanted, each with the number of its answer."""
    return [(line, answer) for line, answer in enumerate(asked) if answer]


def _cut_out(asked: Asked, changed: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
    """Turn what is asked of a version into what is asked of an older one; returned is what that one has not."""
    left: list[tuple[int, int]] = []
    for first, last, start, end in reversed(list(changed)):
        left += [(line, answer) for line, answer in enumerate(asked[start:end], start) if answer]
        asked[start:end] = [0] * (last - first)
    return left
