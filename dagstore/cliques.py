"""Which of many go together: the largest set of which no two are at odds, nor more of them when all are together.

Who goes with whom is given as masks: bit j of number i. Of several largest sets that one is taken that has the smallest
number in which they differ, so whoever numbers better ones first gets the better ones.

networkx finds cliques too, but importing it takes longer (80 ms) than all else for ten nodes; which of several largest
it finds is left to chance, and it cannot be told of three that do not go together.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

STEPS = 50_000
"""Choices that are tried; beyond that the largest set so far has to do."""
TRIES = 16
"""Sets that may turn out to be at odds as a whole before one is put together member by member."""

Quarrel = Callable[[Sequence[int]], Collection[int]]
"""Which members of a set are at odds, maybe among others, when all of it are together; none if they go together."""


class Found(NamedTuple):
    """A set whose members go together. `exact`: no larger one was overlooked.

    It counts on it that those who are at odds remain so, whoever else is there.
    """

    members: tuple[int, ...]
    exact: bool


def together(friends: Sequence[int], quarrel: Quarrel, must: Collection[int] = ()) -> Found:
    """The largest set with all of `must` that `quarrel` has nothing to say of."""
    banned: list[int] = []
    for _ in range(TRIES):
        found = largest(friends, must, banned)
        culprits = quarrel(found.members)
        if not culprits:
            return found
        banned.append(_mask(_core(found.members, culprits, quarrel, must)))
    return Found(_one_by_one(friends, quarrel, must), exact=False)


def largest(
    friends: Sequence[int], must: Collection[int] = (), banned: Sequence[int] = (), steps: int = STEPS
) -> Found:
    """The largest set with all of `must`, in which any two go together and that has no set of `banned` in it.

    At most `steps` choices are tried in each part of the numbers that no quarrel links to the others.
    """
    search = _Search(friends, banned, steps)
    open = (1 << len(friends)) - 1
    for one in must:
        open &= friends[one]
    chosen = search.largest(_mask(must), open)
    return Found(tuple(_bits(chosen)), search.finished)


@dataclass(slots=True)
class _Search:
    """Sets are masks; `finished` turns false where not all of them were looked at."""

    friends: Sequence[int]
    banned: Sequence[int]
    steps: int
    finished: bool = True

    def largest(self, chosen: int, open: int) -> int:
        """`chosen` with as many of `open` as go with it; those that no quarrel links do not depend on each other."""
        found = chosen
        for part in self._parts(self._allowed(chosen, open)):
            found |= self._within(chosen, part)
        return found

    def _parts(self, open: int) -> Iterator[int]:
        while open:
            part, fresh = 0, open & -open
            while fresh:
                part |= fresh
                fresh = self._rivals(fresh) & open & ~part
            yield part
            open &= ~part

    def _rivals(self, some: int) -> int:
        """Whoever is at odds with one of them, in a pair or in a banned set."""
        rivals = 0
        for one in _bits(some):
            rivals |= ~self.friends[one]
        for ban in self.banned:
            rivals |= ban if ban & some else 0
        return rivals

    def _within(self, chosen: int, open: int) -> int:
        """With the smallest number first and without it afterwards, as long as that can give a larger set."""
        best, steps, stack = chosen, self.steps, [(chosen, open)]
        while stack and steps:
            chosen, open = stack.pop()
            if chosen.bit_count() > best.bit_count():
                best = chosen
            if chosen.bit_count() + self._bound(open) > best.bit_count():
                first, steps = open & -open, steps - 1
                friends = self.friends[first.bit_length() - 1]
                stack.append((chosen, open ^ first))
                stack.append((chosen | first, self._allowed(chosen | first, open & friends)))
        self.finished &= not stack
        return best

    def _allowed(self, chosen: int, open: int) -> int:
        """Without those that would complete a banned set."""
        for ban in self.banned:
            missing = ban & ~chosen
            if missing.bit_count() == 1:
                open &= ~missing
        return open

    def _bound(self, open: int) -> int:
        """At most so many go together: the colours of a colouring in which those that go together differ."""
        count = 0
        while open:
            count += 1
            rest = open
            while rest:
                one = rest & -rest
                open ^= one
                rest &= ~(self.friends[one.bit_length() - 1] | one)
        return count


def _core(
    members: Sequence[int], culprits: Collection[int], quarrel: Quarrel, must: Collection[int]
) -> tuple[int, ...]:
    """Members that are at odds, and none of whom can be left out for that."""
    core = tuple(sorted({*culprits, *must}))
    if len(core) < 2 or not quarrel(core):
        core = tuple(members)
    for one in reversed(core):
        rest = tuple(other for other in core if other != one)
        if one not in must and len(rest) > 1 and quarrel(rest):
            core = rest
    return core


def _one_by_one(friends: Sequence[int], quarrel: Quarrel, must: Collection[int]) -> tuple[int, ...]:
    """Each in turn that goes with those before it."""
    kept = sorted(must)
    for one in range(len(friends)):
        with_it = sorted({*kept, one})
        if all(friends[one] >> other & 1 for other in kept) and not quarrel(with_it):
            kept = with_it
    return tuple(kept)


def _mask(some: Collection[int]) -> int:
    return sum(1 << one for one in some)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        one = mask & -mask
        yield one.bit_length() - 1
        mask ^= one
