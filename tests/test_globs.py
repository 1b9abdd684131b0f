"""Ignore patterns: git is the oracle."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagstore.errors import BadInput
from dagstore.globs import MAX_IGNORE_BYTES, covers, decide, parse_glob, parse_globs, parse_ignore, verdict

NAMES = ["a", "b", "ab", "a.b", "ba", "c d", "[x]", "-"]
PIECES = ["a", "b", "ab", "*", "**", "/", "?", ".", "[ab]", "[!a]", "[a-c]", "[]x]", "[z-a]"]
PIECES += [r"\[", r"\*", "!", "#", "-"]
SEGMENTS = ["a", "b", "ab", "*", "**", "a*", "?b", "[a-b]", "*b*", "!a", "a.*", "*.b", r"\[x]", r"c\ d"]

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
wild = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
tidy = st.builds(
    lambda start, segments, end: start + "/".join(segments) + end,
    st.sampled_from(["", "", "!", "/", "!/"]),
    st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4),
    st.sampled_from(["", "", "/", " ", "\r"]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def ignored_by_git(root, paths):
    command = ["git", "-C", root, "check-ignore", "-z", "--stdin", "--no-index"]
    done = subprocess.run(command, input="\0".join(paths).encode(), capture_output=True, check=False)
    return set(done.stdout.decode().split("\0")) - {""}


def ignored(globs, path):
    parts = path.split("/")
    folders = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return any(decide(globs, folder, True) for folder in folders) or bool(decide(globs, path, False))


def is_documented(line):
    """Whether git and this module promise to read the pattern alike."""
    if "***" in line or ("/" in line.strip("!/ \r") and "[!a]" in line):
        return False
    try:
        parse_glob(line)
    except BadInput:
        return False
    return True


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists((wild | tidy).filter(is_documented), min_size=1, max_size=4),
    st.sets(paths, min_size=20, max_size=40),
)
def test_git_ignores_the_same_paths(repository, lines, paths):
    (repository / ".gitignore").write_bytes("\n".join(lines).encode())
    globs = parse_globs(lines)
    assert {path for path in paths if ignored(globs, path)} == ignored_by_git(repository, sorted(paths))


@pytest.mark.parametrize("line", ["", " ", "# comment", "!", "/", "!/", "//", "\r"])
def test_what_is_no_pattern(line):
    assert parse_glob(line) is None


@pytest.mark.parametrize(
    "line", ["[a", "a\\", "a[b/c]d", "[[:alpha:]]", "[[]", r"[\]]", "[a--b]", "x[a&&b]", "!/[", r"\\[a", r"a\/b"]
)
def test_what_regular_expressions_read_otherwise_is_refused(line):
    with pytest.raises(BadInput, match=r"open or nested \[ or a stray backslash"):
        parse_glob(line)


@pytest.mark.parametrize("line", ["[]a]", "[!]a]", "[a-]", "[-a]", r"\[a", r"\\", r"\[[a]\]", "[a|b&c~d]", "[é-ü]"])
def test_plain_classes_are_read(line):
    assert parse_glob(line).names("x", False) in (True, False)


def test_a_range_that_runs_backwards_names_nothing():
    assert not parse_glob("[z-a]*").names("x", False)


@given(st.text(max_size=30) | st.text(r"a[]!^-\/* &", max_size=12))
def test_any_line_is_a_pattern_or_none_or_refused(line):
    try:
        glob = parse_glob(line)
    except BadInput:
        glob = None
    assert glob is None or glob.names("a/b", False) in (True, False)


def test_the_last_pattern_has_the_word():
    globs = parse_globs(["*.log", "!keep.log"])
    assert [decide(globs, path, False) for path in ("a.log", "keep.log", "a.txt")] == [True, False, None]


def test_a_pattern_does_not_speak_for_what_is_below():
    globs = parse_globs(["*.pyc", "!data/", "src"])
    assert [decide(globs, path, False) for path in ("data/a.pyc", "data/a", "src/a")] == [True, None, None]
    assert [decide(globs, path, True) for path in ("data", "src")] == [False, True]


def test_what_ends_in_two_stars_names_the_contents_and_not_the_folder():
    globs = parse_globs(["data/**", "!data/keep.txt"])
    assert decide(globs, "data", True) is None
    assert [decide(globs, path, False) for path in ("data/a/b", "data/keep.txt", "data")] == [True, False, None]


def test_a_pattern_covers_what_is_below_the_folders_it_names():
    globs = parse_globs(["src/", "!src/keep.py"])
    covered = {path: covers(globs, path) for path in ("src/a/b.py", "src/keep.py", "src", "x/src/a")}
    assert covered == {"src/a/b.py": True, "src/keep.py": False, "src": False, "x/src/a": True}


def test_an_ignore_file_is_read_line_by_line():
    data = b"\xef\xbb\xbf*.log\r\n\n# comment\n!keep.log\n\xff.bin"
    assert len(parse_ignore(data)) == 3
    said = [verdict(data, path, False) for path in ("a.log", "keep.log", "\udcff.bin", "a.txt")]
    assert said == [True, False, True, None]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a\n\n[b\n", "line 3: glob '[b'"),
        (b"a*a*a*a*a*b", "line 1: glob 'a*a*a*a*a*b' holds too many wildcards"),
        (b"a\n" * MAX_IGNORE_BYTES, "is longer than 65,536 bytes"),
    ],
)
def test_a_refusal_names_the_line(data, says):
    with pytest.raises(BadInput) as caught:
        parse_ignore(data)
    assert caught.value.message.startswith(says)
    assert caught.value.hint


SLOW = ["a*" * 30 + "b", "*" * 60 + "b", "**/a/" * 30 + "b", "a/**/" * 30 + "*x*y*z", "?*" * 9 + "b", "a*b*" * 3 + "/c"]


@pytest.mark.parametrize("line", SLOW)
def test_a_pattern_that_could_take_long_is_refused(line):
    with pytest.raises(BadInput, match="too many wildcards"):
        parse_glob(line)


@pytest.mark.parametrize(
    "line",
    ["a*a*a*a*b", "****b", "**/a/**/a/**/b", "x/**/a*a*a*b", "a*a*a*a/**/b", "*/" * 30 + "b", "a/**/a/**/a/*b"],
)
@pytest.mark.parametrize(
    "path", ["a" * 255, "a" * 1000, "a/" * 500 + "a", "a/" * 2000 + "a", "x/" + ("a" * 250 + "/") * 4 + "a"]
)
def test_no_pattern_takes_long(line, path):
    glob = parse_glob(line)
    began = time.perf_counter()
    assert not glob.names(path, False)
    assert time.perf_counter() - began < 5


COMMON = """
**/[Pp]ackages/*  *.py[cod]  *$py.class  [._]*.s[a-v][a-z]  **/*.egg-info/**/*.p*  /[Aa]ssets/*/*/*.bin*
*- [Bb]ackup ([0-9][0-9]).rdl  .idea/**/aws.xml  *~  \\#*\\#  .\\#*  !*.svg  **/node_modules/**/*.md  *.tar.*.part*
"""


@pytest.mark.parametrize("line", COMMON.replace("\n", "  ").strip().split("  "))
def test_patterns_that_people_write_are_read(line):
    assert parse_glob(line)


def test_a_long_line_is_refused_in_no_time():
    with pytest.raises(BadInput, match="open or nested"):
        parse_glob("[!a]" * 10_000 + "[")


def test_characters_count_not_bytes():
    assert parse_glob("?").names("é", False)


LAZY = """
import sys
from dagstore.charter import parse_charter
parse_charter('command = "c"\\nmetric = "m"\\ndirection = "minimize"\\neditable = ["*.py", "!a[bc]"]')
assert "pathspec" not in sys.modules
"""


def test_a_charter_is_read_without_the_matcher():
    subprocess.run([sys.executable, "-c", LAZY], check=True, cwd=Path(__file__).parent.parent)
