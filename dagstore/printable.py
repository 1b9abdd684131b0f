"""Text from agents, experiments and files made safe to show: on a terminal, in a prompt, on one line."""

import re

_STYLING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def printable(text: str) -> str:
    """The text with everything that could command a terminal or hide from a reader as an escape.

    Kept are line ends, tabs and what Unicode calls printable; escaped are control characters, terminal sequences,
    bidirectional overrides, invisible and unassigned characters.
    """
    if text.isprintable():
        return str(text)
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str, limit: int = 200) -> str:
    """The text as one printable line of at most `limit` characters; colours go, white space becomes single blanks."""
    line = printable(" ".join(_STYLING.sub("", text).split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clean(text: str) -> str:
    """Text from a command line as valid Unicode; what cannot be said in UTF-8 becomes a replacement character."""
    return text.encode("utf-8", "replace").decode()
