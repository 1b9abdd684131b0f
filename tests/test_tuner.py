"""The tuner: what it finds, how it moves it, and that it leaves everything else alone."""

import ast
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.proposer import ProposalFailed, Proposer, Task
from agent.tuner import Constant, Tuner, candidates, moves, rewrite

TRAIN = b"""\
# Everything to tune is here.
import math

ASPECT_RATIO = 64       # width = depth * ratio
TOTAL_BATCH = 2**19  # tokens
BETAS = (0.9, 0.95)
LR: float = 1e-3
WARMUP = 0.0; DEPTH = 8
USE_BIAS = False
SEED = 42
TIME_BUDGET = 300
__version__ = 3
hidden = 768
NAME = "x1"
LIST = [x for x in range(3)]
if DEPTH > 3:
    NESTED = 5
def f(k=3):
    INNER = 1
"""


def literal(text: str, name: str = "X") -> Constant:
    return Constant(name, text, 0, len(text))


def named(source: bytes) -> dict[str, str]:
    return {constant.name: constant.text for constant in candidates(source)}


class Bench:
    """A workspace with one memory of everything that was ever sealed from it."""

    def __init__(self, folder: Path, **files: bytes) -> None:
        self.folder = folder
        self.files = {name.replace("_", ".", 1): data for name, data in files.items()}
        self.reset()
        self.sealed = {self.content()}

    def reset(self) -> None:
        for name, data in self.files.items():
            (self.folder / name).write_bytes(data)

    def content(self) -> tuple[bytes, ...]:
        return tuple((self.folder / name).read_bytes() for name in self.files)

    def task(self, seed: int = 0, stop: bool = False) -> Task:
        return Task(
            workspace=self.folder,
            editable=tuple(self.files),
            brief="",
            rng=random.Random(seed),
            known=lambda: self.content() in self.sealed,
            stop=lambda: stop,
        )

    def propose(self, seed: int = 0) -> tuple[str, tuple[bytes, ...]]:
        """The reason and the content of one new proposal on the original files, which is sealed."""
        self.reset()
        reason = Tuner().propose(self.task(seed))
        self.sealed.add(self.content())
        return reason, self.content()


def test_it_is_a_proposer() -> None:
    proposer: Proposer = Tuner()
    assert proposer.name == "tuner"


# Finding


def test_module_level_constants_are_found_and_seeds_and_budgets_are_not() -> None:
    assert named(TRAIN) == {
        "ASPECT_RATIO": "64",
        "TOTAL_BATCH": "2**19",
        "BETAS[0]": "0.9",
        "BETAS[1]": "0.95",
        "LR": "1e-3",
        "WARMUP": "0.0",
        "DEPTH": "8",
        "USE_BIAS": "False",
        "hidden": "768",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("SEED", "seed", "SEED2", "MANUAL_SEED", "RANDOM_STATE", "randomState", "RNG", "TIME_BUDGET", "MAX_SECONDS"),
        *("COMPUTE_BUDGET", "timeout", "VERSION", "__version__", "MAX_TIME", "LOG_EVERY", "VERBOSE", "PORT"),
    ],
)
def test_names_whose_change_is_no_experiment_are_left_alone(name: str) -> None:
    assert candidates(f"{name} = 7\n".encode()) == []


@pytest.mark.parametrize("name", ["LR", "lr", "TIMESTEPS", "CONVERSION", "HEADS", "_WIDTH", "reportRate"])
def test_names_that_only_resemble_them_are_taken(name: str) -> None:
    assert named(f"{name} = 7\n".encode()) == {name: "7"}


