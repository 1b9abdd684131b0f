"""How endings are called, and what people get to read of a log."""

import dataclasses
import errno
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.model import Status
from dagstore.printable import printable
from trainer.ending import Ending
from trainer.metrics import METRICS_FILE, Metrics
from trainer.process import Command, execute
from trainer.verdict import MAX_REASON, judge, tail

FINE = Ending(exit_code=0, seconds=300.0)
MEASURED = Metrics({"val_bpb": 0.9}, {})
NOTHING = Metrics({}, {})


def verdict(ending: Ending, metrics: Metrics = MEASURED, tampered: tuple[str, ...] = ()) -> tuple[Status, str]:
    return judge(ending, metrics, "val_bpb", tampered)[:2]


def crash(log: str, code: int = 1) -> tuple[Status, str]:
    return verdict(Ending(exit_code=code, log=log.encode()))


def test_a_measured_one_is_ok_and_needs_no_reason() -> None:
    assert verdict(FINE) == (Status.OK, "")


def test_what_ended_it_first_names_it() -> None:
    """Everything went wrong at once; then one thing after the other did not."""
    steps: list[tuple[Status, dict[str, object]]] = [
        (Status.CANCELLED, {"cancelled": False}),
        (Status.INFRA, {"failure": ""}),
        (Status.TAMPERED, {}),
        (Status.TIMEOUT, {"timed_out": False}),
        (Status.OOM, {"oom_killed": False}),
        (Status.CRASHED, {"signal": None, "exit_code": 0}),
        (Status.INVALID, {}),
    ]
    ending = Ending(
        signal=9, cancelled=True, failure="no", errno=errno.EAGAIN, timed_out=True, oom_killed=True, seconds=1.0
    )
    tampered: tuple[str, ...] = ("prepare.py",)
    for status, mended in steps:
        assert verdict(ending, NOTHING, tampered)[0] is status
        ending = dataclasses.replace(ending, **mended)  # type: ignore[arg-type]
        tampered = () if status is Status.TAMPERED else tampered


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EIO, 0])
def test_a_machine_that_cannot_start_it_is_infra(number: int) -> None:
    assert verdict(Ending(failure="x: why", errno=number)) == (Status.INFRA, "cannot start x: why")


def test_a_command_that_does_not_exist_is_the_charters_fault(tmp_path: Path) -> None:
    ending = execute(Command(("no-such-program",), tmp_path, {"PATH": "/bin"}, 1, 1, 100, "verdict-test"))
    assert verdict(ending) == (Status.CRASHED, "cannot start no-such-program: No such file or directory")


def test_a_folder_that_is_gone_is_not(tmp_path: Path) -> None:
    ending = execute(Command(("true",), tmp_path / "no", {"PATH": "/bin"}, 1, 1, 100, "verdict-test"))
    assert verdict(ending)[0] is Status.INFRA


def test_a_lost_status_is_infra() -> None:
    assert verdict(Ending()) == (Status.INFRA, "its exit status was lost")


def test_tampering_names_the_files_in_order() -> None:
    assert verdict(FINE, tampered=("b.py", "a.py")) == (Status.TAMPERED, "locked files were changed: a.py, b.py")


def test_invalid_says_what_was_there_instead() -> None:
    assert verdict(FINE, Metrics({}, {"val_bpb": "nan"})) == (Status.INVALID, "val_bpb is nan")
    assert verdict(FINE, Metrics({"loss": 1.0}, {"loss2": "nan"})) == (Status.INVALID, "val_bpb was not reported")
    unread = Metrics({}, {METRICS_FILE: "not a regular file"})
    assert verdict(FINE, unread)[1] == "val_bpb was not reported; $DAG_METRICS: not a regular file"


TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 1, in <module>\n    x\n'


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (TRACEBACK + "ValueError: bad shape\n", "ValueError: bad shape"),
        (TRACEBACK + "ValueError: bad shape\n[rank0] leaving\n", "ValueError: bad shape"),
        (TRACEBACK + "KeyError: 1\n\nDuring handling …\n\n" + TRACEBACK + "__main__.Diverged\n", "__main__.Diverged"),
        (TRACEBACK + "ValueError: bad\n  spread over lines\n", "ValueError: bad"),
        (
            "  File \"train.py\", line 3\n    x = (\n        ^\nSyntaxError: '(' was never closed\n",
            "SyntaxError: '(' was never closed",
        ),
        ("step 1\nsh: 1: nonsense: not found\n\n", "sh: 1: nonsense: not found"),
        ("10%\r20%\rgave up\r\n", "gave up"),
        ("bad \x1b[31mred\x1b[0m \u202eevil\x9b\n", "bad \\x1b[31mred\\x1b[0m \\u202eevil\\x9b"),
    ],
)
def test_a_crash_is_told_by_its_last_words(log: str, reason: str) -> None:
    assert crash(log) == (Status.CRASHED, f"exit code 1: {reason}")


def test_a_silent_crash_is_told_by_its_end() -> None:
    assert crash("", 7) == (Status.CRASHED, "exit code 7")
    assert verdict(Ending(signal=signal.SIGSEGV)) == (Status.CRASHED, "killed by SIGSEGV")
    assert verdict(Ending(signal=signal.SIGKILL)) == (Status.CRASHED, "killed by SIGKILL")
    assert verdict(Ending(signal=35, log=b"last")) == (Status.CRASHED, "killed by signal 35: last")


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "RuntimeError: CUDA out of memory.",
        "MemoryError",
        "MemoryError: Unable to allocate",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3. TiB",
        "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
        "OSError: [Errno 12] Cannot allocate memory",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying",
    ],
)
def test_running_out_of_memory_has_its_own_name(line: str) -> None:
    assert crash(TRACEBACK + line + "\nleaving\n") == (Status.OOM, f"exit code 1: {line}")
    assert verdict(Ending(exit_code=0, log=line.encode())) == (Status.OK, "")


def test_the_kernels_kill_for_memory_needs_no_log() -> None:
    ending = Ending(signal=signal.SIGKILL, oom_killed=True)
    assert verdict(ending) == (Status.OOM, "killed by SIGKILL: the machine ran out of memory")


def test_what_only_mentions_memory_is_a_crash() -> None:
    assert crash("class MyMemoryErrors\nValueError: x\n")[0] is Status.CRASHED


@given(st.text(), st.integers(0, 2), st.lists(st.text(), max_size=2))
def test_a_reason_is_one_short_printable_line(text: str, code: int, tampered: list[str]) -> None:
    log = text.encode("utf-8", "surrogatepass")
    _, reason, _ = judge(Ending(exit_code=code, log=log), NOTHING, "val_bpb", tampered)
    assert reason.isprintable()
    assert len(reason) <= MAX_REASON


def test_a_long_reason_is_cut() -> None:
    assert len(crash("ValueError: " + "x" * 5000)[1]) == MAX_REASON
    assert crash("ValueError: " + "x" * 5000)[1].endswith("x…")


def test_a_tail_is_what_a_terminal_would_show_without_its_commands() -> None:
    assert tail(b"a\n10%\r20%\rdone\r\n\x1b]0;title\x07\tb\xff\n\n") == "a\ndone\n\\x1b]0;title\\x07\tb\\xff"
    assert tail("é 漢 🙂".encode()) == "é 漢 🙂"
    assert tail(b"") == ""


def test_a_tail_keeps_the_end() -> None:
    log = b"".join(b"line %d\n" % number for number in range(100_000))
    assert len(tail(log)) == 2000
    assert tail(log).startswith("…")
    assert tail(log, 100).endswith("line 99998\nline 99999")


@given(st.binary(max_size=400), st.integers(1, 100))
def test_a_tail_is_always_printable_and_never_longer(log: bytes, limit: int) -> None:
    text = tail(log, limit)
    assert len(text) <= limit
    assert all(character.isprintable() or character in "\n\t" for character in text)


@pytest.mark.parametrize(
    "character",
    ["\x00", "\x1b", "\x7f", "\x9b", "\u061c", "\u200b", "\u2028", "\u202e", "\u2066", "\ufeff", "\U000e0001"],
)
def test_what_commands_or_hides_is_escaped(character: str) -> None:
    assert printable(f"a{character}b").isascii()
    assert printable(f"a{character}b").startswith("a\\")
