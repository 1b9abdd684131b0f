"""The picture of what single edits are worth: a point and an interval for each, the best on top."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dagstore.errors import NotFound
from dagstore.model import Direction
from dagstore.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP = 25
"""Edits that are drawn at most."""
ROW = 0.27
LABEL = 58
TEXT = 22


class Edited(Protocol):
    """What is known of one edit; see `store.effects()`."""

    @property
    def path(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def before(self) -> bytes: ...
    @property
    def after(self) -> bytes: ...
    @property
    def effect(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def n(self) -> int: ...


class Answer(Protocol):
    """What `store.effects()` gives."""

    @property
    def metric(self) -> str | None: ...
    @property
    def direction(self) -> Direction | None: ...
    @property
    def protocol(self) -> object: ...
    @property
    def platform(self) -> str | None: ...
    @property
    def nodes(self) -> int: ...
    @property
    def edits(self) -> Sequence[Edited]: ...


@dataclass(frozen=True, slots=True)
class Bar:
    """An edit: how much better it makes a node, between `low` and `high`, seen in `n` nodes."""

    label: str
    effect: float
    low: float
    high: float
    n: int


def bars(edits: Iterable[Edited]) -> list[Bar]:
    """The edits as they are labelled, best first."""
    found = [Bar(_label(one), one.effect, one.low, one.high, one.n) for one in edits]
    return sorted(found, key=lambda bar: -bar.effect)


def _label(edit: Edited) -> str:
    change = " → ".join(_brief(side) for side in (edit.before, edit.after))
    return style.text(f"{edit.path}:{edit.region}  {change}", LABEL)


def _brief(data: bytes) -> str:
    said = " ".join(data.decode("utf-8", "replace").split())
    return (said if len(said) <= TEXT else said[: TEXT - 1] + "…") or "∅"


def draw_effects(answer: Answer, top: int = TOP) -> "Figure":
    """The `top` edits that are furthest from no effect, best first; `NotFound` if there are none."""
    if not answer.edits:
        raise NotFound("no edit can be judged yet", hint="measure nodes and their parents with `dag run`")
    every = bars(answer.edits)
    kept = {id(bar) for bar in sorted(every, key=_strength)[:top]}
    shown = [bar for bar in every if id(bar) in kept]
    figure = style.figure(max(3.0, 1.9 + ROW * len(shown)))
    axes = figure.add_subplot()
    _draw_bars(axes, shown)
    _dress(axes, answer, shown, len(every))
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _strength(bar: Bar) -> tuple[bool, float]:
    """Those first of which the interval excludes zero, and then those with the largest effect."""
    return bar.low <= 0 <= bar.high, -abs(bar.effect)


def _sign(bar: Bar) -> int:
    return 1 if bar.low > 0 else -1 if bar.high < 0 else 0


def _draw_bars(axes: "Axes", shown: Sequence[Bar]) -> None:
    kinds = (
        ("helps", style.BLUE, "D", 1),
        ("hurts", style.VERMILION, "s", -1),
        ("cannot be told from no effect", style.GREY, "o", 0),
    )
    axes.axvline(0, color=style.INK, linewidth=0.9, zorder=1)
    for label, color, marker, sign in kinds:
        rows = [(row, bar) for row, bar in enumerate(shown) if _sign(bar) == sign]
        if rows:
            look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 5.5, "elinewidth": 1.5}
            arms = [[bar.effect - bar.low for _, bar in rows], [bar.high - bar.effect for _, bar in rows]]
            xs, ys = [bar.effect for _, bar in rows], [row for row, _ in rows]
            axes.errorbar(xs, ys, xerr=arms, linestyle="none", label=label, zorder=3, **look)


def _dress(axes: "Axes", answer: Answer, shown: Sequence[Bar], total: int) -> None:
    axes.set_yticks(range(len(shown)), [bar.label for bar in shown], fontsize=8.5)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    for row, bar in enumerate(shown):
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "fontsize": 8.5,
            "va": "center",
            "color": style.INK,
        }
        axes.annotate(f"n = {bar.n:,}", (1.01, row), **place)
    edits = f"{len(shown):,} of {total:,} edits" if len(shown) < total else style.count(total, "edit")
    where = f"{answer.platform}, protocol {str(answer.protocol)[:8]}"
    parts = [edits, style.count(answer.nodes, "node"), "90 % intervals", style.text(where, 60)]
    style.title(axes, f"What single edits do to {style.text(str(answer.metric), 30)}", parts)
    axes.set_xlabel(f"gain in {style.text(str(answer.metric), 40)} (right is better)", fontsize=10, parse_math=False)
    style.plain(axes, "x")
