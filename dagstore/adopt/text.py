"""The changes that any number of donors made to one text file, applied at once.

A file is taken apart as its syntax allows; where one of the versions is not well-formed, into lines. A result that is
not well-formed, or defines a name twice, although no version did so, gives way to as many donors as go together, best
first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dagstore.adopt.choice import Preference, needed, sides
from dagstore.adopt.merge import Merger, Resolve, unresolved
from dagstore.adopt.syntax import Text, doubled
from dagstore.adopt.units import Unit
from dagstore.adopt.wraps import Rows
from dagstore.ids import NodeId
from dagstore.model import Decision


@dataclass(frozen=True, slots=True)
class Contribution:
    """What `origin` made of `base`: `text`."""

    origin: NodeId
    base: Text
    text: Text


@dataclass(frozen=True, slots=True)
class Merged:
    """The composed file and how each of its regions was decided, in file order."""

    data: bytes
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """The primary's version of the file at `path`, and who is heard first about it."""

    path: str
    primary_id: NodeId
    primary: Text
    preference: Preference
    resolve: Resolve

    def merge(self, contributions: Iterable[Contribution], *, checked: bool = True) -> Merged:
        """The file with all contributions; their order does not matter. Well-formed, if it is `checked`."""
        given = sorted(contributions, key=lambda one: one.origin)
        if not checked:
            return self._together(given)[0]
        # A resolution from elsewhere may not fit here.
        anew = replace(self, resolve=unresolved)
        return self._sound(given, given) or anew._sound(given, given) or anew._as_many_as_go(given)

    def _sound(self, some: Sequence[Contribution], given: Sequence[Contribution]) -> Merged | None:
        """The file with some of the contributions, if it is well-formed and defines each name once, as far as all
        versions do.
        """
        merged, units = self._together(some)
        versions = [self.primary, *(one.text for one in given)]
        if any(merged.data == text.data for text in versions):
            return merged
        twice = doubled(units)
        if twice and twice.difference(*(text.doubled for text in versions)):
            return None
        fresh = [unit for unit in units if not any(unit in text.known for text in versions)]
        sound = self.primary.syntax.sound(merged.data, fresh)
        return merged if sound or not all(version.valid for version in versions) else None

    def _together(self, given: Sequence[Contribution]) -> tuple[Merged, list[Unit]]:
        texts = [self.primary, *(text for one in given for text in (one.base, one.text))]
        structured = all(text.series is not None for text in texts)
        ours = (self.primary.series if structured else None) or self.primary.lines
        rows: list[Rows] = [
            (one.origin, one.base.series or one.base.lines, one.text.series or one.text.lines)
            if structured
            else (one.origin, one.base.lines, one.text.lines)
            for one in given
        ]
        prose = not self.primary.syntax.language
        merger = Merger(self.path, self.primary_id, self.preference, self.resolve, prose=prose)
        placed, decisions = merger.series("", ours, rows, depth=0, deep=False)
        units = [unit for unit, _ in placed]
        data = b"".join((ours.opening, *units, ours.closing))
        ended, ending = self._ending(given, decisions)
        return Merged(data if ended or not data else data[:-1], needed((*decisions, *ending))), units

    def _ending(
        self, given: Sequence[Contribution], decisions: Sequence[Decision]
    ) -> tuple[bool, tuple[Decision, ...]]:
        """Whether the last line ends with a line feed, and who decided so if nothing else was decided of them."""
        changed = {one.origin for one in given if one.base.ended != one.text.ended != self.primary.ended}
        if not changed:
            return self.primary.ended, ()
        silent = changed - {origin for decision in decisions for origin in decision.origins}
        if silent != changed:
            return not self.primary.ended, ()
        last = len(self.primary.lines.units)
        engine = "one-side" if len(silent) == 1 else "identical"
        return not self.primary.ended, (Decision(self.path, f"L{last}-{last}", engine, tuple(sorted(silent))),)

    def _as_many_as_go(self, given: Sequence[Contribution]) -> Merged:
        kept: list[Contribution] = []
        best_first = sorted(given, key=lambda one: self.preference.rank(one.origin))
        for one in best_first:
            trial = sorted([*kept, one], key=lambda some: some.origin)
            if self._sound(trial, given):
                kept = trial
        best = best_first[0]
        if best not in kept and self.preference.best([best.origin, self.primary_id]) == best.origin:
            return self._whole(Merged(best.text.data, ()), [best.origin], given)
        return self._whole(self._together(kept)[0], [one.origin for one in kept] or [self.primary_id], given)

    def _whole(self, merged: Merged, origins: Sequence[NodeId], given: Sequence[Contribution]) -> Merged:
        wishes = {self.primary_id: self.primary.data} | {one.origin: one.text.data for one in given}
        decision = Decision(self.path, "*", "preference", tuple(sorted(origins)), sides(wishes), contradiction=True)
        return Merged(merged.data, (decision, *merged.decisions))
