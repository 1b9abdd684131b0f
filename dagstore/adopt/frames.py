"""What stands around and between the units of a series, put together again."""

from collections.abc import Iterable, Sequence

from dagstore.adopt.row import Placed
from dagstore.adopt.units import Series, Unit

Frame = tuple[bytes, bytes, bool]


def framed(ours: Series, versions: Iterable[tuple[Series, Series]]) -> Series:
    """`ours` with the brackets and the last comma of the first version that changed them, unless ours are others."""
    for base, new in versions:
        if _frame(base) != _frame(new) and (_frame(base) == _frame(ours) or not ours.units):
            opening, closing, trailing = _frame(new)
            return ours._replace(opening=opening, closing=closing, trailing=trailing)
    return ours


def _frame(series: Series) -> Frame:
    return series.opening, series.closing, series.trailing


def joined(frame: Series, ours: Sequence[Unit], placed: Sequence[Placed]) -> bytes:
    """The bytes of the units between the brackets of `frame`. What is as it was in `ours` keeps its white space."""
    if not frame.comma:
        return b"".join((frame.opening, *(unit for unit, _ in placed), frame.closing))
    parts = [frame.opening]
    for number, (unit, at) in enumerate(placed):
        split = len(unit) - unit.tail
        last = number == len(placed) - 1
        comma = not last or frame.trailing or (frame.kind == "tuple" and not number)
        parts += _gap(ours, number, unit, at), unit[:split], b"," if comma else b"", unit[split:]
    return b"".join((*parts, frame.closing))


def _gap(ours: Sequence[Unit], number: int, unit: Unit, at: int) -> bytes:
    """The white space before a unit; none where it begins with a line of its own."""
    if unit.gap is None:
        return b""
    if number == 0:
        return (ours[0].gap or b"") if ours else b""
    like = [ours[at]] if at > 0 else []
    return next((one.gap for one in (*like, *ours[1:]) if one.gap is not None), b" ")
