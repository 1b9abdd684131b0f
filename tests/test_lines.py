"""Lines, hunks, counts and unified diffs."""

import subprocess
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.lines import (
    Hunk,
    changed_lines,
    common_affixes,
    count_changes,
    hunks,
    is_text,
    multiset_distance,
    split_lines,
    unified,
)

FILES = st.binary(max_size=40) | st.lists(
    st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"\n", b"d", b"\xff\n"]), max_size=12
).map(b"".join)
AFFIXED = st.text("ab", max_size=9).map(str.encode)
LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n"]), max_size=15)


def patched(old: list[bytes], found: list[Hunk]) -> list[bytes]:
    out = list(old)
    for hunk in reversed(found):
        out[hunk.start : hunk.end] = hunk.new_lines
    return out


@given(FILES)
def test_lines_joined_are_the_file(data: bytes) -> None:
    lines = split_lines(data)
    assert b"".join(lines) == data
    assert all(line.endswith(b"\n") for line in lines[:-1])
    assert all(line.count(b"\n") <= 1 for line in lines)
    assert b"" not in lines


def test_only_line_feeds_split() -> None:
    assert split_lines(b"a\rb\x0bc\r\n\x0cd") == [b"a\rb\x0bc\r\n", b"\x0cd"]


def test_text_has_no_nul() -> None:
    assert is_text(b"caf\xe9\n")
    assert not is_text(b"\x89PNG\0")


@given(LINES, LINES)
def test_hunks_turn_old_into_new(old: list[bytes], new: list[bytes]) -> None:
    found = hunks(old, new)
    assert patched(old, found) == new
    assert all(one.end < other.start for one, other in pairwise(found))
    assert all(hunk.new_lines != tuple(old[hunk.start : hunk.end]) for hunk in found)


def test_hunks_leave_the_common_ends_alone() -> None:
    assert hunks([b"a\n", b"b\n", b"c\n"], [b"a\n", b"x\n", b"c\n"]) == [Hunk(1, 2, (b"x\n",))]
    assert hunks([b"a\n"], [b"a\n", b"b\n"]) == [Hunk(1, 1, (b"b\n",))]
    assert hunks([], []) == []


def hunks_of(old: bytes, new: bytes, exact: int) -> list[Hunk]:
    """The changed lines as hunks; those of the new file are where they are said to be."""
    lines, found, shift = split_lines(new), [], 0
    for a, b, c, d in changed_lines(old, new, exact):
        assert c == a + shift
        found.append(Hunk(a, b, tuple(lines[c:d])))
        shift += found[-1].growth
    return found


@given(FILES, FILES)
def test_changed_lines_are_the_hunks_of_two_files(old: bytes, new: bytes) -> None:
    assert hunks_of(old, new, 10**9) == hunks(split_lines(old), split_lines(new))


@given(FILES, FILES)
def test_changed_lines_of_long_files_turn_one_into_the_other(old: bytes, new: bytes) -> None:
    found = hunks_of(old, new, 0)
    assert patched(split_lines(old), found) == split_lines(new)
    assert all(one.end < other.start for one, other in pairwise(found))
    assert all(hunk.new_lines != tuple(split_lines(old)[hunk.start : hunk.end]) for hunk in found)


def test_changed_lines_of_long_files_are_as_few_as_can_be() -> None:
    old = b"".join(b"x%d\n\n" % number if number % 3 else b"}\n" for number in range(2_000))
    lines = split_lines(old)
    for at in (7, 8, 700, 1_900):
        lines[at] = b"new %d\n" % at
    assert changed_lines(old, b"".join(lines)) == [(7, 9, 7, 9), (700, 701, 700, 701), (1900, 1901, 1900, 1901)]
    del lines[300], lines[1_000:1_100]
    found = changed_lines(old, b"".join(lines))
    assert sum(b - a for a, b, _, _ in found) == 4 + 101
    assert sum(d - c for _, _, c, d in found) == 4


@given(st.integers(0, 98), st.integers(0, 98), st.sampled_from([b"\n", b""]))
def test_a_line_out_and_another_one_in_elsewhere_are_all_that_changed(out: int, into: int, end: bytes) -> None:
    lines = [b"line %d\n" % number for number in range(100)]
    changed = lines[:out] + lines[out + 1 :]
    changed.insert(into, b"new\n")
    old, new = b"".join(lines).removesuffix(b"\n") + end, b"".join(changed).removesuffix(b"\n") + end
    found = hunks_of(old, new, 0)
    assert patched(split_lines(old), found) == split_lines(new)
    assert sum(hunk.end - hunk.start for hunk in found) == sum(len(hunk.new_lines) for hunk in found) == 1


