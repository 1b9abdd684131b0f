"""Matching a pattern of somebody's against texts of somebody's, within a time: both may be made to take for ever."""

import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from dagstore.errors import BadInput

_SHOWN = 100


class _Overdue(Exception):
    pass


def full_matches(pattern: str, texts: Iterable[tuple[str, str]], seconds: float) -> Iterator[str]:
    """Keys of the (key, text) pairs whose text as a whole matches the regular expression.

    `BadInput` if it cannot be compiled, or if that takes longer than `seconds` in all. The time is kept by the signal
    SIGALRM, which only the main thread of a process gets; in another thread there is no limit.
    """
    name = repr(pattern[:_SHOWN])
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"{name} is no regular expression: {error}", hint="see Python's `re`") from None
    try:
        with _alarm(seconds):
            found = [key for key, text in texts if compiled.fullmatch(text)]
    except _Overdue:
        raise BadInput(
            f"matching {name} takes longer than {seconds:g} s", hint="avoid repeats within repeats, such as (a+)+"
        ) from None
    return iter(found)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """`_Overdue` in the block after that time; an alarm that was set before is set again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise _Overdue

    handler = signal.signal(signal.SIGALRM, ring)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)
