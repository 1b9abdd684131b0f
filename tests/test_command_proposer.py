"""The command proposer, with real programs: what they are told, what is believed, and that all of them end."""

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.command import CommandProposer, parse_command
from agent.proposer import ProposalFailed, Proposer, Task
from dagstore.errors import BadInput
from dagstore.printable import one_line

ENV = {"PATH": os.environ["PATH"]}


def task_in(workspace: Path, brief: str = "make it better", stop: Callable[[], bool] = lambda: False) -> Task:
    return Task(workspace, ("train.py",), brief, random.Random(0), lambda: False, stop)


def shell(script: str, timeout: float = 30, grace: float = 5) -> CommandProposer:
    return CommandProposer(["sh", "-c", script], ENV, timeout, grace=grace)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process still executes; a zombie that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return not Path("/proc/self").exists()


# What a program sees and says


def test_it_edits_the_workspace_and_says_why(tmp_path: Path) -> None:
    proposer: Proposer = shell("echo LR=2 > train.py; echo working; echo; echo 'a higher rate'; echo talk >&2")
    assert proposer.propose(task_in(tmp_path)) == "a higher rate"
    assert (tmp_path / "train.py").read_text() == "LR=2\n"
    assert proposer.name == "sh"


def test_a_written_reason_goes_before_the_last_line(tmp_path: Path) -> None:
    assert shell("printf ' deeper,\nthen\twider\n' > $DAG_WHY; echo done").propose(task_in(tmp_path)) == (
        "deeper, then wider"
    )


def test_the_brief_is_outside_the_workspace_and_gone_afterwards(tmp_path: Path) -> None:
    script = (
        'cat "$DAG_BRIEF" > seen; echo "$DAG_BRIEF" > where; echo "$DAG_WORKSPACE" > here; pwd -P > cwd; ls -A > all'
    )
    shell(script).propose(task_in(tmp_path, brief="# Goal\nlower é\n"))
    where = Path((tmp_path / "where").read_text().strip())
    assert (tmp_path / "seen").read_text(encoding="utf-8") == "# Goal\nlower é\n"
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)
    assert (tmp_path / "cwd").read_text().strip() == str(tmp_path.resolve())
    assert (tmp_path / "all").read_text().split() == ["all", "cwd", "here", "seen", "where"]
    assert not where.is_relative_to(tmp_path)
    assert not where.parent.exists()


def test_the_environment_is_what_was_given_and_stdin_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "leaked")
    proposer = CommandProposer(["sh", "-c", 'cat; echo "$SECRET:$GIVEN"'], ENV | {"GIVEN": "yes"}, 30)
    assert proposer.propose(task_in(tmp_path)) == ":yes"


def test_arguments_reach_the_program_as_they_are(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1:])"
    arguments = ["two words", "$HOME", "; touch pwned", "*"]
    proposer = CommandProposer([sys.executable, "-c", code, *arguments], ENV, 30)
    assert proposer.propose(task_in(tmp_path)) == str(arguments)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "echo only talk >&2",
        "echo; echo '   '; printf '\\033[0m\\n'",
        "mkfifo $DAG_WHY",
        "mkdir $DAG_WHY",
        "ln -s /etc/passwd $DAG_WHY",
        "rm $DAG_BRIEF; : > $DAG_WHY",
    ],
)
def test_a_program_that_gives_no_reason(tmp_path: Path, script: str) -> None:
    assert shell(script).propose(task_in(tmp_path)) == "(no reason given)"


def test_what_it_prints_is_data(tmp_path: Path) -> None:
    script = r"printf 'ok\n\033[31mred\033[0m \033]0;title\007 \010\302\233 \342\200\256txt \377\r\n'"
    assert (
        shell(script).propose(task_in(tmp_path))
        == r"red \x1b]0;title\x07 \x08\x9b \u202etxt " + "\N{REPLACEMENT CHARACTER}"
    )


