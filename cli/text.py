"""Logs as a terminal may get them."""

from dagstore.printable import printable


def tail(data: bytes, lines: int) -> list[str]:
    """The last lines of a log, printable. Of a progress bar that rewrites its line, the last state counts."""
    text = data[-200 * 1024 :].decode("utf-8", "replace").replace("\r\n", "\n").rstrip()
    return [printable(line.rpartition("\r")[2]) for line in text.split("\n")[-lines:]] if text else []
