"""What is kept of an experiment's output."""


class Log:
    """The first half and the last half of what was written, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = max(0, limit) // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, chunk: bytes) -> None:
        self._total += len(chunk)
        room = self._half - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 2 * self._half:
            del self._tail[: len(self._tail) - self._half]

    def text(self) -> tuple[bytes, int]:
        """The log, and how many bytes it leaves out.

        Half a line after the gap goes too, or shares the gap's line: alone, it could pass for another metric.
        """
        tail = bytes(self._tail[max(0, len(self._tail) - self._half) :])
        if self._total == len(self._head) + len(tail):
            return bytes(self._head) + tail, 0
        lines = tail.partition(b"\n")[2]
        dropped = self._total - len(self._head) - len(lines or tail)
        before = "" if self._head.endswith(b"\n") or not self._head else "\n"
        after = "\n" if lines else " "
        gap = f"{before}… {dropped} bytes left out …{after}".encode()
        return bytes(self._head) + gap + (lines or tail), dropped
