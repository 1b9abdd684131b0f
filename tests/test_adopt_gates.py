"""What the gates find in a composed tree, and that nothing gets lost without their saying so."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.adopt import Composition, Donor, compose
from dagstore.adopt.account import Account
from dagstore.adopt.gates import Gates
from dagstore.ids import BlobId, NodeId
from dagstore.model import Entry, GateFinding, Mode, Tree

P, A, B = sorted(NodeId.of(name) for name in (b"p", b"a", b"b"))
Files = dict[str, bytes]


def tree(files: Files) -> Tree:
    return Tree.of(Entry(path, Mode.FILE, BlobId.of(text)) for path, text in files.items())


def found(base: Files, *versions: Files, result: Files | None = None, locked: Sequence[str] = ()) -> list[GateFinding]:
    """What the gates find when the versions are composed onto the base, or in another `result`."""
    texts = {BlobId.of(text): text for files in (base, *versions, result or {}) for text in files.values()}
    donors = [Donor(id, tree(base), tree(files)) for id, files in zip((A, B), versions, strict=False)]
    composition = compose(P, tree(base), donors, texts.__getitem__, [P, A, B])
    if result is not None:
        made = {BlobId.of(text): text for text in result.values()}
        composition = Composition(tree(result), made, ())
    gates = Gates(P, tree(base), donors, composition, texts.__getitem__, lambda path: path in locked)
    return list(gates.findings())


def test_nothing_is_found_where_edits_go_together() -> None:
    base = {"f.py": b"a = 1\nb = 2\n\n\ndef f(x):\n    return x + a + b\n"}
    one = {"f.py": base["f.py"].replace(b"a = 1", b"a = 3")}
    other = {"f.py": base["f.py"].replace(b"x + a", b"2 * x + a")}
    assert found(base, one, other) == []


def test_a_name_that_one_takes_away_and_another_uses() -> None:
    base = {"f.py": b"def old(x):\n    return x\n\n\nlimit = 1\n\n\ndef main():\n    return limit\n"}
    renamed = {"f.py": base["f.py"].replace(b"old", b"new")}
    used = {"f.py": base["f.py"].replace(b"return limit", b"return old(limit)")}
    assert found(base, renamed, used) == [
        GateFinding("undefined", "f.py", 9, "old"),
        GateFinding("uses", "f.py", 9, "old", (A,)),
    ]


CALLED = b"""\
import math
from os import path, sep

SIZES = [1, 2]
RATE = 0.1


def scale(x):
    return x * 2


class Model:
    def forward(self, x):
        return x

    def size(self):
        return 1


def main():
    return 0