@pytest.mark.parametrize(
    "source",
    [
        b"A = (\n",
        b"A = 1\x00\n",
        b"A = \xff\n",
        b"# coding: no-such\nA = 1\n",
        b"# coding: utf-7\nA = 1\n",
        b"A = " + b"(" * 100_000 + b"1" + b")" * 100_000,
        b"A = " + b"1+" * 100_000 + b"1",
        b"A = " + b"-" * 100_000 + b"1",
        b"A = " + b"1+" * 1_500 + b"1\nB = 2\n",
        b"",
    ],
)
def test_a_source_that_cannot_be_read_offers_nothing(source: bytes) -> None:
    assert candidates(source) == []


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbfA = 0.5 # \xc3\xa9\r\nB = 2\r\n",
        b"# coding: latin-1\n# \xe9\xe8\nA = 0.5; '\xe9'; B = 2",
        b"'\xc3\xa9\xe2\x82\xac'; A = 0.5\nB = 2\n\n   ",
        b"A = 0.5\n\x0c\nB=2 \\\n\n",
        b"A = (0.5)\rB = (  2)\r",
        b"X = '''\n\n'''; A = 0.5\r\n\n\rB = 2",
        b"r = '\\d'; s = '\xc2\x85\xe2\x80\xa8'\nA = 0.5\nB = 2\n",
        b'A = 0.5\nX = "\\d"\nB = 2\n',
    ],
)
def test_positions_hold_in_every_encoding_and_line_ending(source: bytes) -> None:
    assert named(source) == {"A": "0.5", "B": "2"}
    for constant in candidates(source):
        changed = rewrite(source, [(constant, "7")])
        assert changed == source[: constant.start] + b"7" + source[constant.end :]


def test_what_is_not_a_plain_literal_is_no_candidate() -> None:
    source = (
        b"A = 1 + 2\nB = 3j\nC = f(4)\nD = 10**3\nE = (2)**3\nF = x = 5\nG.h = 6\nI = -1\nJ: int\nk = True\nL = 1e999\n"
    )
    assert candidates(source) == []
    assert candidates(b"DATA = [" + b"1, " * 9 + b"]") == []


# Moving


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", ["1.5e-3", "2e-3", "3e-3", "6.67e-4", "5e-4", "3.33e-4"]),
        ("0.1", ["0.15", "0.2", "0.3", "0.0667", "0.05", "0.0333"]),
        ("0.5", ["0.75", "0.333", "0.25", "0.167"]),
        ("0.9", ["0.85", "0.8", "0.7", "0.933", "0.95", "0.967"]),
        ("0.999", ["0.9985", "0.998", "0.997", "0.99933", "0.9995", "0.99967"]),
        (".2", [".3", ".4", ".6", ".133", ".1", ".0667"]),
        ("1.0", ["1.5", "2.0", "3.0", "0.667", "0.5", "0.333"]),
        ("-0.5", ["-0.75", "-0.333", "-0.25", "-0.167"]),
        ("0.0", ["0.1", "0.01"]),
        ("2.0E+05", ["3.0E+05", "4.0E+05", "6.0E+05", "1.33E+05", "1.0E+05", "6.67E+04"]),
        ("20_000.0", ["30_000.0", "40_000.0", "60_000.0", "13_300.0", "10_000.0", "6_670.0"]),
        ("0", ["1"]),
        ("1", ["2"]),
        ("4", ["8", "2", "5", "3"]),
        ("768", ["1536", "384"]),
        ("65_536", ["131_072", "32_768"]),
        ("0xFF", ["0x1FE", "0x7F"]),
        ("0x1_0000", ["0x2_0000", "0x8000"]),
        ("0b10", ["0b100", "0b1", "0b11"]),
        ("2**18", ["2**19", "2**17"]),
        ("2 ** 0", ["2 ** 1"]),
        ("2**10 * 3", ["2**11 * 3", "2**9 * 3"]),
        ("40 * 1024", ["80 * 1024", "20 * 1024"]),
        ("6 * 2**10", ["12 * 2**10", "3 * 2**10", "7 * 2**10", "5 * 2**10"]),
        ("True", ["False"]),
        ("False", ["True"]),
        ("-1", []),
        ("1e999", []),
        ("5e-324", ["9.88e-324", "1.48e-323"]),
        ("1.7e308", ["1.13e308", "8.5e307", "5.67e307"]),
    ],
)
def test_moves_keep_the_notation(text: str, expected: list[str]) -> None:
    assert moves(literal(text)) == expected


@pytest.mark.parametrize("name", ["KEEP_PROB", "FINAL_FRAC", "warmup_ratio", "DROPOUT"])
def test_a_fraction_of_one_only_shrinks(name: str) -> None:
    assert all(0 < float(text) < 1 for text in moves(literal("1.0", name)))


