"""The lines of a composed file beside the versions that it was made of: which is whose, and where words come from."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from dagstore.lines import Change, changed_lines, hunks, split_lines

MANY = 400
"""Lines elsewhere in a version above which none of them is looked at for the words of a line."""
_WORD = re.compile(rb"\d[\w.]*|\w+|[^\w\s]")


class Spot(NamedTuple):
    """A line of one of the sources."""

    source: int
    line: int


class Source:
    """A version beside what was made of it. The two are compared when that is asked for the first time."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self.lines = split_lines(old)
        self._versions = old, new

    @cached_property
    def strange(self) -> list[int]:
        """The new lines that are none of its lines by the diff."""
        return [line for _, _, start, end in self._changed for line in range(start, end)]

    @cached_property
    def free(self) -> set[int]:
        """Those of its lines of which it is not known what became of them."""
        return {line for first, last, _, _ in self._changed for line in range(first, last)}

    @cached_property
    def _changed(self) -> list[Change]:
        return changed_lines(*self._versions)

    @cached_property
    def _starts(self) -> list[int]:
        return [start for _, _, start, _ in self._changed]

    def same(self, line: int) -> int | None:
        """Which line a line of the new version is by the diff; None if it is none."""
        at = bisect_right(self._starts, line) - 1
        if at < 0:
            return line
        _, last, _, end = self._changed[at]
        return None if line < end else line - end + last

    def beside(self, line: int) -> list[bytes]:
        """The lines in whose place a line is that is none of them; if there are none there, all that are free."""
        first, last, _, _ = self._changed[bisect_right(self._starts, line) - 1]
        if first < last:
            return self.lines[first:last]
        return [self.lines[at] for at in sorted(self.free)] if len(self.free) <= MANY else []


def found_in(lines: Sequence[bytes], wanted: Iterable[int], sources: Sequence[Source]) -> dict[int, Spot]:
    """Where lines are that the first source has not by its diff: in the first that has one by its diff, else moved.

    Lines that stand elsewhere in a source are paired, each once: those that are left just once on either side, what
    stands next to them, then the others from the top. Blank lines are only found next to others. What is found does not
    depend on what else is wanted; it may be more than that.
    """
    search = _Search(lines, wanted, sources)
    search.by_diff()
    if search.left:
        search = _Search(lines, sources[0].strange, sources)
        search.by_diff()
        search.unique()
        search.others()
    return search.found


class _Search:
    """`left` are the lines that are not found yet."""

    def __init__(self, lines: Sequence[bytes], left: Iterable[int], sources: Sequence[Source]) -> None:
        self.left = set(left)
        self.found: dict[int, Spot] = {}
        self._lines = lines
        self._sources = sources

    def by_diff(self) -> None:
        for number, source in self._sharing():
            for line in sorted(self.left):
                same = source.same(line)
                if same is not None:
                    self._take(line, Spot(number, same))

    def unique(self) -> None:
        """What is free in a source and looked for just once, and then its neighbours."""
        moved = []
        for number, source in self._sharing():
            there, here = _places(source.lines, source.free), _places(self._lines, self.left)
            for text, wanted in here.items():
                spots = there.get(text, ())
                if len(wanted) == len(spots) == 1:
                    moved.append(self._take(wanted[0], Spot(number, spots[0])))
        self._grow(moved)

    def others(self) -> None:
        for number, source in self._sharing():
            there = _places(source.lines, source.free)
            for line in sorted(self.left):
                spot = next((at for at in there.get(self._lines[line], ()) if at in source.free), None)
                if line in self.left and spot is not None:
                    self._grow([self._take(line, Spot(number, spot))])

    def _sharing(self) -> Iterator[tuple[int, Source]]:
        """The sources that have any of the lines that are left when their turn comes; no other needs to be compared."""
        for number, source in enumerate(self._sources):
            if not {self._lines[line] for line in self.left}.isdisjoint(source.lines):
                yield number, source

    def _grow(self, moved: list[int]) -> None:
        """Take the neighbours of lines that were found elsewhere, as far as they are the same in both."""
        while moved:
            line = moved.pop()
            number, at = self.found[line]
            beside = [step for step in (-1, 1) if self._fits(line + step, number, at + step)]
            moved += [self._take(line + step, Spot(number, at + step)) for step in beside]

    def _fits(self, line: int, number: int, at: int) -> bool:
        source = self._sources[number]
        return line in self.left and at in source.free and self._lines[line] == source.lines[at]

    def _take(self, line: int, spot: Spot) -> int:
        self.found[line] = spot
        self.left.discard(line)
        self._sources[spot.source].free.discard(spot.line)
        return line


def _places(lines: Sequence[bytes], some: Iterable[int]) -> dict[bytes, list[int]]:
    """Those of some lines that are not blank, by what they say, from the top."""
    places: dict[bytes, list[int]] = {}
    for at in sorted(some):
        if lines[at].strip():
            places.setdefault(lines[at], []).append(at)
    return places


def gave_words(text: bytes, line: int, primary: Source | None, donor: Source) -> bool:
    """Whether a line that neither has as it is has words that only the donor has, or lacks such that only it lacks."""
    words = _words(text)
    ours = _like(words, primary.beside(line)) if primary else []
    theirs = _like(words, donor.beside(line))
    if _kept(theirs, words) - _kept(ours, words):
        return True
    gone = set(range(len(ours))) - _kept(words, ours)
    return any(not hunk.new_lines and not gone.isdisjoint(range(hunk.start, hunk.end)) for hunk in hunks(ours, theirs))


def _like(words: Sequence[bytes], lines: Iterable[bytes]) -> list[bytes]:
    """The words of the line that has most of these, the first of several; nothing if none has any."""
    wanted = Counter(words)
    best: tuple[int, list[bytes]] = (0, [])
    for line in lines:
        found = _words(line)
        common = (wanted & Counter(found)).total()
        if common > best[0]:
            best = common, found
    return best[1]


def _kept(old: Sequence[bytes], new: Sequence[bytes]) -> set[int]:
    """Which of the new words are there from the old ones."""
    kept, shift = set(range(len(new))), 0
    for hunk in hunks(old, new):
        start = hunk.start + shift
        kept -= set(range(start, start + len(hunk.new_lines)))
        shift += hunk.growth
    return kept


def _words(line: bytes) -> list[bytes]:
    return _WORD.findall(line)
