"""What a node touches: the regions of its own diff, asked of files and of a store."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.testing.builders import FILES, make_child, make_store
from dagstore.touched import Edit, file_edits, touches

TRAIN = '''"""Trains."""
import math
from model import MLP, norm

DEPTH = 8  # layers
LR = 3e-4


class Block(MLP):
    def __init__(self, n):
        self.inner = Linear(n, 4 * n, bias=False)

    def forward(self, x):
        x = self.inner(x)
        x = relu(x)
        return x + 1


def setup():
    opt = AdamW(params, lr=LR, betas=(0.8, 0.95))
    return opt, {"depth": 3, "width": 4}
'''
CASES = {
    "assignment": ("DEPTH = 8", "DEPTH = 12", [("DEPTH", "8", "12")]),
    "comment": ("# layers", "# blocks", [("DEPTH", "  # layers\n", "  # blocks\n")]),
    "keyword argument": ("lr=LR", "lr=2 * LR", [("setup.opt(lr)", "LR", "2 * LR")]),
    "new argument": ("0.95))", "0.95), fused=True)", [("setup.opt(fused)", "", "fused=True")]),
    "item": ("(0.8,", "(0.9,", [("setup.opt(betas)[#0]", "0.8", "0.9")]),
    "import": ("MLP, norm", "MLP, norm, rope", [("from model import rope", "", "rope")]),
    "new import": ("import math\n", "import math\nimport sys\n", [("import sys", "", "import sys\n")]),
    "one expression": ("relu(x)", "relu(x).square()", [("Block.forward.x", "relu(x)", "relu(x).square()")]),
    "removed statement": ("        x = relu(x)\n", "", [("Block.forward.x", "        x = relu(x)\n", "")]),
    "method": (
        "    def forward",
        "    def extra(self):\n        pass\n\n    def forward",
        [("Block.extra", "", "\n    def extra(self):\n        pass\n")],
    ),
    "two places": ("8  # layers\nLR = 3e-4", "9  # layers\nLR = 1", [("DEPTH", "8", "9"), ("LR", "3e-4", "1")]),
}


def forget():
    """Compare enough other files that none of these is remembered as it was read."""
    for number in range(40):
        file_edits("b.py", b"x = %d\n" % number, b"y = %d\n" % number)


def said(path, old, new):
    return [(one.region, one.before.decode(), one.after.decode()) for one in file_edits(path, old, new)]


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_region_that_differs_is_named(name):
    old, new, expected = CASES[name]
    assert said("train.py", TRAIN.encode(), TRAIN.replace(old, new).encode()) == expected


def test_other_syntaxes_and_none():
    assert said("a.json", b'{"a": {"b": 1}}', b'{"a": {"b": 2}}') == [("a.b", "1", "2")]
    assert said("a.toml", b"[tool.ruff]\nline = 1\n", b"[tool.ruff]\nline = 2\n") == [("tool.ruff.line", "1", "2")]
    assert said("notes.txt", b"a\nb\nc\n", b"a\nx\nc\n") == [("L2-2", "b\n", "x\n")]
    assert said("broken.py", b"def f(:\nx\n", b"def f(:\ny\n") == [("L2-2", "x\n", "y\n")]
    assert said("notes.txt", b"a\nb\n", b"a\nb") == [("L2-2", "b\n", "b")]


def test_a_file_that_came_went_or_is_binary_is_one_whole_edit():
    assert file_edits("a.py", None, b"x = 1\n") == (Edit("a.py", "*", b"", b"x = 1\n"),)
    assert file_edits("a.py", b"x = 1\n", None) == (Edit("a.py", "*", b"x = 1\n", b""),)
    assert file_edits("a.py", None, b"") == (Edit("a.py", "*", b"", b""),)
    assert file_edits("a.bin", b"\0\1", b"\0\2") == (Edit("a.bin", "*", b"\0\1", b"\0\2"),)
    assert file_edits("a.py", None, None) == file_edits("a.py", b"x", b"x") == ()


def test_a_moved_function_is_no_removal_and_addition():
    one, two = b"def f():\n    return 1\n", b"def g():\n    return 2\n"
    (moved,) = file_edits("a.py", one + b"\n\n" + two, two + b"\n\n" + one)
    assert moved.before == moved.after
    assert moved.region in ("f", "g")


def test_touches_takes_a_path_a_folder_and_a_region_with_what_is_in_it():
    edits = file_edits("src/train.py", TRAIN.encode(), TRAIN.replace("relu(x)", "gelu(x)").encode())
    for place in ("src", "src/train.py", "src/train.py:Block", "src/train.py:Block.forward"):
        assert touches(edits, place), place
    for place in ("train.py", "src/train", "src/train.py:Bloc", "src/train.py:Block.__init__", "src/train.py:setup"):
        assert not touches(edits, place), place
    assert touches([Edit("a:b.py", "DEPTH", b"8", b"9")], "a:b.py:DEPTH")
    assert not touches([], "train.py")


@given(st.binary(max_size=80), st.binary(max_size=80), st.sampled_from(["a.py", "a.json", "a.toml", "a.yaml", "a.txt"]))
def test_any_bytes_have_edits_unless_they_are_the_same(old, new, path):
    assert bool(file_edits(path, old, new)) == (old != new)


LINES = st.lists(st.sampled_from(["x = 1", "def f(a, b=2):", "    return a", "if x:", "    y = [1,", "2]", "", "# c"]))


@given(LINES, LINES)
def test_any_statements_have_edits_unless_they_are_the_same(old, new):
    one, other = ("\n".join(rows).encode() for rows in (old, new))
    assert bool(file_edits("a.py", one, other)) == (one != other)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["x = 1", "    y = [1,\n        2]", "y(1)", ""])), max_size=9
    )
)
def test_lines_are_those_of_the_old_version_however_it_came_to_be(changes):
    versions = [[f"def f{number}(a):\n    return g(a, {number})\n\n" for number in range(10)]]
    for at, text in changes:
        versions.append([block + f"    {text.strip()}\n" * (at == number) for number, block in enumerate(versions[-1])])
    texts = ["".join(version).encode() for version in versions]
    for old, new in itertools.pairwise(texts):
        inherited = file_edits("a.py", old, new)
        forget()
        assert inherited == file_edits("a.py", old, new)


@pytest.mark.parametrize("path", ["a.py", "a.json", "a.yaml"])
def test_what_is_nested_ten_thousand_deep_has_edits(path):
    old, new = (b"[" * 10_000 + digit + b"]" * 10_000 for digit in (b"1", b"2"))
    assert file_edits(path, old, new)


def test_a_node_has_the_edits_of_its_own_diff(tmp_path):
    with make_store(tmp_path, {**FILES, "train.py": TRAIN}) as store:
        text = TRAIN.replace("DEPTH = 8", "DEPTH = 9")
        child = make_child(store, "@seed", {"train.py": text, "new.txt": "x\n"})
        grandchild = make_child(store, child, {"train.py": text.replace("3e-4", "1e-3")})
        expected = [Edit("new.txt", "*", b"", b"x\n"), Edit("train.py", "DEPTH", b"8", b"9")]
        assert list(store.edits(child)) == expected == list(store.edits(child))
        assert list(store.edits(grandchild)) == [Edit("train.py", "LR", b"3e-4", b"1e-3")]
        assert {edit.path for edit in store.edits("@seed")} == {"dag.toml", *FILES, "train.py"}
        assert list(store.edits(child).to_frame()["region"]) == ["*", "DEPTH"]
        assert "DEPTH" in store.edits(child)._repr_html_()


def test_a_mode_and_a_name_are_edits_of_the_whole_file(tmp_path):
    with make_store(tmp_path, {**FILES, "old.sh": "echo\n"}) as store:
        spawned = store.spawn("@seed").workspace
        (Path(spawned) / "old.sh").chmod(0o755)
        assert list(store.edits(store.seal(spawned).node)) == [Edit("old.sh", "*", b"echo\n", b"echo\n")]
        other = store.spawn("@seed").workspace
        (Path(other) / "old.sh").rename(Path(other) / "new.sh")
        edits = store.edits(store.seal(other).node)
        assert [(edit.path, edit.region) for edit in edits] == [("new.sh", "*"), ("old.sh", "*")]
