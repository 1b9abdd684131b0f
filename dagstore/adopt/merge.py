"""What any number of donors made of one unit, put together: the rungs of the ladder.

A unit that all leave alone stays. What one parent wants, or several alike, is taken. Where they differ, the unit is
taken apart in every version and its parts are put together one by one; what cannot be taken apart is put together by
its lines or words, as far as those do not touch. What is left is a contradiction, about the smallest unit that both
changed: a resolution that is known is taken, else the side of the parent that is preferred.
"""

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from dagstore.adopt.choice import FAINT, Preference, sides
from dagstore.adopt.frames import framed, joined
from dagstore.adopt.moves import above, moved, placed_like, reordered
from dagstore.adopt.regions import called, rung_of
from dagstore.adopt.row import Inside, Judge, Placed, Row, Version, Wish
from dagstore.adopt.units import MARK, SPACE, Item, Parts, Series, Slots, Unit, Units
from dagstore.adopt.wraps import Rows, closed, opened
from dagstore.ids import NodeId
from dagstore.lines import split_lines
from dagstore.model import RESOLUTION, Decision

DEEPEST = 40
"""Levels of units within units; what lies deeper is taken as a whole."""
WORDY = 1 << 16
"""Bytes above which a text is not taken apart into words."""
COHERENT = frozenset({"simple", "item"})
"""What is contested as one with the comments around it, if its middle is: value and comment belong together."""
_WORD = re.compile(rb"\w+|\s+|[^\w\s]")


class Resolved(NamedTuple):
    """The text that a contradiction was resolved with before, at the depth of its sides, and by which node."""

    text: bytes
    node: NodeId


Resolve = Callable[[str, str, Sequence[bytes]], Resolved | None]
"""How a contradiction about these sides, in a region of a path, was resolved before; None if it was not."""


def unresolved(path: str, region: str, sides: Sequence[bytes]) -> None:
    """No contradiction was ever resolved."""
    del path, region, sides


