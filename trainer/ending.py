"""How a command ended, as far as its trainer can see: a plain value."""

from dataclasses import dataclass

from dagstore.model import Ended


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended. `seconds` is wall clock, `peak_rss` bytes, `log` stdout and stderr together.

    Of `exit_code` and `signal` one is set; neither, if the command did not start or somebody else took its status.
    `peak_rss` is that of the largest process, 0 if it stayed below this trainer's own, which hides it.
    `host_peak` and `device_peak` are what all of it was seen to use at once, in bytes, 0 if unknown.
    `strays` counts the processes outside the command's group that had to be killed.
    `excess` says of what it took too much: `memory`, `device`, `disk` or `processes`.
    `disk_full` is true if the disk was, when it ended. `confined` is true if another program stood between, which may
    have failed to confine it. `pruned` says why its end was not worth waiting for; empty if nobody thought so.
    `failure` says why it could not be started; `errno` is 0 then if the reason is not the command itself. `blamed` is
    the word for that where `verdict` cannot know it.
    """

    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    pruned: str = ""
    seconds: float = 0.0
    log: bytes = b""
    log_dropped: int = 0
    peak_rss: int = 0
    strays: int = 0
    oom_killed: bool = False
    failure: str = ""
    errno: int = 0
    host_peak: int = 0
    device_peak: int = 0
    excess: str = ""
    disk_full: bool = False
    confined: bool = False
    blamed: Ended | None = None
