"""Pictures as files: the progress of a store as PNG or SVG."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagstore.errors import BadInput, NotFound, Refused

if TYPE_CHECKING:
    from dagstore.store import Store

SUFFIXES = (".png", ".svg")


def save_progress(store: "Store", ref: str | None, file: Path) -> dict[str, Any]:
    """Draw what was measured (of a node's lineage, or everything) into `file`; says what the picture shows.

    `NotFound` if nothing was measured or the directory is missing, `BadInput` on another suffix.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{file.name!r} is no picture", hint="end the name in .png or .svg")
    if not file.parent.is_dir():
        raise NotFound(f"{file.parent} is no directory", hint="make it first")
    if importlib.util.find_spec("matplotlib") is None:
        raise Refused("drawing needs matplotlib", hint="pip install 'dagstore[notebook]'", code="missing_extra")
    from dagstore.plot import draw_progress, measured_progress

    progress = measured_progress(store, ref)
    draw_progress(progress).savefig(file, format=file.suffix[1:].lower())
    counts = {"experiments": len(progress.points), "measured": len(progress.measured())}
    return {"plot": str(file), **counts, "improvements": len(progress.improvements()) - 1, "best": progress.best}