numbers = st.one_of(
    st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(min_value=0, max_value=10, places=4).map(str),
    st.builds(lambda m, e, c: f"{m}{c}{e}", st.integers(0, 999), st.integers(-30, 30), st.sampled_from("eE")),
    st.integers(0, 10**9).flatmap(lambda n: st.sampled_from([str(n), f"{n:_}", hex(n), oct(n), bin(n), f"{n:#_x}"])),
    st.integers(0, 40).map(lambda n: f"2**{n}"),
)


@given(sign=st.sampled_from(["", "-"]), text=numbers)
def test_every_move_is_another_number_on_the_same_side(sign: str, text: str) -> None:
    old = eval(text)
    moved = moves(literal(sign + text))
    assert len(set(moved)) == len(moved)
    for new in moved:
        assert new.startswith(sign)
        value = eval(new.removeprefix("-"))
        assert type(value) is type(old)
        assert value != old
        assert 0 < value < float("inf")
        if isinstance(old, float) and 0 <= old < 1:
            assert value < 1
        assert ("e" in new.lower()) == ("e" in text.lower()) or text.startswith("0x")


# Rewriting

values = st.one_of(
    numbers,
    numbers.map("-{}".format),
    st.lists(numbers, min_size=1, max_size=3).map(lambda texts: f"({', '.join(texts)},)"),
    st.sampled_from(["True", "None", "'0.5'", "1 + 2", "f(3)", "4 * 1024"]),
)
names = st.sampled_from(["LR", "DEPTH", "beta", "SEED", "TIME_BUDGET", "RANDOM_STATE", "WIDTH_2", "Ünicode"])
statements = st.builds(
    "{}{}={}{}{}".format, names, st.sampled_from(["", " ", "\t", " : int "]), st.sampled_from(["", "  "]), values,
    st.sampled_from(["", "  # é 0.1", " ;pass"]),
)  # fmt: skip
sources = st.builds(
    lambda lines, newline, last: (newline.join(lines) + last).encode(),
    st.lists(st.one_of(statements, st.sampled_from(["", "# 1", "if 1:\n    LR = 3", "\x0c", "    "])), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\n", "\r\n", "   "]),
)


def values_by_name(source: bytes) -> dict[tuple[int, str], str]:
    tree = ast.parse(source)
    nodes = (node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    return {
        (line, ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)): ast.dump(node)
        for line, node in enumerate(nodes)
    }


@given(source=sources, data=st.data())
def test_a_rewrite_parses_and_differs_in_exactly_the_named_constants(source: bytes, data: st.DataObject) -> None:
    found = candidates(source)
    if not found:
        return
    chosen = data.draw(st.lists(st.sampled_from(found), min_size=1, max_size=2, unique=True))
    edits = [(constant, data.draw(st.sampled_from(moves(constant)))) for constant in chosen]
    changed = rewrite(source, edits)
    before, after = values_by_name(source), values_by_name(changed)
    differing = {name for (line, name), value in before.items() if after[line, name] != value}
    assert before.keys() == after.keys()
    assert differing == {constant.name.partition("[")[0] for constant in chosen}
    assert not differing & {"SEED", "TIME_BUDGET", "RANDOM_STATE"}
    # Undoing each splice at its shifted place gives the very bytes back.
    for constant, text in sorted(edits, key=lambda edit: edit[0].start):
        assert changed[constant.start : constant.start + len(text)] == text.encode()
        changed = changed[: constant.start] + constant.text.encode() + changed[constant.start + len(text) :]
    assert changed == source


def test_a_constant_of_other_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="LR"):
        rewrite(b"# new line\nLR = 1\n", [(candidates(b"LR = 1\n")[0], "2")])


# Proposing


