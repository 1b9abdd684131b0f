"""Files as lines: splitting, hunks, counts, unified diffs, and a distance between two versions.

A line ends with a line feed and keeps it; a carriage return is an ordinary byte. A file is text unless it holds
a NUL byte, so text in any encoding is compared by lines. Above `EXACT` line pairs, hunks are found between lines
that occur once in both versions, which bounds the time at the price of coarser hunks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

EXACT = 4_000_000
FEW = 1_000
"""Line pairs up to which `changed_lines` gives the very hunks."""
SOME = 16
"""Lines up to which it is found out whether two files differ one for one."""
Change = tuple[int, int, int, int]
"""(a, b, c, d) for lines `a:b` of an old file that became `c:d` of a new one."""
REMEMBERED = 1 << 20
_compared: list[tuple[bytes, bytes, tuple[int, int]]] = []


class Hunk(NamedTuple):
    """`new_lines` in place of `old[start:end]`; `start == end` is an insertion."""

    start: int
    end: int
    new_lines: tuple[bytes, ...]

    @property
    def growth(self) -> int:
        return len(self.new_lines) - (self.end - self.start)


def split_lines(data: bytes) -> list[bytes]:
    """The lines of `data` with their ends; joined they are `data` again."""
    lines = data.split(b"\n")
    last = lines.pop()
    ended = [line + b"\n" for line in lines]
    return [*ended, last] if last else ended


def is_text(data: bytes) -> bool:
    """Whether `data` may be taken apart into lines: it holds no NUL byte."""
    return b"\0" not in data


def hunks(old: Sequence[bytes], new: Sequence[bytes]) -> list[Hunk]:
    """What turns `old` into `new`: in order, disjoint, at least one common line between any two."""
    head = _common_prefix(old, new)
    tail = _common_prefix(old[head:][::-1], new[head:][::-1])
    old_end, new_end = len(old) - tail, len(new) - tail
    found = [
        Hunk(head + a, head + b, tuple(new[head + c : head + d]))
        for a, b, c, d in _differences(old[head:old_end], new[head:new_end])
    ]
    return _joined(found)


def changed_lines(old: bytes, new: bytes, exact: int = FEW) -> list[Change]:
    """Where two files differ, in order, with a common line between any two places.

    These are their hunks. But where more than `exact` line pairs would have to be looked at, they are the lines that
    differ one for one, or one that went and one that came elsewhere, if no other pairing keeps more, or else what lies
    between lines that occur once in both: that takes a tenth of the time.
    """
    if old == new:
        return []
    places = _in_place(old, new)
    if len(places) == 1 or (places and (places[-1] - places[0] + 1) ** 2 > exact):
        return _runs(places)
    head, tail = _common_ends(old, new)
    first = old.count(b"\n", 0, head)
    found = _in_the_middle(old[head : len(old) - tail], new[head : len(new) - tail], exact)
    return [(first + a, first + b, first + c, first + d) for a, b, c, d in found]


def _in_the_middle(old: bytes, new: bytes, exact: int) -> Iterable[Change]:
    """The same of what neither begins nor ends with the same line."""
    lines = old.count(b"\n")
    moved = _out_and_in(old, new) if lines * lines > exact else []
    if moved:
        return moved
    old_lines, new_lines = split_lines(old), split_lines(new)
    if set(old_lines).isdisjoint(new_lines):
        return [(0, len(old_lines), 0, len(new_lines))]
    many = len(old_lines) * len(new_lines) > exact
    return _between(old_lines, new_lines) if many else _both(hunks(old_lines, new_lines))


def _out_and_in(old: bytes, new: bytes) -> list[Change]:
    """One line out at the one end and one in at the other; empty if more is different than that."""
    lines = old.count(b"\n") + (not old.endswith(b"\n"))
    if _without_first(old) == _without_last(new) != b"":
        return [(0, 1, 0, 0), (lines, lines, lines - 1, lines)]
    if _without_first(new) == _without_last(old) != b"":
        return [(0, 0, 0, 1), (lines - 1, lines, lines, lines)]
    return []


def _in_place(old: bytes, new: bytes) -> list[int]:
    """The lines that differ, if there are few, they do so one for one, and no other pairing could keep more of them."""
    places: list[int] = []
    gone, came = set(), set()
    line = a = c = 0
    while a < len(old) and c < len(new) and len(places) <= SOME:
        b, d = _line_end(old, a), _line_end(new, c)
        if old[a:b] == new[c:d]:
            same = _common_lines(old, a, new, c)
            a, c = a + same, c + same
            line += old.count(b"\n", a - same, a) if a < len(old) else 0
        else:
            places.append(line)
            gone.add(old[a:b])
            came.add(new[c:d])
            line, a, c = line + 1, b, d
    return places if a == len(old) and c == len(new) and gone.isdisjoint(came) else []


def _line_end(data: bytes, start: int) -> int:
    return data.find(b"\n", start) + 1 or len(data)


def _without_first(data: bytes) -> bytes:
    return data[_line_end(data, 0) :]


def _without_last(data: bytes) -> bytes:
    return data[: data.rfind(b"\n", 0, -1) + 1]


def _common_lines(one: bytes, start: int, other: bytes, begin: int) -> int:
    """How many bytes of whole lines are the same from there on."""
    rest = other[begin:]
    if len(one) - start == len(rest) and one.startswith(rest, start):
        return len(rest)
    same = _common_begin(one, start, rest)
    return rest.rfind(b"\n", 0, same) + 1


def _common_begin(one: bytes, start: int, rest: bytes) -> int:
    """How many bytes of `rest` stand in `one` from there on."""
    # Bisection over what is still open: each byte is compared about twice, by memcmp.
    same, high = 0, min(len(one) - start, len(rest))
    while same < high:
        middle = (same + high + 1) >> 1
        if one.startswith(rest[same:middle], start + same):
            same = middle
        else:
            high = middle - 1
    return same


def _runs(places: Sequence[int]) -> list[Change]:
    """Lines that differ one for one, those that follow each other together."""
    starts = [at for at, before in zip(places, [-2, *places], strict=False) if before != at - 1]
    ends = [at + 1 for at, behind in zip(places, [*places[1:], -1], strict=True) if behind != at + 1]
    return [(start, end, start, end) for start, end in zip(starts, ends, strict=True)]


def _between(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[Change]:
    """The hunks of what lies between the anchors."""
    a = c = 0
    for b, d in [*_anchors(old, new), (len(old), len(new))]:
        if old[a:b] != new[c:d]:
            for p, q, r, s in _both(hunks(old[a:b], new[c:d])):
                yield a + p, a + q, c + r, c + s
        a, c = b + 1, d + 1


def _both(found: Iterable[Hunk]) -> Iterator[Change]:
    """The old and the new lines of each hunk."""
    shift = 0
    for hunk in found:
        yield hunk.start, hunk.end, hunk.start + shift, hunk.end + shift + hunk.growth
        shift += hunk.growth


def _common_prefix(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def _differences(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[tuple[int, int, int, int]]:
    if set(old).isdisjoint(new):
        if old or new:
            yield 0, len(old), 0, len(new)
    elif len(old) * len(new) > EXACT:
        yield from _between_anchors(old, new)
    else:
        import difflib

        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        yield from ((a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal")


def _between_anchors(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[tuple[int, int, int, int]]:
    a = c = 0
    for b, d in [*_anchors(old, new), (len(old), len(new))]:
        gap = (b - a) * (d - c)
        if gap > EXACT:
            yield a, b, c, d
        else:
            for p, q, r, s in _differences(old[a:b], new[c:d]):
                yield a + p, a + q, c + r, c + s
        a, c = b + 1, d + 1


def _anchors(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs of equal lines, each unique in both versions, the longest run that rises in both (patience sorting)."""
    old_counts, new_counts = Counter(old), Counter(new)
    place = {line: index for index, line in enumerate(new) if new_counts[line] == 1}
    pairs = [(index, place[line]) for index, line in enumerate(old) if old_counts[line] == 1 and line in place]
    if all(one < other for (_, one), (_, other) in pairwise(pairs)):
        return pairs
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_, target) in enumerate(pairs):
        pile = bisect_left(tops, target)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [target]
        ends[pile : pile + 1] = [number]
    chain: list[tuple[int, int]] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(pairs[at])
        at = before[at]
    return chain[::-1]


