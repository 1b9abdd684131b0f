"""What a rung of the ladder knows about one version of a file: its statements in order, some of them by name."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from dagstore.lines import split_lines


class Span(NamedTuple):
    """The lines `start:end` of one statement; `name` is empty unless it may be composed by that name."""

    name: str
    start: int
    end: int


class Outline:
    """Disjoint spans in file order. `doubled` are the names that the file defines more than once."""

    def __init__(self, spans: tuple[Span, ...], doubled: frozenset[str] = frozenset()) -> None:
        self.spans = spans
        self.doubled = doubled
        self.names = {span.name: span for span in spans if span.name}
        self._starts = [span.start for span in spans]

    def whole(self, start: int, end: int) -> bool:
        """Whether the lines `start:end` cut through no statement."""
        return self._at(start) is None and self._at(end) is None

    def _at(self, point: int) -> Span | None:
        span = self._before(point)
        return span if span and span.start < point < span.end else None

    def _before(self, point: int) -> Span | None:
        index = bisect_right(self._starts, point) - 1
        return self.spans[index] if index >= 0 else None

    def around(self, start: int, end: int) -> str:
        """The name of the one statement that holds the lines `start:end`, or an empty string."""
        span = self._before(start)
        if span is None or end > span.end or (start == end and not span.start < start < span.end):
            return ""
        return span.name

    def named(self, start: int, end: int) -> list[Span]:
        """The named spans inside the lines `start:end`."""
        first = bisect_right(self._starts, start - 1)
        last = bisect_right(self._starts, end - 1)
        return [span for span in self.spans[first:last] if span.name and span.end <= end]

    def pieces(self, start: int, end: int) -> list[Span]:
        """The lines `start:end` in pieces: each named span with the comments above it, and what lies between."""
        out: list[Span] = []
        at = start
        for span in self.named(start, end):
            above = self._before(span.start - 1) if span.start else None
            top = max(at, above.end if above else 0)
            if at < top:
                out.append(Span("", at, top))
            out.append(Span(span.name, top, span.end))
            at = span.end
        if at < end:
            out.append(Span("", at, end))
        return out


EMPTY = Outline(())


@dataclass(frozen=True, slots=True)
class Syntax:
    """What is known of a kind of file: how to outline it and whether a version of it is well-formed."""

    outline: Callable[[bytes], Outline]
    valid: Callable[[bytes], bool]
    rung: str


class Text:
    """One version of a text file. `lines` all end with a line feed; `ended` says whether the last one really does."""

    def __init__(self, data: bytes, syntax: Syntax) -> None:
        self.data = data
        self.syntax = syntax
        self.ended = not data or data.endswith(b"\n")
        self.lines = split_lines(data if self.ended else data + b"\n")

    @cached_property
    def outline(self) -> Outline:
        return self.syntax.outline(self.data)

    @cached_property
    def valid(self) -> bool:
        return self.syntax.valid(self.data)
