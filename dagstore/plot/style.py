"""What all pictures share: colours that colour-blind people can tell apart, a shape for each kind, titles, labels.

Colours are those of Okabe and Ito (2008), "Color universal design"; shades of one quantity are cividis (Nuñez,
Anderton and Renslow 2018).
"""

from collections.abc import Iterable, Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dagstore.model import Direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE, INK = "#8C8C8C", "#E6E6E6", "#333333"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK, GREY)
MARKERS = "osD^vP*X"
SHADES = "cividis"
WIDTH, HEIGHT, DPI, SHOWN_DPI = 11.0, 5.5, 150, 90
"""Inches, and dots an inch of a file and in a notebook."""
LABEL_POINTS = 8.5
LETTER = 0.58
"""The width of a letter, generously, in units of the size of the text."""
MANY = 3_000
"""Marks that are drawn as an image from there on, also in an SVG."""
FENCE = 3.0
"""How many interquartile ranges from the middle half a value may be and still be in view."""
HUGE = 1e300
"""Beyond this, axes cannot be computed with."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""


class Mark(NamedTuple):
    """A text that may stand beside the dot at (x, y), in points."""

    x: float
    y: float
    text: str


class Placed(NamedTuple):
    """The mark of that number stands left or right of its dot, above or below."""

    mark: int
    left: bool
    above: bool
    box: Box


def figure(height: float = HEIGHT) -> "Figure":
    """An empty figure that no state of pyplot knows of, and that shows itself in a notebook."""
    return _picture()(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


@cache
def _picture() -> "type[Figure]":
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            data = BytesIO()
            self.savefig(data, format="png", dpi=SHOWN_DPI)
            return data.getvalue()

    return Picture


def title(axes: "Axes", headline: str, parts: Iterable[str]) -> None:
    """What is shown in bold, and in a line below which runs it is about."""
    axes.set_title(headline, loc="left", fontsize=14, fontweight="bold", pad=24, parse_math=False)
    look: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    said = " · ".join(part for part in parts if part)
    axes.annotate(said, (0, 1), xytext=(0, 6), fontsize=9.5, color="#555555", parse_math=False, **look)


def plain(axes: "Axes", grid: Literal["both", "x", "y"] = "y") -> None:
    """A frame of two sides, numbers in full, and thin lines to read them by."""
    if grid in ("y", "both"):
        axes.yaxis.set_major_formatter("{x:.6g}")
    if grid in ("x", "both"):
        axes.xaxis.set_major_formatter("{x:.6g}")
    axes.grid(axis=grid, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def better(direction: Direction) -> str:
    return "lower is better" if direction is Direction.MINIMIZE else "higher is better"


def in_view(values: Iterable[float], fence: float = FENCE) -> tuple[float, float]:
    """The smallest and largest that are within so many interquartile ranges of the middle half of them."""
    ordered = sorted(map(bounded, values))
    q1, q3 = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    reach = fence * (q3 - q1 or 0.01 * abs(q1) or 0.01)
    seen = [value for value in ordered if q1 - value <= reach and value - q3 <= reach]
    return seen[0], seen[-1]


def bounded(value: float) -> float:
    return max(-HUGE, min(HUGE, value))


def text(value: str, length: int) -> str:
    """The first line of a text, cut to `length`, in characters that the font has."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    line = next(iter(value.strip().splitlines()), "")
    shown = "".join(char if font.get_char_index(ord(char)) else "?" for char in line if char.isprintable())
    return shown if len(shown) <= length else shown[: length - 1].rstrip() + "…"


def count(number: int, what: str, several: str = "") -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def size_of(dots: int) -> float:
    """The area of a dot where there are so many, in square points."""
    return 18.0 if dots <= 300 else 9.0 if dots <= MANY else 4.0


def place(
    marks: Sequence[Mark],
    dots: Sequence[tuple[float, float]],
    room: tuple[float, float],
    most: int,
    sides: Sequence[tuple[bool, bool]] = ((False, True), (True, True), (False, False), (True, False)),
) -> list[Placed]:
    """Where at most `most` texts stand so that they touch no dot and no other text; the first ones have the choice.

    `sides` are (left, above), the preferred one first.
    """
    placed: list[Placed] = []
    for number, mark in enumerate(marks):
        if len(placed) == most:
            break
        for left, above in sides:
            box = _box(mark, left=left, above=above)
            if mark.text and _is_free(box, dots, placed, room):
                placed.append(Placed(number, left, above, box))
                break
    return placed


def annotate(axes: "Axes", xy: tuple[float, float], said: str, *, left: bool, above: bool, **more: Any) -> None:
    axes.annotate(
        said,
        xy,
        xytext=(-5 if left else 5, 3 if above else -3),
        textcoords="offset points",
        ha="right" if left else "left",
        va="bottom" if above else "top",
        fontsize=LABEL_POINTS,
        color=INK,
        parse_math=False,
        **more,
    )


def _box(mark: Mark, *, left: bool, above: bool) -> Box:
    width, height = LETTER * LABEL_POINTS * len(mark.text) + 4, 1.4 * LABEL_POINTS
    x = mark.x - 4 - width if left else mark.x + 4
    y = mark.y + 2 if above else mark.y - 2 - height
    return x, y, x + width, y + height


def _is_free(
    box: Box, dots: Iterable[tuple[float, float]], placed: Iterable[Placed], room: tuple[float, float]
) -> bool:
    x0, y0, x1, y1 = box
    inside = x0 > 0 and y0 > 0 and x1 < room[0] and y1 < room[1]
    apart = all(x1 < a or c < x0 or y1 < b or d < y0 for a, b, c, d in (one.box for one in placed))
    return inside and apart and not any(x0 < x < x1 and y0 < y < y1 for x, y in dots)