def test_long_files_of_equal_lines_take_bounded_time() -> None:
    old = [b"0\n"] * 30_000 + [b"old\n"]
    new = [b"new\n"] + [b"0\n"] * 29_000 + [b"1\n"]
    began = time.perf_counter()
    assert patched(old, hunks(old, new)) == new
    assert time.perf_counter() - began < 10


def test_long_files_are_anchored_at_unique_lines() -> None:
    old = [b"%d\n" % number for number in range(6_000)]
    new = [b"x\n" if number % 2 and 100 < number < 5_900 else line for number, line in enumerate(old)]
    found = hunks(old, new)
    assert len(found) == 2_900
    assert patched(old, found) == new


def test_equal_lines_between_anchors_are_no_change() -> None:
    old = [line for number in range(1_100) for line in (b"%d\n" % number, b"}\n")]
    new = [b"x\n", *old[1:-2], b"y\n", b"}\n"]
    assert hunks(old, new) == [Hunk(0, 1, (b"x\n",)), Hunk(2198, 2199, (b"y\n",))]


def test_counts_are_of_lines() -> None:
    assert count_changes(b"a\nb\n", b"a\nc\nd\n") == (2, 1)
    assert count_changes(b"a\n", b"a\n") == (0, 0)
    assert count_changes(b"", b"x") == (1, 0)
    assert count_changes(b"\0", b"x") == (0, 0)


@given(FILES, FILES)
def test_counts_are_those_of_the_hunks(old: bytes, new: bytes) -> None:
    if is_text(old) and is_text(new):
        found = hunks(split_lines(old), split_lines(new))
        inserted, deleted = count_changes(old, new)
        assert inserted == sum(len(hunk.new_lines) for hunk in found)
        assert deleted == sum(hunk.end - hunk.start for hunk in found)


def shared(one: bytes, other: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(st.binary(max_size=99), AFFIXED, AFFIXED, st.binary(max_size=99))
def test_affixes_are_the_longest_and_do_not_overlap(head: bytes, one: bytes, other: bytes, tail: bytes) -> None:
    one, other = head + one + tail, head + other + tail
    prefix, suffix = common_affixes(one, other)
    assert prefix == shared(one, other)
    assert suffix == shared(one[prefix:][::-1], other[prefix:][::-1])


@pytest.mark.parametrize(
    ("one", "other", "lengths"),
    [(b"", b"", (0, 0)), (b"a", b"", (0, 0)), (b"aa", b"aaa", (2, 0)), (b"aba", b"aca", (1, 1)), (b"xy", b"y", (0, 1))],
)
def test_affixes_at_the_edges(one: bytes, other: bytes, lengths: tuple[int, int]) -> None:
    assert common_affixes(one, other) == lengths


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (b"a\n", b"a\n", ""),
        (b"\0", b"a\n", "Binary files a/f and b/f differ\n"),
        (b"", b"a\n", "--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+a\n"),
        (b"a", b"a\n", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"),
        (b"\xff\n", b"\xfe\n", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-\\xff\n+\\xfe\n"),
    ],
)
def test_unified(old: bytes, new: bytes, shown: str) -> None:
    assert unified(old, new, "f") == shown


def test_unified_joins_hunks_whose_context_meets() -> None:
    old = [b"%d\n" % number for number in range(30)]
    near, far = list(old), list(old)
    near[5] = near[12] = b"x\n"
    far[5] = far[13] = b"x\n"
    assert unified(b"".join(old), b"".join(near), "f").count("@@ -") == 1
    assert unified(b"".join(old), b"".join(far), "f").count("@@ -") == 2


@pytest.mark.parametrize("context", [0, 1, 3])
def test_unified_is_what_git_applies(tmp_path: Path, context: int) -> None:
    old = b"".join(b"line %d\n" % number for number in range(40)) + b"end"
    new = old.replace(b"line 3\n", b"").replace(b"line 9\n", b"line 9\nmore\n").replace(b"end", b"end\n")
    (tmp_path / "f").write_bytes(old)
    arguments = ["git", "apply", *(["--unidiff-zero"] if context == 0 else []), "-"]
    subprocess.run(arguments, cwd=tmp_path, input=unified(old, new, "f", context).encode(), check=True)
    assert (tmp_path / "f").read_bytes() == new


@given(FILES, FILES)
def test_distance_is_symmetric_and_counts_every_line(old: bytes, new: bytes) -> None:
    distance = multiset_distance(old, new)
    assert distance == multiset_distance(new, old)
    if is_text(old) and is_text(new):
        left, right = Counter(split_lines(old)), Counter(split_lines(new))
        assert distance == (left - right).total() + (right - left).total()


def test_distance_of_binaries_is_in_bytes() -> None:
    assert multiset_distance(b"\0aab", b"\0ab") == 1
    assert multiset_distance(b"a\nb\n", b"b\na\n") == 0