@dataclass(frozen=True, slots=True)
class Merger:
    """Puts together the versions of the file at `path`; `primary` is whose version they are put onto."""

    path: str
    primary: NodeId
    preference: Preference
    resolve: Resolve
    prose: bool = False

    def unit(self, region: str, ours: Unit, wishes: Sequence[Wish], rung: str = "", *, depth: int = 0) -> Inside:
        """`rung` is what put the unit within reach, where lines alone would not have."""
        wishes = [wish for wish in wishes if wish.new != wish.base]
        others = [wish for wish in wishes if wish.new != ours]
        if not others:
            origins = {self.primary, *(wish.origin for wish in wishes)}
            engine = "identical" if ours.strip() else FAINT + "identical"
            return Inside(ours, (self._decided(region, engine, origins),) if wishes else ())
        contested = any(wish.base != ours for wish in others)
        if not contested and len({wish.new for wish in others}) == 1:
            origins = {wish.origin for wish in others}
            faint = "" if ours.strip() or others[0].new.strip() else FAINT
            engine = faint + ("identical" if len(origins) > 1 else rung or "one-side")
            return Inside(others[0].new, (self._decided(region, engine, origins),))
        return (
            self._by_parts(region, ours, others, rung, depth)
            or self._by_lines(region, ours, others)
            or self._by_words(region, ours, others)
            or self._against(region, ours, wishes if contested else others, contested=contested)
        )

    def series(
        self, region: str, ours: Series, versions: Sequence[Rows], *, depth: int, deep: bool = True, apart: bool = False
    ) -> tuple[list[Placed], tuple[Decision, ...]]:
        """The units of a series, and how each place of it was decided.

        Where one parent wraps what another one edits, both are made, unless that leaves more to contradictions.
        """
        wrapped = self._wrapped(region, ours, versions, depth, deep=deep) if not apart else None
        if wrapped and not any(decision.contradiction for decision in wrapped[1]):
            return wrapped
        plain = self._plain(region, ours, versions, depth=depth, deep=deep, apart=apart)
        return wrapped if wrapped and _contested(wrapped[1]) < _contested(plain[1]) else plain

    def _wrapped(
        self, region: str, ours: Series, versions: Sequence[Rows], depth: int, *, deep: bool
    ) -> tuple[list[Placed], tuple[Decision, ...]] | None:
        rows = opened(ours, versions)
        if rows is None:
            return None
        placed, decisions = self._plain(region, *rows, depth=depth, deep=deep, apart=False)
        whole = closed(placed, ours.reading) if ours.reading else None
        torn = any(MARK in side.text for decision in decisions for side in decision.sides)
        return None if whole is None or torn else (whole, decisions)

    def _plain(
        self, region: str, ours: Series, versions: Sequence[Rows], *, depth: int, deep: bool, apart: bool
    ) -> tuple[list[Placed], tuple[Decision, ...]]:
        moves = {origin: moved(base.units, new.units) for origin, base, new in versions}
        rows = [
            _in_order(ours.units, Version(origin, base.units, new.units), moves[origin])
            for origin, base, new in versions
        ]
        judge = Judge(
            lambda start, end, edits: called(region, ours, start, end, (edit.name for edit in edits)),
            lambda edit: rung_of(ours.kind, edit.new or edit.old, deep=deep),
            self._decided,
            lambda place, wishes, taken: self._rows_against(place, ours, wishes, taken),
            lambda place, unit, wishes, rung: self.unit(place, unit, wishes, rung, depth=depth + 1),
        )
        placed, decisions = Row(self.primary, ours.units, self.preference, judge, apart, deep).merge(rows)
        if any(moves.values()):
            placed, more = self._moved(region, ours, placed, versions, moves)
            decisions += more
        return placed, decisions

    # --- by parts ---

    def _by_parts(self, region: str, ours: Unit, wishes: Sequence[Wish], rung: str, depth: int) -> Inside | None:
        mine = ours.parts() if depth < DEEPEST else None
        if mine is None:
            return None
        news = [wish.new.parts() for wish in wishes]
        if not all(_like(mine, one) for one in news):
            return None
        bases = [_common(mine, news) if wish.base is None else wish.base.parts() for wish in wishes]
        if not all(one is None or _like(mine, one) for one in bases):
            return None
        versions = [(wish.origin, base, new) for wish, base, new in zip(wishes, bases, news, strict=True)]
        if isinstance(mine, Slots):
            return self._by_slots(region, ours, mine, versions, rung, depth)  # type: ignore[arg-type]
        return self._by_series(region, ours, mine, versions, depth)  # type: ignore[arg-type]

    def _by_slots(
        self,
        region: str,
        ours: Unit,
        mine: Slots,
        versions: Sequence[tuple[NodeId, Slots | None, Slots]],
        rung: str,
        depth: int,
    ) -> Inside | None:
        inside = [
            self.unit(
                region,
                slot,
                [Wish(origin, base.units[at] if base else None, new.units[at]) for origin, base, new in versions],
                rung_of(mine.kind, (), deep=True) or rung,
                depth=depth + 1,
            )
            for at, slot in enumerate(mine.units)
        ]
        if mine.kind in COHERENT and any(one.sides and one.region == region for one in inside[1].decisions):
            return None
        whole = ours.saying(b"".join(one.unit for one in inside))
        if mine.kind == "item":
            whole.gap, whole.tail = inside[0].unit.gap, len(inside[-1].unit)
        return Inside(whole, tuple(decision for one in inside for decision in one.decisions))

    def _by_series(self, region: str, ours: Unit, mine: Series, versions: Sequence[Rows], depth: int) -> Inside:
        placed, decisions = self.series(region, mine, versions, depth=depth)
        best_first = sorted(versions, key=lambda one: self.preference.rank(one[0]))
        frame = framed(mine, [(base, new) for _, base, new in best_first])
        return Inside(ours.saying(joined(frame, mine.units, placed)), decisions)

    # --- by lines and words ---

    def _by_lines(self, region: str, ours: Unit, wishes: Sequence[Wish]) -> Inside | None:
        versions = [ours, *(text for wish in wishes for text in (wish.base, wish.new) if text is not None)]
        if any(wish.base is None for wish in wishes) or not all(b"\n" in text.rstrip() for text in versions):
            return None
        return self._apart(region, ours, wishes, "line", split_lines, "lines")

    def _by_words(self, region: str, ours: Unit, wishes: Sequence[Wish]) -> Inside | None:
        written = ours.kind == SPACE or (self.prose and ours.kind == "line")
        short = len(ours) <= WORDY and all(wish.base is not None and len(wish.new) <= WORDY for wish in wishes)
        if not (written and short):
            return None
        return self._apart(region, ours, wishes, "word", _WORD.findall, "words")

    def _apart(
        self,
        region: str,
        ours: Unit,
        wishes: Sequence[Wish],
        kind: str,
        split: Callable[[bytes], list[bytes]],
        engine: str,
    ) -> Inside | None:
        """The unit put together of pieces, unless changes of different parents touch each other."""

        def row(data: bytes | None) -> Series:
            return Series(kind, tuple(Unit.of(piece, Item(kind)) for piece in split(data or b"")))

        versions = [(wish.origin, row(wish.base), row(wish.new)) for wish in wishes]
        placed, decisions = self.series(region, row(ours), versions, depth=DEEPEST, apart=True)
        if any(decision.sides for decision in decisions):
            return None
        origins = {origin for decision in decisions for origin in decision.origins}
        data = b"".join(unit for unit, _ in placed)
        return Inside(ours.saying(data, ours.tail), (self._decided(region, engine, origins),))

    # --- contradictions ---

    def _against(self, region: str, ours: Unit, wishes: Sequence[Wish], *, contested: bool) -> Inside:
        news = {wish.origin: wish.new for wish in wishes}
        if contested:
            news[self.primary] = ours
        best = self.preference.best(news)
        taken = {node for node, new in news.items() if new == news[best]}
        known, decision = self._settled(region, {node: bytes(new) for node, new in news.items()}, taken, ours.kind)
        return Inside(news[best] if known is None else ours.saying(known), (decision,))

    def _rows_against(
        self, region: str, ours: Series, wishes: dict[NodeId, Units], taken: set[NodeId]
    ) -> tuple[Units | None, Decision]:
        glue = b"," if ours.comma else b""
        wanted = {node: glue.join(units) for node, units in wishes.items()}
        known, decision = self._settled(region, wanted, taken, "")
        return None if known is None else (Unit.of(known),), decision

    def _settled(
        self, region: str, wanted: dict[NodeId, bytes], taken: set[NodeId], kind: str
    ) -> tuple[bytes | None, Decision]:
        """What this contradiction was resolved with before, if it was, and the decision."""
        said = sides(wanted)
        known = self.resolve(self.path, region or "*", [side.text for side in said])
        if known is not None:
            return known.text, self._decided(region, RESOLUTION, [known.node])._replace(sides=said)
        if kind == SPACE:  # what only people read is no contradiction
            return None, self._decided(region, "comment", taken)._replace(sides=said)
        return None, self._decided(region, "preference", taken)._replace(sides=said, contradiction=True)

    def _moved(
        self,
        region: str,
        ours: Series,
        placed: list[Placed],
        versions: Sequence[Rows],
        moves: dict[NodeId, frozenset[str]],
    ) -> tuple[list[Placed], tuple[Decision, ...]]:
        """Entities taken to where donors moved them; who is preferred is heard where they differ."""
        ahead = frozenset[str]().union(*(moved(base.units, ours.units) for _, base, _ in versions))
        taken: dict[NodeId, set[str]] = {}
        decisions = []
        for name in sorted(frozenset[str]().union(*moves.values())):
            wanted = {origin: above(new.units, name) for origin, _, new in versions if name in moves[origin]}
            if name in ahead:
                wanted[self.primary] = above(ours.units, name)
            best = self.preference.best(wanted)
            taken.setdefault(best, set()).add(name)
            origins = {origin for origin, before in wanted.items() if before == wanted[best]}
            decision = self._decided(f"{region}.{name}" if region else name, "entity", origins)
            if len(set(wanted.values())) > 1:
                decision = decision._replace(engine="preference", sides=sides(wanted), contradiction=True)
            decisions.append(decision)
        for origin, _, new in sorted(versions, key=lambda one: self.preference.rank(one[0]), reverse=True):
            placed = placed_like(placed, new.units, taken.get(origin, frozenset()))
        return placed, tuple(decisions)

    def _decided(self, region: str, engine: str, origins: Iterable[NodeId]) -> Decision:
        return Decision(self.path, region or "*", engine, tuple(sorted(origins)))


def _contested(decisions: Iterable[Decision]) -> int:
    """How many bytes the sides of contradictions have."""
    return sum(len(side.text) for decision in decisions if decision.contradiction for side in decision.sides)


def _in_order(ours: Units, version: Version, moves: Set[str]) -> Version:
    """A version in which the entities stand in the primary's order, as far as it had them in another one."""
    origin, base, new = version
    new = reordered(new, base, moves) if moves else new
    ahead = moved(base, ours)
    if ahead:
        base = reordered(base, ours, ahead)
        new = reordered(new, base, ahead)
    return Version(origin, base, new)


def _like(one: Parts, other: Parts) -> bool:
    """Whether two units are made in the same way, so that their parts answer each other."""
    if isinstance(one, Slots):
        return isinstance(other, Slots) and one.kind == other.kind and len(one.units) == len(other.units)
    return isinstance(one, Series) and isinstance(other, Series) and one.kind == other.kind


def _common(mine: Parts, news: Sequence[Parts]) -> Parts:
    """What several that added the same series have in common, in place of a base; slots have none."""
    if not isinstance(mine, Series):
        return None
    others = [one.units for one in news if isinstance(one, Series)]
    return mine._replace(units=tuple(unit for unit in mine.units if all(unit in some for some in others)))
