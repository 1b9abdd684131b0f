"""Source text and logs as a terminal may get them."""

from cli.app import printable


def shown(text: str) -> str:
    """`text` with its tabs, which do no harm, and nothing else that could steer a terminal."""
    return "\t".join(printable(part) for part in text.split("\t"))


def tail(data: bytes, lines: int) -> list[str]:
    """The last lines of a log, printable. Of a progress bar that rewrites its line, the last state counts."""
    text = data[-200 * 1024 :].decode("utf-8", "replace").replace("\r\n", "\n").rstrip()
    return [shown(line.rpartition("\r")[2]) for line in text.split("\n")[-lines:]] if text else []