def test_a_proposal_names_what_it_changed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, train_py=b"LR = 0.001\n")
    reason, (content,) = bench.propose()
    new = content.decode().removeprefix("LR = ").strip()
    assert reason == f"LR 0.001 -> {new}"


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_is_proposed_twice_and_everything_is_proposed(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(tmp_path_factory.mktemp("w"), train_py=b"A = 4  # a\nB = (0.5, 2**3)\nSEED = 1\nc = True\n")
    # 4, 4 and 2 moves alone, and every pair of distinct constants.
    contents = [bench.propose(seed)[1] for _ in range((4 + 4 + 2) + (4 * 4 + 4 * 2 + 4 * 2))]
    assert len(contents) == len(set(contents))
    with pytest.raises(ProposalFailed, match="nothing left to try: all of 42 changes"):
        bench.propose(seed)
    assert bench.content() == (bench.files["train.py"],)


def test_the_same_seed_proposes_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (Bench(tmp_path / name, train_py=TRAIN) for name in "ab")
    assert [one.propose(seed) for seed in range(20)] == [other.propose(seed) for seed in range(20)]


def test_most_proposals_change_one_constant_and_some_two(tmp_path: Path) -> None:
    bench = Bench(tmp_path, train_py=TRAIN)
    counts = [bench.propose(seed)[0].count(" -> ") for seed in range(40)]
    assert set(counts) == {1, 2}
    assert counts.count(1) > counts.count(2)


def test_names_in_capitals_come_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, train_py=b"width = 4\nDEPTH = 4\n")
    reasons = [bench.propose(seed)[0] for seed in range(8)]
    assert {reason.split()[0] for reason in reasons[:4]} == {"DEPTH"}
    assert {reason.split()[0] for reason in reasons[4:]} == {"width"}


def test_several_files_are_told_apart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a_py=b"LR = 0.1\n", b_py=b"LR = 0.1\n", notes_md=b"LR = 0.1\n", bad_py=b"LR = (\n")
    reasons = [bench.propose(seed)[0] for seed in range(10)]
    assert {part.split(":")[0] for reason in reasons for part in reason.split(", ")} == {"a.py", "b.py"}
    assert bench.content()[2:] == (b"LR = 0.1\n", b"LR = (\n")


def test_the_number_of_questions_is_bounded(tmp_path: Path) -> None:
    source = "".join(f"WIDTH_{index} = 4\n" for index in range(100)).encode()
    bench = Bench(tmp_path, train_py=source)
    asked = []

    def known() -> bool:
        asked.append(bench.content())
        return True

    task = Task(tmp_path, ("train.py",), "", random.Random(0), known, lambda: False)
    with pytest.raises(ProposalFailed, match="all of 200 changes"):
        Tuner().propose(task)
    assert len(asked) == len(set(asked)) == 200
    assert bench.content() == (source,)


def test_a_file_keeps_its_mode_and_is_restored_when_the_question_fails(tmp_path: Path) -> None:
    bench = Bench(tmp_path, train_py=b"LR = 0.1\n")
    (tmp_path / "train.py").chmod(0o755)

    def broken() -> bool:
        raise RuntimeError("the store is gone")

    with pytest.raises(RuntimeError, match="the store is gone"):
        Tuner().propose(Task(tmp_path, ("train.py",), "", random.Random(0), broken, lambda: False))
    assert bench.content() == (b"LR = 0.1\n",)
    Tuner().propose(bench.task())
    assert (tmp_path / "train.py").stat().st_mode & 0o777 == 0o755


def test_a_link_is_not_followed_out_of_the_workspace(tmp_path: Path) -> None:
    outside, workspace = tmp_path / "outside", tmp_path / "workspace"
    outside.mkdir()
    workspace.mkdir()
    (outside / "train.py").write_text("LR = 0.1\n")
    (workspace / "train.py").symlink_to(outside / "train.py")
    (workspace / "lib").symlink_to(outside)
    task = Task(workspace, ("train.py", "lib/train.py"), "", random.Random(0), lambda: False, lambda: False)
    with pytest.raises(ProposalFailed, match="no readable Python file"):
        Tuner().propose(task)
    assert (outside / "train.py").read_text() == "LR = 0.1\n"


def test_it_stops_when_the_loop_stops(tmp_path: Path) -> None:
    bench = Bench(tmp_path, train_py=TRAIN)
    with pytest.raises(ProposalFailed, match="asked to stop"):
        Tuner().propose(bench.task(stop=True))
    assert bench.content() == (TRAIN,)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"notes_md": b"LR = 1\n"}, "no editable Python file"),
        ({"a_py": b"print('no constants')\n"}, "no constant that could be moved in a.py"),
        ({"a_py": b"LR = (\n"}, "no constant that could be moved in a.py"),
        ({"a_py": b"#" * (1 << 20) + b"\nLR = 1\n"}, "no readable Python file among a.py"),
    ],
)
def test_nothing_to_move_is_a_reason(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(ProposalFailed, match=f"^{reason}$"):
        Tuner().propose(Bench(tmp_path, **files).task())
