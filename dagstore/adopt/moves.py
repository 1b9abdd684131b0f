"""Entities that changed places: where they are taken to, apart from what became of them."""

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import pairwise

from dagstore.adopt.cuts import differences
from dagstore.adopt.row import Placed
from dagstore.adopt.units import Unit, Units, entities, rising


def moved(old: Units, new: Units) -> frozenset[str]:
    """Names of the entities that were taken out at one place and put in at another one."""
    was, now = dict(_taken(old, new)), dict(_put(old, new))
    common = [name for name in was if name in now]
    kept = rising([now[name][1] for name in common])
    return frozenset(name for at, name in enumerate(common) if at not in kept or was[name][0] != now[name][0])


def _taken(old: Units, new: Units) -> Iterator[tuple[str, tuple[int, int]]]:
    """The entities of the old row that differ: hunk and place by name."""
    for number, hunk in enumerate(differences(old, new)):
        for at in range(hunk.start, hunk.end):
            if old[at].entity:
                yield old[at].entity, (number, at)


def _put(old: Units, new: Units) -> Iterator[tuple[str, tuple[int, int]]]:
    shift = 0
    for number, hunk in enumerate(differences(old, new)):
        first = hunk.start + shift
        for at in range(first, first + len(hunk.new_lines)):
            if new[at].entity:
                yield new[at].entity, (number, at)
        shift += hunk.growth


def reordered(units: Units, like: Units, names: Set[str]) -> Units:
    """The units with some entities where `like` has them: each behind what is before it there."""
    places = [Placed(unit, -1) for unit in units]
    return tuple(unit for unit, _ in placed_like(places, like, names))


def placed_like(placed: Sequence[Placed], like: Units, names: Set[str]) -> list[Placed]:
    """The same, of units that were placed. Comments go along, and white space stays between the same neighbours."""
    order = [unit for unit in like if not unit.blank]
    where = entities(order)
    blocks, gaps = _blocks(placed)
    now = entities(block[-1].unit for block in blocks)
    there = {name: blocks[now[name]] for name in names & where.keys() & now.keys()}
    if not there:
        return list(placed)
    out = [block for block in blocks if block[-1].unit.entity not in there]
    for name in sorted(there, key=where.__getitem__):
        out.insert(_place(out, order, where[name]), there[name])
    known = _between(*_blocks([Placed(unit, -1) for unit in like])) | _between(blocks, gaps)
    own = {key(block[-1].unit): gap for block, gap in zip(blocks, gaps, strict=False)}
    pairs = pairwise(_ends(out))
    spaces = [known[pair] if pair in known else own.get(pair[1], []) for pair in pairs]
    return [one for gap, block in zip(spaces, [*out, []], strict=True) for one in (*gap, *block)]


Block = list[Placed]


def _blocks(placed: Iterable[Placed]) -> tuple[list[Block], list[Block]]:
    """Units with the comments right above them, and the white space before each and behind the last."""
    blocks: list[Block] = []
    gaps: list[Block] = [[]]
    above: Block = []
    for one in placed:
        if one.unit.blank and one.unit.strip():
            above.append(one)
        elif one.unit.strip() or above:
            blocks.append(above if one.unit.blank else [*above, one])
            gaps.append([one] if one.unit.blank else [])
            above = []
        else:
            gaps[-1].append(one)
    return ([*blocks, above], [*gaps, []]) if above else (blocks, gaps)


def _between(blocks: Sequence[Block], gaps: Sequence[Block]) -> dict[tuple[bytes, bytes], Block]:
    """The white space between any two neighbours."""
    return dict(zip(pairwise(_ends(blocks)), gaps, strict=True))


def _ends(blocks: Sequence[Block]) -> list[bytes]:
    """The keys of blocks, with the beginning and the end."""
    return [b"", *(key(block[-1].unit) for block in blocks), b""]


def _place(blocks: Sequence[Block], order: Sequence[Unit], at: int) -> int:
    """Behind the nearest unit before number `at` of the order that is there; else before the nearest behind it."""
    keys = {key(block[-1].unit): number for number, block in enumerate(blocks)}
    for before in range(at - 1, -1, -1):
        if key(order[before]) in keys:
            return keys[key(order[before])] + 1
    for behind in range(at + 1, len(order)):
        if key(order[behind]) in keys:
            return keys[key(order[behind])]
    return len(blocks)


def key(unit: Unit) -> bytes:
    """What tells a unit from its siblings."""
    return unit.entity.encode() or bytes(unit)


def above(units: Units, name: str) -> bytes:
    """The key of what stands before an entity."""
    order = [unit for unit in units if not unit.blank]
    at = next(number for number, unit in enumerate(order) if unit.entity == name)
    return key(order[at - 1]) if at else b""