"""


@pytest.mark.parametrize(
    ("old", "new", "used", "name"),
    [
        (b"x * 2", b"x * 3", b"scale(1)", "scale"),
        (b"scale(x)", b"scale(x, y)", b"scale(1)", "scale"),
        (b"def scale(x):\n    return x * 2\n", b"", b"[scale]", "scale"),
        (b"return 1", b"return 2", b"Model().size()", "size"),
        (b"return 1", b"return 2", b"Model()", "Model"),
        (b"[1, 2]", b"[1, 2, 3]", b"len(SIZES)", "SIZES"),
        (b"path, sep", b"sep", b"path.join('a')", "path"),
        (b"import math", b"import cmath", b"math.pi", "math"),
    ],
)
def test_what_one_changed_and_another_relies_on(old: bytes, new: bytes, used: bytes, name: str) -> None:
    base = {"f.py": CALLED}
    changer, user = {"f.py": CALLED.replace(old, new)}, {"f.py": CALLED.replace(b"return 0", b"return " + used)}
    uses = [one for one in found(base, changer, user) if one.gate == "uses"]
    assert name in {one.text for one in uses}
    assert {one.origins for one in uses} == {(A,)}
    assert {one.origins for one in found(base, user, changer) if one.gate == "uses"} == {(B,)}


@pytest.mark.parametrize(
    ("old", "new", "used"),
    [
        (b"RATE = 0.1", b"RATE = 0.2  # tuned", b"RATE * 2"),  # a value like that is there to be tuned
        (b"x * 2", b"x * 3", b"1  # not scale"),
        (b"path, sep", b"path, sep, curdir", b"path.join('a')"),
        (b"x * 2", b"x * 3", b"rescale()"),
    ],
)
def test_what_nobody_relies_on(old: bytes, new: bytes, used: bytes) -> None:
    changer, user = {"f.py": CALLED.replace(old, new)}, {"f.py": CALLED.replace(b"return 0", b"return " + used)}
    assert [one for one in found({"f.py": CALLED}, changer, user) if one.gate == "uses"] == []


def test_whoever_changed_it_may_use_it() -> None:
    base = {"f.py": CALLED}
    changer = {"f.py": CALLED.replace(b"x * 2", b"x * 3").replace(b"return 0", b"return scale(1)")}
    assert found(base, changer, {"f.py": CALLED.replace(b"RATE = 0.1", b"RATE = 0.2")}) == []


def test_names_that_were_undefined_before_are_not_told() -> None:
    base = {"f.py": b"a = missing\nb = 2\nc = 3\n"}
    one, other = ({"f.py": base["f.py"].replace(old, new)} for old, new in ((b"b = 2", b"b = 4"), (b"c = 3", b"c = 5")))
    assert found(base, one, other) == []


def test_a_method_that_stands_twice_in_the_result() -> None:
    base = {"f.py": b"class A:\n    def run(self):\n        return 1\n"}
    twice = {"f.py": base["f.py"] + b"\n    def run(self):\n        return 2\n"}
    other = {"f.py": base["f.py"].replace(b"return 1", b"return 2")}
    (finding,) = found(base, other, result=twice)
    assert (finding.gate, finding.line, finding.text) == ("duplicate", 5, "A.run")


@pytest.mark.parametrize("path", ["f.py", "f.json", "f.toml", "f.yaml"])
def test_a_result_that_is_not_well_formed(path: str) -> None:
    assert [one.gate for one in found({path: b"{}"}, {path: b"{"})] == ["parses"]
    assert [one.gate for one in found({path: b"[]"}, {path: b"[1]"}, result={path: b"[1"})] == ["parses"]


def test_a_line_that_was_put_in_or_taken_out_and_is_not_so() -> None:
    base = {"f.txt": b"one apple\ntwo ripe pears\nthree plums\n"}
    donor = {"f.txt": b"one apple\nfour figs and dates\nthree plums\n"}
    lost = [one for one in found(base, donor, result=base) if one.gate == "lost"]
    assert {one.text for one in lost} == {"four figs and dates", "two ripe pears"}
    assert {one.origins for one in lost} == {(A,)}


def test_a_line_that_one_indents_and_another_edits_is_not_lost() -> None:
    base = {"f.txt": b"two ripe pears\n\none apple\n"}
    deeper = {"f.txt": b"list:\n\n  two ripe pears\n\n  one apple\n"}
    edited = {"f.txt": b"two unripe pears\n\none apple\n"}
    both = {"f.txt": b"list:\n\n  two unripe pears\n\n  one apple\n"}
    assert found(base, deeper, edited, result=both) == []
    gone = {"f.txt": b"list:\n\n  one apple\n"}
    assert {one.text for one in found(base, deeper, edited, result=gone)} == {"two unripe pears"}


@pytest.mark.parametrize(
    ("base", "donor"),
    [
        ({"a": b"1\n"}, {"a": b"1\n", "b": b"2\n"}),
        ({"a": b"1\n", "b": b"2\n"}, {"a": b"1\n"}),
        ({"a": b"\0"}, {"a": b"\0\1"}),
    ],
)
def test_a_file_that_is_not_as_its_donor_has_it(base: Files, donor: Files) -> None:
    assert [one.gate for one in found(base, donor, result=base)] == ["lost"]


def test_a_locked_path_that_differs() -> None:
    base, other = {"a": b"1\n", "eval.py": b"1\n"}, {"a": b"1\n", "eval.py": b"2\n"}
    assert [one.gate for one in found(base, other, locked=["eval.py"])] == ["locked"]


def test_a_contradiction_keeps_what_was_not_taken() -> None:
    base, one, other = ({"f.py": b"rate = %d  # of learning\n" % rate} for rate in (1, 2, 3))
    assert found(base, one, other) == []


HOSTILE = {
    "brackets": b"(" * 50_000,
    "signs": b"x = " + b"-" * 50_000 + b"1\n",
    "attributes": b"x" + b".a" * 50_000 + b"\n",
    "indentation": b"".join(b" " * depth + b"if 1:\n" for depth in range(120)) + b" " * 120 + b"pass\n",
    "NUL": b"a = 1\0\n",
    "latin": b"# \xe9\nx = 1\n",
    "coding": b"# coding: rot13\nk = 1\n",
    "one line": b"x = [" + b"1, " * 100_000 + b"]\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_do_not_stop_the_gates(name: str) -> None:
    base, bad = {"f.py": b"a = 1\n"}, {"f.py": HOSTILE[name]}
    found(base, bad, {"f.py": b"a = 2\n"})
    found(base, bad, result={"f.py": HOSTILE[name] + b"b = 1\n"})


# --- accounts of lines ---

words = st.text("abc", min_size=1, max_size=3).map(str.encode)
line = st.lists(words, min_size=1, max_size=4).map(lambda some: b" ".join(some) + b"\n")
text = st.lists(line, max_size=8).map(b"".join)


@given(text, text)
def test_nothing_is_missing_in_what_a_donor_wrote(base: bytes, new: bytes) -> None:
    account = Account(new, ())
    assert list(account.missing(base, new, [base])) == []
    assert list(account.staying(base, new, [base])) == []


@given(text, text, text)
def test_nothing_is_missing_that_is_on_record(base: bytes, new: bytes, other: bytes) -> None:
    account = Account(other, (new, base))
    assert list(account.missing(base, new, [base])) == []
    assert list(account.staying(base, new, [base])) == []


@given(text, st.lists(st.integers(1000, 9999), min_size=1, max_size=4, unique=True))
def test_a_line_with_a_word_of_its_own_is_missed(base: bytes, numbers: list[int]) -> None:
    new = base + b"".join(b"n %d\n" % number for number in numbers)
    missing = list(Account(base, ()).missing(base, new, [base]))
    assert missing == [b"n %d\n" % number for number in numbers]


def test_one_line_may_have_what_two_donors_put_into_it() -> None:
    base = b"f(width=1, depth=2)\n"
    both = Account(b"f(width=3, depth=4)\n", ())
    assert not list(both.missing(base, b"f(width=3, depth=2)\n", [base]))
    assert not list(both.missing(base, b"f(width=1, depth=4)\n", [base]))
    assert list(both.missing(base, b"f(width=5, depth=2)\n", [base]))


def test_a_line_that_was_broken_or_joined_by_another_is_there() -> None:
    base = b"run(section='eval', data=[1])\ndone = 1\n"
    new = base.replace(b"[1]", b"report")
    broken = Account(b"run(\n    section='eval',\n    data=report,\n)\ndone = 1\n", ())
    assert not list(broken.missing(base, new, [base]))
    assert list(broken.missing(base, base.replace(b"[1]", b"another"), [base]))


def test_a_line_that_one_moved_and_another_took_out_is_not_missed() -> None:
    base = b"import a\nimport b\nimport c\n"
    moved, without = b"import c\nimport a\nimport b\n", b"import a\nimport b\n"
    assert not list(Account(without, ()).missing(base, moved, [without]))
    assert list(Account(without, ()).missing(base, moved, [base]))


def test_what_was_taken_out_stays_only_if_somebody_put_it_in() -> None:
    base = b"one ripe apple\ntwo ripe pears\n"
    new = b"two ripe pears\n"
    assert list(Account(base, ()).staying(base, new, [base])) == [b"one ripe apple\n"]
    assert not list(Account(base, ()).staying(base, new, [base + b"one ripe apple\n"]))
    assert not list(Account(base, ()).staying(base, b"one ripe apple and more\ntwo ripe pears\n", [base]))