def test_a_flood_of_output_blocks_nobody(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('e' * 3_000_000); sys.stdout.write('x' * 3_000_000 + '\\nend')"
    assert CommandProposer([sys.executable, "-c", code], ENV, 30).propose(task_in(tmp_path)) == "end"
    why = CommandProposer([sys.executable, "-c", "print('y' * 3_000_000)"], ENV, 30).propose(task_in(tmp_path))
    assert why == "y" * 199 + "…"


# Failing


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'cannot log in' >&2; echo out; exit 3", "sh exited with 3: cannot log in"),
        ("echo 'only out'; exit 1", "sh exited with 1: only out"),
        ("exit 7", "sh exited with 7: (no output)"),
        ("kill -9 $$", "sh was ended by signal 9: (no output)"),
        (r"printf '\033[31mbad\007\033[0m' >&2; exit 2", r"sh exited with 2: bad\x07"),
    ],
)
def test_another_exit_code_than_zero_fails(tmp_path: Path, script: str, reason: str) -> None:
    with pytest.raises(ProposalFailed) as failure:
        shell(script).propose(task_in(tmp_path))
    assert str(failure.value) == reason


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("no interpreter")
    for program in ("no-such-program", "./script", "bad\0name"):
        with pytest.raises(ProposalFailed, match="cannot start ") as failure:
            CommandProposer([program], ENV, 30).propose(task_in(tmp_path))
        assert one_line(program) in str(failure.value)
    with pytest.raises(ProposalFailed, match="gone"):
        shell("true").propose(task_in(tmp_path / "gone"))


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(ProposalFailed, match=r"^sh took longer than 0\.2 s$"):
        shell("sleep 600; true", timeout=0.2).propose(task_in(tmp_path))
    assert time.monotonic() - begin < 30


def test_it_ends_when_it_prints_too_much(tmp_path: Path) -> None:
    code = "import os, time; os.ftruncate(1, 257 << 20); time.sleep(600)"
    with pytest.raises(ProposalFailed, match="printed more than 256 MiB"):
        CommandProposer([sys.executable, "-c", code], ENV, 600).propose(task_in(tmp_path))


def test_it_may_tidy_up_before_it_ends(tmp_path: Path) -> None:
    script = "trap 'echo tidy > tidied; exit 0' TERM; : > ready; while :; do sleep 0.05; done"
    with pytest.raises(ProposalFailed, match=r"^sh was stopped with the loop$"):
        shell(script, grace=30).propose(task_in(tmp_path, stop=(tmp_path / "ready").exists))
    assert (tmp_path / "tidied").exists()


def test_one_that_ignores_the_request_is_ended_with_its_children(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        name = "child" if os.fork() == 0 else "parent"
        with open("." + name, "w") as file:
            file.write(str(os.getpid()))
        os.rename("." + name, name)
        time.sleep(600)
    """
    files = [tmp_path / "parent", tmp_path / "child"]
    task = task_in(tmp_path, stop=lambda: all(file.exists() for file in files))
    with pytest.raises(ProposalFailed, match="was stopped"):
        CommandProposer([sys.executable, "-c", code], ENV, 60, grace=0.3).propose(task)
    wait_for(lambda: not any(is_running(int(file.read_text())) for file in files))


def test_what_outlives_the_program_is_ended(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert shell("sleep 600 & echo $! > pid; echo left something").propose(task_in(tmp_path)) == "left something"
    assert time.monotonic() - begin < 30
    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_it_ends_when_the_loop_stops(tmp_path: Path) -> None:
    stop = threading.Event()
    failures: list[str] = []

    def propose() -> None:
        try:
            shell("echo $$ > pid; exec sleep 600", timeout=600).propose(task_in(tmp_path, stop=stop.is_set))
        except ProposalFailed as failure:
            failures.append(str(failure))

    thread = threading.Thread(target=propose)
    thread.start()
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    stop.set()
    thread.join(20)
    assert failures == ["sh was stopped with the loop"]
    assert not is_running(int(pid.read_text()))


# Text


def test_a_command_is_split_like_a_shell_would() -> None:
    assert parse_command("claude -p 'improve train.py' $X") == ("claude", "-p", "improve train.py", "$X")


@pytest.mark.parametrize("text", ["", "   ", "''", "claude 'open", "a\0b"])
def test_a_command_without_a_program_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse_command(text)
    assert refusal.value.hint


def test_an_empty_argument_list_is_refused() -> None:
    with pytest.raises(BadInput):
        CommandProposer([], ENV, 1)


@given(st.text(), st.integers(1, 300))
def test_printable_text_is_one_printable_line(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert shown == shown.strip()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=200))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert one_line(text) == text