def _joined(found: Sequence[Hunk]) -> list[Hunk]:
    out: list[Hunk] = []
    for hunk in found:
        if out and out[-1].end == hunk.start:
            last = out.pop()
            out.append(Hunk(last.start, hunk.end, last.new_lines + hunk.new_lines))
        else:
            out.append(hunk)
    return out


def count_changes(old: bytes, new: bytes) -> tuple[int, int]:
    """How many lines were inserted and how many deleted; (0, 0) when either side is binary."""
    if not (is_text(old) and is_text(new)):
        return 0, 0
    head, tail = _common_ends(old, new)
    old_lines, new_lines = split_lines(old[head : len(old) - tail]), split_lines(new[head : len(new) - tail])
    if set(old_lines).isdisjoint(new_lines):
        return len(new_lines), len(old_lines)
    found = hunks(old_lines, new_lines)
    return sum(len(hunk.new_lines) for hunk in found), sum(hunk.end - hunk.start for hunk in found)


def _common_ends(old: bytes, new: bytes) -> tuple[int, int]:
    """Lengths of whole lines that both begin and both end with; without taking all of them apart."""
    head, tail = common_affixes(old, new)
    start = old.find(b"\n", len(old) - tail) + 1
    return old.rfind(b"\n", 0, head) + 1, len(old) - start if start else 0


