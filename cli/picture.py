"""Pictures as files: what a verb answers, as PNG or SVG. `--plot FILE` draws the answer instead of printing it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dagstore.errors import BadInput, NotFound, Refused

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dagstore.store import Store

SUFFIXES = (".png", ".svg")

F = TypeVar("F", bound=Callable[..., Any])


def plot_option(what: str) -> Callable[[F], F]:
    """`--plot FILE` for a verb whose answer can be drawn."""
    return click.option("--plot", metavar="FILE", help=f"Write a picture of {what} instead: FILE.png or FILE.svg.")


def save_picture(file: Path, draw: "Callable[[], Figure]") -> dict[str, Any]:
    """Write what `draw` gives into `file`; says where it is.

    `NotFound` if the directory is missing, `BadInput` on another suffix, `Refused` where matplotlib is.
    """
    check_picture(file)
    draw().savefig(file, format=file.suffix[1:].lower())
    return {"plot": str(file)}


def save_progress(store: "Store", ref: str | None, file: Path) -> dict[str, Any]:
    """Draw what was measured (of a node's lineage, or everything) into `file`; says what the picture shows."""
    check_picture(file)
    from dagstore.plot.progress import draw_progress, measured_progress

    progress = measured_progress(store, ref)
    draw_progress(progress).savefig(file, format=file.suffix[1:].lower())
    counts = {"experiments": len(progress.points), "measured": len(progress.measured())}
    return {"plot": str(file), **counts, "improvements": len(progress.improvements()) - 1, "best": progress.best}


def check_picture(file: Path) -> None:
    """Whether a picture can be written there, before anything is drawn."""
    if file.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{file.name!r} is no picture", hint="end the name in .png or .svg")
    if not file.parent.is_dir():
        raise NotFound(f"{file.parent} is no directory", hint="make it first")
    if any(importlib.util.find_spec(name) is None for name in ("matplotlib", "pandas")):
        raise Refused(
            "drawing needs matplotlib and pandas", hint="pip install 'dagstore[notebook]'", code="missing_extra"
        )
