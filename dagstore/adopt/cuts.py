"""What turns one version of a file into another, cut as finely as its statements allow.

A hunk that takes or leaves whole statements is cut at its named statements, so that a change of one constant
never reaches its neighbours. Any other hunk stays as the lines say.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from dagstore.adopt.outline import Text
from dagstore.lines import hunks


@dataclass(frozen=True, slots=True)
class Cut:
    """`new` in place of the old lines `start:end`; it begins at line `at` of the new version.

    `name` is the statement concerned, if it is exactly one. `hunk` counts the hunks that were cut.
    """

    start: int
    end: int
    at: int
    new: tuple[bytes, ...]
    name: str = ""
    hunk: int = 0

    @property
    def growth(self) -> int:
        return len(self.new) - (self.end - self.start)


def cuts(old: Text, new: Text) -> list[Cut]:
    """The cuts from `old` to `new` in order; applied together they make `new`."""
    out: list[Cut] = []
    shift = 0
    for number, hunk in enumerate(hunks(old.lines, new.lines)):
        whole = Cut(hunk.start, hunk.end, hunk.start + shift, hunk.new_lines, hunk=number)
        out += _apart(old, new, whole) if _divisible(old, new, whole) else [whole]
        shift += hunk.growth
    return out


def _divisible(old: Text, new: Text, cut: Cut) -> bool:
    if cut.end - cut.start == 1 and len(cut.new) == 1:
        return False
    return old.outline.whole(cut.start, cut.end) and new.outline.whole(cut.at, cut.at + len(cut.new))


def _apart(old: Text, new: Text, cut: Cut) -> Iterator[Cut]:
    after = {span.name: span for span in new.outline.named(cut.at, cut.at + len(cut.new))}
    both = [(span, after[span.name]) for span in old.outline.named(cut.start, cut.end) if span.name in after]
    if any(right[1].start < left[1].start for left, right in pairwise(both)):
        # The statements changed places: no cut keeps both orders.
        yield cut
        return
    start, at = cut.start, cut.at
    for was, now in both:
        yield from _gap(old, new, Cut(start, was.start, at, tuple(new.lines[at : now.start]), hunk=cut.hunk))
        lines = tuple(new.lines[now.start : now.end])
        if lines != tuple(old.lines[was.start : was.end]):
            yield Cut(was.start, was.end, now.start, lines, was.name, cut.hunk)
        start, at = was.end, now.end
    end = cut.at + len(cut.new)
    yield from _gap(old, new, Cut(start, cut.end, at, tuple(new.lines[at:end]), hunk=cut.hunk))


def _gap(old: Text, new: Text, cut: Cut) -> Iterator[Cut]:
    """The cuts between two statements that both versions name: insertions and deletions go name by name."""
    shift = 0
    for hunk in hunks(old.lines[cut.start : cut.end], cut.new):
        start, end = cut.start + hunk.start, cut.start + hunk.end
        at = cut.at + hunk.start + shift
        shift += hunk.growth
        part = replace(cut, start=start, end=end, at=at, new=hunk.new_lines)
        if start == end:
            for name, first, last in new.outline.pieces(at, at + len(part.new)):
                yield replace(part, at=first, new=tuple(new.lines[first:last]), name=name)
        elif not part.new:
            for name, first, last in old.outline.pieces(start, end):
                yield replace(part, start=first, end=last, name=name)
        else:
            yield part
