"""Which files of a tree are called otherwise in another one, told by what they hold.

First those that hold the very same, then text that shares enough lines. A copy is no rename, its source is still there.
Where both trees have a path and hold something else there, as after two files were swapped, the path takes part only
if what it held went elsewhere and what it holds came from elsewhere, both to the byte.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dagstore.ids import BlobId
from dagstore.lines import is_text
from dagstore.model import Entry, Mode, Tree, changes

REGULAR = frozenset({Mode.FILE, Mode.EXECUTABLE})
ALIKE = 0.5
"""The share of common lines from which on two texts are the same file."""
FEWEST = 3
"""Lines below which a text is too short to be told by some of them."""
LARGEST = 1 << 20
"""Bytes above which a file is only compared as a whole."""
PAIRS = 40_000
"""Pairs of paths above which nothing is compared: 200 files that are gone and 200 that are new."""
_NOTHING = BlobId.of(b"")

Read = Callable[[BlobId], bytes]
Edge = tuple[float, bool, int, list[str], str, str]


def renames(old: Tree, new: Tree, read: Read) -> dict[str, str]:
    """The new path of every regular file that has one, by its old path; each path is old once and new once.

    It depends on the two trees alone, and the other way round gives the same pairs.
    """
    found = changes(old, new)
    gone = [one.old for one in found if one.old and one.new is None and one.old.mode in REGULAR]
    come = [one.new for one in found if one.new and one.old is None and one.new.mode in REGULAR]
    both = [(one.old, one.new) for one in found if one.old and one.new and one.of_content]
    held = [(one, other) for one, other in both if {one.mode, other.mode} <= REGULAR]
    pairs = _paired(_equal(gone, come))
    pairs |= _exchanged(_without(gone, pairs), _without(come, pairs.values()), held)
    return pairs | _similar(_without(gone, pairs), _without(come, pairs.values()), read)


def _without(entries: Iterable[Entry], paths: Iterable[str]) -> list[Entry]:
    taken = set(paths)
    return [entry for entry in entries if entry.path not in taken]


def _paired(edges: Iterable[Edge]) -> dict[str, str]:
    """The best pairs first, each path once."""
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for *_, old, new in sorted(edges):
        if old not in pairs and new not in taken:
            pairs[old] = new
            taken.add(new)
    return pairs


def _edge(old: str, new: str, share: float = 1.0) -> Edge:
    """What a pair is sorted by: the most in common, the same basename, the fewest folders apart, the smallest paths."""
    one, other = old.split("/"), new.split("/")
    shorter = min(len(one), len(other))
    tail = _common(one[::-1], other[::-1])
    apart = len(one) + len(other) - 2 * (tail + min(shorter - tail, _common(one, other)))
    return -share, one[-1] != other[-1], apart, sorted((old, new)), old, new


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (part, twin) in pairs if part != twin), min(len(one), len(other)))


# --- the very same content ---


def _equal(olds: Iterable[Entry], news: Iterable[Entry]) -> Iterator[Edge]:
    by_blob: dict[BlobId, tuple[list[str], list[str]]] = {}
    for side, entries in enumerate((olds, news)):
        for entry in entries:
            by_blob.setdefault(entry.blob, ([], []))[side].append(entry.path)
    for blob, (before, after) in by_blob.items():
        if len(before) * len(after) <= PAIRS:
            edges = [_edge(old, new) for old in before for new in after if old != new]
            # An empty file is like any other one: only its name tells it.
            yield from (edge for edge in edges if blob != _NOTHING or not edge[1])


def _exchanged(gone: Sequence[Entry], come: Sequence[Entry], held: Sequence[tuple[Entry, Entry]]) -> dict[str, str]:
    """Pairs through paths that both trees have."""
    olds, news = [old for old, _ in held], [new for _, new in held]
    pairs = _paired(_equal([*gone, *olds], [*come, *news]))
    paths = {entry.path for entry in olds}
    while True:
        arrived = paths.intersection(pairs.values())
        # A path of which half is told would be two files at once.
        sound = {one: two for one, two in pairs.items() if {one, two} & paths <= arrived.intersection(pairs)}
        if len(sound) == len(pairs):
            return sound
        pairs = sound


# --- similar text ---


def _similar(gone: Sequence[Entry], come: Sequence[Entry], read: Read) -> dict[str, str]:
    if not gone or not come or len(gone) * len(come) > PAIRS:
        return {}
    return _paired(_alike(_texts(gone, read), _texts(come, read)))


def _texts(entries: Iterable[Entry], read: Read) -> dict[str, Counter[bytes]]:
    """The lines of those that are texts of a certain size, without blanks."""
    contents = ((entry.path, read(entry.blob)) for entry in entries)
    lines = {
        path: Counter(stripped for line in data.split(b"\n") if (stripped := line.strip()))
        for path, data in contents
        if len(data) <= LARGEST and is_text(data)
    }
    return {path: counts for path, counts in lines.items() if counts.total() >= FEWEST}


def _alike(olds: Mapping[str, Counter[bytes]], news: Mapping[str, Counter[bytes]]) -> Iterator[Edge]:
    holders: dict[bytes, list[tuple[str, int]]] = {}
    for new, lines in news.items():
        for line, count in lines.items():
            holders.setdefault(line, []).append((new, count))
    for old, lines in olds.items():
        shared = Counter[str]()
        for line, count in lines.items():
            for new, there in holders.get(line, ()):
                shared[new] += min(count, there)
        total = lines.total()
        shares = ((new, count / max(total, news[new].total())) for new, count in shared.items())
        yield from (_edge(old, new, share) for new, share in shares if share >= ALIKE)
