"""Which rung above plain lines a file is composed with, chosen by its name. A new rung is a new row here."""

from dagstore.adopt import assignments
from dagstore.adopt.outline import EMPTY, Syntax

PLAIN = Syntax(outline=lambda data: EMPTY, valid=lambda data: True, rung="lines")
PYTHON = Syntax(outline=assignments.outline, valid=assignments.compiles, rung="assignment")

BY_SUFFIX = {".py": PYTHON, ".pyi": PYTHON, ".pyw": PYTHON}


def syntax_of(path: str) -> Syntax:
    """The syntax of the file at `path`; plain lines unless a rung knows its suffix."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return BY_SUFFIX.get(dot + suffix.lower(), PLAIN) if stem else PLAIN
