"""Directories and trees: a faithful round trip, nothing recorded by accident, nothing written outside."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore.errors import BadInput, NotFound
from dagstore.ids import BlobId
from dagstore.materialise import materialise
from dagstore.model import Entry, Mode, Tree
from dagstore.paths import check_distinct, check_path
from dagstore.snapshot import snapshot

LIMIT = 1 << 20


def take(root, **options):
    return snapshot(root, file_limit=options.pop("file_limit", LIMIT), **options)


def put(root, **files):
    """Writes files; `__` in a keyword is a slash."""
    for name, text in files.items():
        write(root, name.replace("__", "/"), text)


def write(root, path, text=""):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def paths_of(taken):
    return [entry.path for entry in taken.tree]


def recorded(root, **options):
    return paths_of(take(root, **options))


def make_tree(files):
    """A tree and its blobs from path → (mode, bytes)."""
    blobs = {BlobId.of(data): data for _, data in files.values()}
    return Tree.of(Entry(path, mode, BlobId.of(data)) for path, (mode, data) in files.items()), blobs


# --- laws ---

names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=8)
contents = st.tuples(st.sampled_from([Mode.FILE, Mode.EXECUTABLE]), st.binary(max_size=64))
links = st.tuples(st.just(Mode.LINK), st.sampled_from([b"a", b"a/b", b"./x", b"nowhere \xff", b"deep/er/still"]))


def legal(files):
    try:
        for path in files:
            check_path(path)
        check_distinct(files)
    except BadInput:
        return False
    reserved = {"__pycache__", ".venv", ".ipynb_checkpoints", ".gitignore", ".dagignore"}
    return not any(reserved & set(path.split("/")) for path in files)


file_sets = st.dictionaries(
    st.lists(names | st.sampled_from(["a", "b", "ü", "数据"]), min_size=1, max_size=4).map("/".join),
    contents | links,
    max_size=8,
).filter(legal)


@settings(deadline=None)
@given(file_sets)
def test_what_is_materialised_is_read_back(files):
    tree, blobs = make_tree(files)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "new" / "root"
        cache = materialise(tree, blobs.__getitem__, root)
        taken = take(root)
        assert taken.tree == tree
        assert taken.contents == blobs
        assert taken.cache == cache


@settings(deadline=None)
@given(file_sets, st.integers(0, 2**62))
def test_a_cache_never_changes_the_tree(files, cached_at_ns):
    tree, blobs = make_tree(files)
    with tempfile.TemporaryDirectory() as folder:
        cache = materialise(tree, blobs.__getitem__, Path(folder))
        assert take(Path(folder), cache=cache, cached_at_ns=cached_at_ns).tree == tree


# --- what is recorded ---


def test_modes_and_links(tmp_path):
    put(tmp_path, plain="1", tool="2", sub__deep="3")
    (tmp_path / "tool").chmod(0o710)
    (tmp_path / "sub" / "up").symlink_to("../plain")
    (tmp_path / "folder").symlink_to("sub")
    (tmp_path / "empty").mkdir()
    taken = take(tmp_path)
    modes = {entry.path: entry.mode for entry in taken.tree}
    link, plain = Mode.LINK, Mode.FILE
    assert modes == {"plain": plain, "tool": Mode.EXECUTABLE, "sub/deep": plain, "sub/up": link, "folder": link}
    assert taken.contents[taken.tree.by_path["sub/up"].blob] == b"../plain"


def test_the_order_of_creation_does_not_matter(tmp_path):
    for name in "abc":
        write(tmp_path, f"one/{name}", name)
    for name in "cba":
        write(tmp_path, f"two/{name}", name)
    one, two = take(tmp_path / "one"), take(tmp_path / "two")
    assert one.tree == two.tree
    assert list(one.contents) == list(two.contents)


def test_tools_and_caches_are_left_out(tmp_path):
    tools = [".dag/lock", ".git/HEAD", "sub/.dag", "sub/.git", "deep/.Git/config"]
    caches = ["__pycache__/a.pyc", "sub/__pycache__/b.pyc", ".venv/x", ".ipynb_checkpoints/y"]
    for path in [*tools, *caches, "train.py"]:
        write(tmp_path, path)
    assert recorded(tmp_path) == ["train.py"]


def test_a_default_can_be_taken_back_in(tmp_path):
    write(tmp_path, ".venv/x")
    write(tmp_path, "sub/.venv/y")
    write(tmp_path, "sub/.dagignore", "!.venv/\n!.git\n")
    write(tmp_path, "sub/.git/z")
    assert recorded(tmp_path) == ["sub/.dagignore", "sub/.venv/y"]


def test_a_file_named_like_an_ignored_folder_is_recorded(tmp_path):
    write(tmp_path, "__pycache__")
    assert recorded(tmp_path) == ["__pycache__"]


def test_dagignore_is_read_after_gitignore(tmp_path):
    write(tmp_path, ".gitignore", "*.log\nout/\n")
    write(tmp_path, ".dagignore", "!keep.log\nbig.bin\n")
    for path in ("a.log", "keep.log", "out/x", "big.bin", "train.py"):
        write(tmp_path, path)
    assert recorded(tmp_path) == [".dagignore", ".gitignore", "keep.log", "train.py"]


def test_contents_of_a_folder_can_be_ignored_but_for_one(tmp_path):
    write(tmp_path, ".gitignore", "data/**\n!data/keep.txt\n")
    write(tmp_path, "data/keep.txt")
    write(tmp_path, "data/large.bin")
    assert recorded(tmp_path) == [".gitignore", "data/keep.txt"]


def test_an_ignored_folder_is_not_entered(tmp_path):
    write(tmp_path, ".gitignore", "\ufeffsecret/\r\n")
    write(tmp_path, "secret/a")
    os.mkfifo(tmp_path / "secret" / "pipe")
    write(tmp_path, "secret/.gitignore", "!*")
    assert recorded(tmp_path) == [".gitignore"]


def test_a_link_named_gitignore_is_no_ignore_file(tmp_path):
    write(tmp_path, "rules", "a\n")
    write(tmp_path, "a")
    (tmp_path / ".gitignore").symlink_to("rules")
    assert recorded(tmp_path) == [".gitignore", "a", "rules"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("*.log\n[a\n", "line 2: glob '[a' holds an open or nested [ or a stray backslash"),
        ("**/**/**/**/a*", "line 1: glob '**/**/**/**/a*' holds too many wildcards"),
        ("a\n" * 40_000, "is longer than 65,536 bytes"),
    ],
)
def test_what_is_wrong_in_an_ignore_file_is_named_and_nothing_else(tmp_path, text, says):
    write(tmp_path, "sub/.dagignore", text)
    write(tmp_path, "zoo/.gitignore", "unread")
    os.mkfifo(tmp_path / "pipe")
    error = refusal(tmp_path)
    assert error.message == f"'sub/.dagignore' {says}"
    assert error.hint


def test_a_folder_that_is_taken_back_in_says_nothing_of_its_contents(tmp_path):
    write(tmp_path, ".gitignore", "*.pyc\n")
    write(tmp_path, "sub/.gitignore", "!data/\n")
    write(tmp_path, "sub/data/a.pyc")
    write(tmp_path, "sub/data/a.py")
    assert recorded(tmp_path) == [".gitignore", "sub/.gitignore", "sub/data/a.py"]


RULES = ["a", "b/", "/a", "*", "!a", "!b/", "!*", "a/*", "**/b", "b/**", "!b/a", "*.x", "!a.x"]
rules = st.lists(st.sampled_from(RULES), max_size=3).map("\n".join)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["", "a/", "b/", "a/b/", "b/a/"]), rules, max_size=3))
def test_nested_ignore_files_say_what_git_hears(ignores):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for outer in ("a", "b", "c"):
            for inner in ("a", "b", "a.x"):
                for name in ("a1", "b1", "a.x", "c"):
                    write(root, f"{outer}/{inner}.d/{name}")
                write(root, f"{outer}/d/{inner}")
        for place in ("a/b/a", "a/b/c", "b/a/a.x", "b/a/c", "a.x", "c.x", "a/b/b/c"):
            write(root, place)
        for place, text in ignores.items():
            write(root, f"{place}.gitignore", text)
        subprocess.run(["git", "init", "-q", root], check=True)
        command = ["git", "-C", root, "ls-files", "-z", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        assert recorded(root) == sorted(set(listed) - {""}, key=str.encode)


# --- what is refused ---


def refusal(root, **options):
    with pytest.raises(BadInput) as caught:
        take(root, **options)
    return caught.value


def test_a_file_over_the_limit(tmp_path):
    write(tmp_path, "big.bin", "x" * 2000)
    error = refusal(tmp_path, file_limit=1999)
    assert error.message == "'big.bin' is 2,000 bytes, over the limit of 1,999"
    assert "file_limit" in error.hint
    assert ".dagignore" in error.hint
    assert recorded(tmp_path, file_limit=2000) == ["big.bin"]


def test_a_lower_limit_holds_for_what_is_cached(tmp_path):
    write(tmp_path, "big.bin", "x" * 2000)
    cache = take(tmp_path).cache
    with pytest.raises(BadInput, match="over the limit"):
        take(tmp_path, file_limit=10, cache=cache, cached_at_ns=2**62)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/etc/passwd", "absolute path '/etc/passwd'"),
        ("../outside", "leaves the tree"),
        ("./../x", "leaves the tree"),
        ("sub/..", "climbs after it descends"),
        (".git/hooks", "no part of the tree"),
        ("sub/.DAG", "no part of the tree"),
    ],
)
def test_a_link_that_leaves(tmp_path, target, says):
    (tmp_path / "link").symlink_to(target)
    assert says in refusal(tmp_path).message
    write(tmp_path, ".dagignore", "link")
    assert recorded(tmp_path) == [".dagignore"]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/plug" if sys.platform == "linux" else str(tmp_path / "plug"))
        finally:
            os.close(here)
        message = refusal(tmp_path).message
    assert "'pipe' is neither a file, a folder nor a link" in message
    assert "'plug' is neither" in message


def test_names_that_no_tree_may_hold(tmp_path):
    for name in (b"\xff", b"back\\slash", "e\u0301".encode(), b"good"):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_text("")
    message = refusal(tmp_path).message
    assert message.startswith("3 paths cannot be recorded:")
    assert "is not valid UTF-8" in message
    assert "holds a backslash or a control character" in message
    assert "is not in Unicode form NFC" in message


def test_a_name_that_is_not_utf8_can_be_ignored(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin")).write_text("")
    (tmp_path / ".gitignore").write_bytes(b"\xff.bin\n")
    assert recorded(tmp_path) == [".gitignore"]


def test_every_collision_is_named(tmp_path):
    for path in ("Data/a", "data/b", "x", "X"):
        write(tmp_path, path)
    if len(list(tmp_path.iterdir())) == 4:
        message = refusal(tmp_path).message
        assert "'data/b' is the same as 'Data'" in message
        assert "'x' is the same as 'X'" in message
    else:
        assert recorded(tmp_path) == ["Data/a", "Data/b", "x"]


def test_ten_offenders_are_named_and_the_rest_counted(tmp_path):
    for number in range(12):
        (tmp_path / f"link{number:02}").symlink_to("/")
    lines = refusal(tmp_path).message.splitlines()
    assert lines[0] == "12 paths cannot be recorded:"
    assert len(lines) == 12
    assert lines[-1].strip() == "and 2 more"


def test_a_directory_that_is_not_there(tmp_path):
    write(tmp_path, "file")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(NotFound, match="is not a directory"):
            take(path)


@pytest.mark.parametrize("path", ["file", "folder"])
def test_what_may_not_be_read_is_named(tmp_path, path):
    put(tmp_path, file="", folder__a="")
    (tmp_path / path).chmod(0)
    try:
        if os.access(tmp_path / path, os.R_OK):
            assert recorded(tmp_path) == ["file", "folder/a"]
        else:
            assert refusal(tmp_path).message == f"{path!r} cannot be read (Permission denied)"
    finally:
        (tmp_path / path).chmod(0o700)


# --- the cache ---

LATER = 2**62


def test_what_has_not_changed_is_not_read(tmp_path):
    put(tmp_path, a="1", b="2")
    first = take(tmp_path)
    write(tmp_path, "b", "changed")
    second = take(tmp_path, cache=first.cache, cached_at_ns=LATER)
    assert list(second.contents.values()) == [b"changed"]
    assert second.tree == take(tmp_path).tree
    assert second.cache == take(tmp_path).cache


def test_a_changed_mode_is_seen(tmp_path):
    put(tmp_path, a="1")
    first = take(tmp_path)
    (tmp_path / "a").chmod(0o755)
    second = take(tmp_path, cache=first.cache, cached_at_ns=LATER)
    assert second.tree.entries[0].mode is Mode.EXECUTABLE


def test_a_stat_as_young_as_the_cache_is_not_trusted(tmp_path):
    put(tmp_path, a="1")
    first = take(tmp_path)
    changed_at = first.cache["a"].stat[1]
    for cached_at_ns, read in ((changed_at, 1), (changed_at + 19_000_000, 1), (changed_at + 21_000_000, 0)):
        assert len(take(tmp_path, cache=first.cache, cached_at_ns=cached_at_ns).contents) == read


def test_a_young_ctime_does_no_harm(tmp_path):
    put(tmp_path, a="1")
    os.utime(tmp_path / "a", (0, 0))
    first = take(tmp_path)
    assert take(tmp_path, cache=first.cache, cached_at_ns=time.time_ns()).contents == {}


def test_a_vanished_file_leaves_the_cache(tmp_path):
    put(tmp_path, a="1", b="2")
    first = take(tmp_path)
    (tmp_path / "a").unlink()
    assert list(take(tmp_path, cache=first.cache, cached_at_ns=LATER).cache) == ["b"]


def test_every_rewrite_within_one_tick_is_seen(tmp_path):
    """Same size, same clock tick: only the racy rule tells these apart."""
    file = tmp_path / "a"
    cache, cached_at_ns = {}, 0
    for number in range(200):
        file.write_text(f"{number:04}")
        began = time.time_ns()
        taken = take(tmp_path, cache=cache, cached_at_ns=cached_at_ns)
        cache, cached_at_ns = taken.cache, began
        assert taken.tree.entries[0].blob == BlobId.of(f"{number:04}".encode())


# --- a directory in motion ---


def attempt(root, excuse):
    try:
        return take(root)
    except BadInput as error:
        if excuse not in error.message:
            raise
    return None


def in_motion(root, change, check, excuse):
    """Snapshots again and again while a thread repeats `change`; each passes `check` or is refused with `excuse`."""
    done = threading.Event()

    def work():
        while not done.is_set():
            change()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:
            taken = attempt(root, excuse)
            assert taken is None or check(taken)
    finally:
        done.set()
        thread.join()


def test_a_file_that_is_replaced_is_read_whole(tmp_path):
    root, spare = tmp_path / "root", tmp_path / "spare"
    whole = [bytes([number]) * 100_000 for number in range(2)]
    root.mkdir()
    (root / "a").write_bytes(whole[0])

    def replace():
        for data in whole:
            spare.write_bytes(data)
            spare.replace(root / "a")

    def check(taken):
        return next(iter(taken.contents.values())) in whole

    in_motion(root, replace, check, "keeps changing")


def test_a_file_that_grows_is_as_long_as_its_stat_says(tmp_path):
    def rewrite():
        with open(tmp_path / "a", "wb") as file:
            for _ in range(50):
                file.write(b"x" * 1000)
                file.flush()

    def check(taken):
        lengths = {path: len(taken.contents[known.entry.blob]) for path, known in taken.cache.items()}
        return lengths == {path: known.stat[0] for path, known in taken.cache.items()}

    in_motion(tmp_path, rewrite, check, "keeps changing")


def test_a_file_that_comes_and_goes_is_there_or_not(tmp_path):
    write(tmp_path, "stays")

    def flicker():
        write(tmp_path, "sub/goes")
        (tmp_path / "sub" / "goes").unlink()
        (tmp_path / "sub").rmdir()

    def check(taken):
        return set(paths_of(taken)) - {"sub/goes"} == {"stays"}

    in_motion(tmp_path, flicker, check, "keeps changing")


def test_no_link_that_is_swapped_in_leads_outside(tmp_path):
    root, outside, aside = tmp_path / "root", tmp_path / "outside", tmp_path / "aside"
    write(outside, "secret", "secret")
    write(root, "sub/secret", "public")

    def swap():
        (root / "sub").rename(aside)
        (root / "sub").symlink_to(outside)
        (root / "sub").unlink()
        aside.rename(root / "sub")

    def check(taken):
        return b"secret" not in taken.contents.values()

    in_motion(root, swap, check, "'sub")
