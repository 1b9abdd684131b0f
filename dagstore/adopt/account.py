"""Whether what a donor changed in a text is in the composed one, or else on record.

A line counts as there if the composed text has it, or if one of its lines has all the words that the donor put into it
but for those on record: where two donors changed one line, no line of either is left.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from dagstore.lines import hunks, split_lines

_WORD = re.compile(rb"\w+|[^\w\s]")


@dataclass(frozen=True)
class Account:
    """The `composed` text and the texts that were kept on record beside it."""

    composed: bytes
    recorded: tuple[bytes, ...]

    def missing(self, base: bytes, new: bytes, others: Sequence[bytes]) -> Iterator[bytes]:
        """Lines that `new` put in place of those of `base` and that are nowhere, then lines that it took out and that
        are there still although none of the `others` put them back.
        """
        before = split_lines(base)
        changed = hunks(before, split_lines(new))
        for hunk in changed:
            old = before[hunk.start : hunk.end]
            yield from (line for line in hunk.new_lines if not self._has(line, old))
        gone = {line for hunk in changed for line in before[hunk.start : hunk.end]}
        stay = gone.intersection(split_lines(self.composed)).difference(split_lines(new))
        if stay:
            yield from (line for line in sorted(stay) if not self._put_back(line, before, others))

    def _has(self, line: bytes, old: Sequence[bytes]) -> bool:
        if not line.strip() or line.strip() in self._lines:
            return True
        words = _words(line)
        like = max((_words(one) for one in old), key=lambda one: (one & words).total(), default=Counter[bytes]())
        fresh = words - like - self._recorded
        return any(fresh <= _words(one) for one in self._lines)

    def _put_back(self, line: bytes, before: Sequence[bytes], others: Sequence[bytes]) -> bool:
        """Whether somebody else put the line in; of brackets and a word that cannot be told."""
        if _words(line) <= self._recorded or len(_words(line)) <= 2:
            return True
        return any(line in hunk.new_lines for other in others for hunk in hunks(before, split_lines(other)))

    @cached_property
    def _lines(self) -> frozenset[bytes]:
        return frozenset(line.strip() for line in self.composed.split(b"\n"))

    @cached_property
    def _recorded(self) -> Counter[bytes]:
        return _words(b" ".join(self.recorded))


@lru_cache(maxsize=4096)
def _words(text: bytes) -> Counter[bytes]:
    return Counter(_WORD.findall(text))
