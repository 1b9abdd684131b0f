"""Whether what a donor changed in a text is in the composed one, or else on record.

A line counts as there if the composed text has it. Else its words have to be there that the donor put into it, but for
those on record: in one line, as where two donors changed the same one, or as more than the base had of them, as where
somebody else broke it into several.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from dagstore.lines import hunks, split_lines

SMALL = 4_000
"""Lines up to which one that stands elsewhere in the base is looked for as well."""
_WORD = re.compile(rb"\w+|[^\w\s]")


@dataclass(frozen=True)
class Account:
    """The `composed` text and the texts that were kept on record beside it."""

    composed: bytes
    recorded: tuple[bytes, ...]

    def missing(self, base: bytes, new: bytes, others: Sequence[bytes]) -> Iterator[bytes]:
        """Lines that `new` put in place of those of `base` and that are nowhere."""
        before = split_lines(base)
        grown = _words(self.composed) - _words(base)
        for hunk in hunks(before, split_lines(new)):
            old = before[hunk.start : hunk.end]
            for line in hunk.new_lines:
                if not (
                    self._has(line, old, grown)
                    or self._holds(_words(line) - _words(b"".join(old)), grown)
                    or self._has_elsewhere(line, before, grown)
                    or _changed(line, before, others)
                ):
                    yield line

    def staying(self, base: bytes, new: bytes, others: Sequence[bytes]) -> Iterator[bytes]:
        """Lines that `new` took out of `base` and that are there still, although none of the `others` put them in.

        Not told are those that `new` made longer, and those of brackets and a word.
        """
        before, after = split_lines(base), split_lines(new)
        changed = hunks(before, after)
        gone = {line: hunk for hunk in changed for line in before[hunk.start : hunk.end]}
        for line in sorted(gone.keys() & set(split_lines(self.composed)) - set(after)):
            longer = any(_words(line) <= _words(one) for one in gone[line].new_lines)
            if not longer and not self._put_in(line, before, others):
                yield line

    def _has(self, line: bytes, old: Sequence[bytes], grown: Counter[bytes]) -> bool:
        if not line.strip() or line.strip() in self._lines:
            return True
        words = _words(line)
        like = max((_words(one) for one in old), key=lambda one: (one & words).total(), default=Counter[bytes]())
        return self._holds(words - like, grown)

    def _has_elsewhere(self, line: bytes, before: Sequence[bytes], grown: Counter[bytes]) -> bool:
        """The same, if it was made of a line that stands elsewhere in the base."""
        return len(before) <= SMALL and line not in before and self._has(line, before, grown)

    def _holds(self, fresh: Counter[bytes], grown: Counter[bytes]) -> bool:
        """Whether the words that a donor put into a line are in one line of the result, or there more often."""
        open = fresh - self._recorded
        said = Counter({word: count for word, count in open.items() if word.isalnum() or b"_" in word})
        return any((said or open) <= _words(one) for one in self._lines) or (bool(said) and said <= grown)

    def _put_in(self, line: bytes, before: Sequence[bytes], others: Sequence[bytes]) -> bool:
        if _words(line) <= self._recorded or len(_words(line)) <= 2:
            return True
        return any(line in hunk.new_lines for other in others for hunk in hunks(before, split_lines(other)))

    @cached_property
    def _lines(self) -> frozenset[bytes]:
        return frozenset(line.strip() for line in self.composed.split(b"\n"))

    @cached_property
    def _recorded(self) -> Counter[bytes]:
        return _words(b" ".join(self.recorded))


def _changed(line: bytes, before: Sequence[bytes], others: Sequence[bytes]) -> bool:
    """Whether the line was there, indented in any way, and somebody else has changed it or taken it out."""
    text = line.strip()
    was = any(one.strip() == text for one in before)
    return was and not all(text in _stripped(other) for other in others)


@lru_cache(maxsize=64)
def _stripped(text: bytes) -> frozenset[bytes]:
    return frozenset(line.strip() for line in text.split(b"\n"))


@lru_cache(maxsize=4096)
def _words(text: bytes) -> Counter[bytes]:
    return Counter(_WORD.findall(text))
