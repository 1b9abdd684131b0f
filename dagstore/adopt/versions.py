"""A version of a file, read with the help of another one that was read before.

Whole units that stand in both are taken as they are; only what stands between them is read. That is the same as to read
the whole file as long as what stands between is well-formed by itself and begins at the margin: a unit ends where the
next row at the margin begins.
"""

from dagstore.adopt.units import Reading, Series, Unit, Units

ANCHOR = 24
"""Bytes of a unit from which on it is looked for behind a change."""
MISSES = 256
"""Units that are looked for in vain, at most; then the file is too unlike the other version."""


def reread(data: bytes, like: Series) -> Series | None:
    """The series of `data`; None if it cannot be told from that of another version. Its lines mean nothing."""
    if like.reading is None or not _at_margin(like.units):
        return None
    units = _Version(data, like.units, like.reading).read()
    return None if units is None else like._replace(units=units)


def numbered(series: Series) -> Series:
    """The same series with the lines that its units have in the file, all of which they are."""
    line = 1
    units: list[Unit] = []
    for unit in series.units:
        by = line - unit.lines[0]
        units.append(unit.down(by) if by else unit)
        line += unit.count(b"\n")
    return series._replace(units=tuple(units))


class _Version:
    """Read up to the byte `at`, before which the first `number` of the known units stand as far as they are left."""

    def __init__(self, data: bytes, known: Units, reading: Reading) -> None:
        self.data = data
        self.known = known
        self.reading = reading
        self.units: list[Unit] = []
        self.at = self.number = self.misses = 0

    def read(self) -> Units | None:
        while self.at < len(self.data):
            self._take()
            if self.at < len(self.data):
                end = self._next()
                fresh = self._between(end)
                if fresh is None:
                    self._drop()
                    fresh = self._between(end)
                if fresh is None or self.misses > MISSES:
                    return None
                self.units += fresh
                self.at = end
        return tuple(self.units)

    def _take(self) -> None:
        """Takes the known units that come next."""
        while self.number < len(self.known) and self.data.startswith(self.known[self.number], self.at):
            self.units.append(self.known[self.number])
            self.at += len(self.known[self.number])
            self.number += 1

    def _drop(self) -> None:
        """Takes back the last unit that is not blank, and what is behind it: what follows belongs to it."""
        while self.units:
            unit = self.units.pop()
            self.at -= len(unit)
            if not unit.blank:
                break

    def _next(self) -> int:
        """Where the next known unit begins that is left; else the end."""
        for number in range(self.number, len(self.known)):
            unit = self.known[number]
            if len(unit) < ANCHOR or unit.blank:
                continue
            found = self.data.find(b"\n" + unit, self.at)
            self.misses += found < 0
            if found >= 0 or self.misses > MISSES:
                self.number = number
                return found + 1
        self.number = len(self.known)
        return len(self.data)

    def _between(self, end: int) -> Units | None:
        """What stands there up to the next known unit, if that can be told by itself."""
        data = self.data[self.at : end]
        units = None if data.rstrip().endswith(b"\\") else self.reading.units(data, 1)
        return units if units is None or _at_margin(units) else None


def _at_margin(units: Units) -> bool:
    """Whether all of them begin there; of comments it matters only before what is none."""
    solid = next((number for number, unit in enumerate(units) if not unit.blank), len(units))
    ahead = any(unit.strip() and unit[:1].isspace() for unit in units[:solid])
    return not ahead and not any(unit[:1].isspace() and not unit.blank for unit in units[solid:])
