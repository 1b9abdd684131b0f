"""What somebody put in place of contradictions that were left open: found in a child of the composed node.

The node is composed once more with a mark in place of each open contradiction, which says where in its files they are;
what has become of these places in the child is what they were resolved with. What cannot be told for certain is left
out.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from dagstore.adopt.merge import Resolve, Resolved
from dagstore.ids import NodeId
from dagstore.lines import Hunk, hunks
from dagstore.model import Decision

_TOKEN = re.compile(rb"\w+|\n|[^\S\n]+|[^\w\s]")
_MARK = re.compile(rb"\0(\d+)\0")
_NOBODY = NodeId(bytes(32))


class Chosen(NamedTuple):
    """The text that stands in place of a contradiction."""

    contradiction: Decision
    text: bytes


@dataclass(slots=True)
class Marking:
    """A resolver that puts a mark in place of each of the `open` contradictions, and asks `known` about others."""

    open: Sequence[Decision]
    known: Resolve
    marked: list[Decision] = field(default_factory=list)

    def __call__(self, path: str, region: str, sides: Sequence[bytes]) -> Resolved | None:
        for one in self.open:
            if (one.path, one.region, [side.text for side in one.sides]) == (path, region, list(sides)):
                self.marked.append(one)
                return Resolved(b"\0%d\0" % (len(self.marked) - 1), _NOBODY)
        return self.known(path, region, sides)

    def chosen(self, draft: bytes, node: bytes, child: bytes) -> Iterator[Chosen]:
        """What one file of a `child` has where the marks are in the `draft` of the node's file."""
        spans = dict(_spans(draft, node, [_taken(one) for one in self.marked]))
        found = carried(node, child, spans.values())
        for number, text in zip(spans, found, strict=True):
            one = self.marked[number]
            if text is not None and (text.strip() or all(side.text[-1:] in (b"", b"\n") for side in one.sides)):
                yield Chosen(one, text)


def _taken(decision: Decision) -> bytes:
    return next((side.text for side in decision.sides if set(side.origins) & set(decision.origins)), b"")


Span = tuple[int, int]


def _spans(draft: bytes, node: bytes, taken: Sequence[bytes]) -> Iterator[tuple[int, Span]]:
    """Where in the node's file what was taken stands, by number of the mark; nothing unless all is as it should be."""
    between, numbers = _MARK.split(draft)[::2], [int(number) for number in _MARK.findall(draft)]
    if node != b"".join(_woven(between, [taken[number] for number in numbers])):
        return
    at = 0
    for text, number in zip(between, numbers, strict=False):
        at += len(text)
        yield number, (at, at + len(taken[number]))
        at += len(taken[number])


def _woven(between: Sequence[bytes], inserted: Sequence[bytes]) -> Iterator[bytes]:
    for one, other in zip(between, (*inserted, b""), strict=True):
        yield one
        yield other


def carried(old: bytes, new: bytes, spans: Iterable[Span]) -> list[bytes | None]:
    """What has become of spans of `old` in `new`; None where a change reaches across the end of a span."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    starts, places = ([0, *accumulate(map(len, tokens))] for tokens in (before, after))
    changed = hunks(before, after)

    def place(at: int, *, behind: bool) -> int | None:
        token = bisect_left(starts, at)
        to = _shifted(token, changed, behind=behind) if starts[token] == at else None
        return None if to is None else places[to]

    ends = [(place(start, behind=False), place(end, behind=True)) for start, end in spans]
    return [None if start is None or end is None else new[start:end] for start, end in ends]


def _shifted(token: int, changed: Sequence[Hunk], *, behind: bool) -> int | None:
    """The number of a boundary between tokens after the changes; what was put in right there lies `behind` or not."""
    to = token
    for hunk in changed:
        if hunk.start < token < hunk.end:
            return None
        if hunk.end < token or (hunk.end == token and (behind or hunk.start < token)):
            to += hunk.growth
    return to