def common_affixes(one: bytes, other: bytes) -> tuple[int, int]:
    """The length of the longest common prefix, and of the longest common suffix of what is left after it."""
    for old, new, known in _compared:
        if old is one and new is other:
            return known
    found = _common_affixes(one, other)
    # Whoever stores a version against another one then says how they differ.
    _compared[:] = [(one, other, found)] if len(one) < REMEMBERED else []
    return found


def _common_affixes(one: bytes, other: bytes) -> tuple[int, int]:
    limit = min(len(one), len(other))
    prefix = _common_begin(one, 0, other)
    suffix, high = 0, limit - prefix
    end, other_end = len(one), len(other)
    while suffix < high:
        middle = (suffix + high + 1) >> 1
        if one.endswith(other[other_end - middle : other_end - suffix], 0, end - suffix):
            suffix = middle
        else:
            high = middle - 1
    return prefix, suffix


def unified(old: bytes, new: bytes, path: str, context: int = 3) -> str:
    """The unified diff of one file, empty when nothing differs; bytes that are not UTF-8 appear as `\\xNN`."""
    if old == new:
        return ""
    if not (is_text(old) and is_text(new)):
        return f"Binary files a/{path} and b/{path} differ\n"
    old_lines, new_lines = split_lines(old), split_lines(new)
    parts = [f"--- a/{path}\n", f"+++ b/{path}\n"]
    shift = 0
    for group in _neighbours(hunks(old_lines, new_lines), 2 * context):
        parts += _section(old_lines, group, shift, context)
        shift += sum(hunk.growth for hunk in group)
    return "".join(parts)


def _neighbours(found: Sequence[Hunk], distance: int) -> list[list[Hunk]]:
    groups: list[list[Hunk]] = []
    for hunk in found:
        if groups and hunk.start - groups[-1][-1].end <= distance:
            groups[-1].append(hunk)
        else:
            groups.append([hunk])
    return groups


def _section(old: Sequence[bytes], group: Sequence[Hunk], shift: int, context: int) -> list[str]:
    first, last = max(0, group[0].start - context), min(len(old), group[-1].end + context)
    length = last - first
    grown = length + sum(hunk.growth for hunk in group)
    parts = [f"@@ -{_range(first, length)} +{_range(first + shift, grown)} @@\n"]
    at = first
    for hunk in group:
        parts += [_shown(" ", line) for line in old[at : hunk.start]]
        parts += [_shown("-", line) for line in old[hunk.start : hunk.end]]
        parts += [_shown("+", line) for line in hunk.new_lines]
        at = hunk.end
    return parts + [_shown(" ", line) for line in old[at:last]]


def _range(start: int, length: int) -> str:
    # An empty range names the line before it.
    first = start + 1 if length else start
    return str(first) if length == 1 else f"{first},{length}"


def _shown(sign: str, line: bytes) -> str:
    text = sign + line.decode("utf-8", "backslashreplace")
    return text if text.endswith("\n") else text + "\n\\ No newline at end of file\n"


def multiset_distance(old: bytes, new: bytes) -> int:
    """The size of the symmetric difference of the multisets of lines; of bytes, if either side is binary."""
    if old == new:
        return 0
    if is_text(old) and is_text(new):
        return _apart(split_lines(old), split_lines(new))
    return _apart(old, new)


def _apart(old: Iterable[Hashable], new: Iterable[Hashable]) -> int:
    surplus = Counter(old)
    surplus.subtract(Counter(new))
    return sum(map(abs, surplus.values()))
