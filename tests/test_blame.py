"""Blame through its doors, `store.blame` and `dag blame`: lines of nodes, adoptions, and whatever a file may hold."""

import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore import BadInput, Damaged, NotFound, Refused
from dagstore.blame import Parent, Place, Traced, blame
from dagstore.lines import hunks, split_lines
from dagstore.testing.builders import FILES, make_child, make_store

DAG = (sys.executable, "-P", "-c", "from cli.main import main; main()")
EVIL = "\x1b[31mred\x1b[0m\x07"
MODEL = """\
LR = 0.1
WIDTH = 64


def first(x):
    return x + 1


def second(x):
    y = x * 2

    return y - 3


model = make(depth=2, width=3, heads=4)
print("val_loss: 1.0")
"""


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path, {**FILES, "train.py": MODEL}) as made:
        yield made


def child(store, parent, old, new, path="train.py"):
    """A child in which one text of the file is another one; it is proposed in these words."""
    before = store.cat(parent, path).decode()
    assert old in before
    return make_child(store, parent, {path: before.replace(old, new)}, why=f"{old} -> {new}")


def record(store, parents, files):
    """A node with any parents and these files, as they are."""
    with store.batch() as batch:
        return batch.record(parents, files)


def brought(store, node, path="train.py"):
    """Of each line of the file: what it says, and which node brought it."""
    return {line.text: line.node for line in store.blame(node, path).lines}


class TestLines:
    def test_the_seed_brought_everything(self, store):
        found = store.blame("@seed", "train.py")
        assert (found.node, found.path) == (store.resolve("@seed"), "train.py")
        assert [line.number for line in found.lines] == list(range(1, len(MODEL.splitlines()) + 1))
        assert [line.text for line in found.lines] == MODEL.splitlines()
        assert {line.node for line in found.lines} == {found.node}

    def test_a_line_names_the_last_node_that_changed_it(self, store):
        seed = store.resolve("@seed")
        a = child(store, seed, "LR = 0.1", "LR = 0.2")
        b = child(store, a, "LR = 0.2", "LR = 0.3")
        c = child(store, b, "y = x * 2\n", "y = x * 2\n    y += 1\n")
        d = child(store, c, "WIDTH = 64\n", "")
        found = brought(store, d)
        assert (found["LR = 0.3"], found["    y += 1"], found["    y = x * 2"]) == (b, c, seed)
        assert set(found.values()) == {seed, b, c}

    def test_what_is_put_back_is_new(self, store):
        a = child(store, "@seed", "LR = 0.1", "LR = 0.2")
        assert brought(store, child(store, a, "LR = 0.2", "LR = 0.1"))["LR = 0.1"] != store.resolve("@seed")

    def test_a_line_has_the_first_note_of_its_node(self, store):
        seed = store.node("@seed")
        a = make_child(store, seed.id, {"train.py": "x = 1\n"}, why="simpler\nmuch simpler", agent="ada")
        store.note(a, "a remark", agent="bob")
        (line,) = store.blame(a, "train.py").lines
        assert (line.node, line.short, line.agent, line.message) == (a, store.short(a), "ada", "simpler")
        assert (line.time, line.text, line.origins) == (store.node(a).time, "x = 1", ())

    def test_a_range_has_the_answers_of_the_whole(self, store):
        a = child(store, "@seed", "y = x * 2", "y = x * 4")
        whole = store.blame(a, "train.py").lines
        assert store.blame(a, "train.py", first=9, last=11).lines == whole[8:11]
        assert store.blame(a, "train.py", first=15, last=99).lines == whole[14:]

    @pytest.mark.parametrize(("first", "last"), [(0, 3), (5, 4), (17, None), (10**9, 10**9)])
    def test_lines_that_are_not_there_are_refused(self, store, first, last):
        with pytest.raises(BadInput) as caught:
            store.blame("@seed", "train.py", first=first, last=last)
        assert caught.value.hint

    def test_answers_show_themselves(self, store):
        found = store.blame("@seed", "train.py")
        assert list(found.lines.to_frame()["text"]) == MODEL.splitlines()
        assert "train.py" in found._repr_html_()


class TestAdoption:
    def test_two_donors(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "LR = 0.1", "LR = 0.2"), child(store, seed, "y - 3", "y - 4")
        found = brought(store, store.adopt(a, b).node)
        assert (found["LR = 0.2"], found["    return y - 4"]) == (a, b)
        assert set(found.values()) == {seed, a, b}

    def test_three_donors_that_change_adjacent_lines(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "LR = 0.1", "LR = 0.2"), child(store, seed, "WIDTH = 64", "WIDTH = 32")
        c = child(store, seed, "WIDTH = 64\n", "WIDTH = 64\nDEPTH = 4\n")
        found = brought(store, store.adopt(a, b, c).node)
        assert (found["LR = 0.2"], found["WIDTH = 32"], found["DEPTH = 4"]) == (a, b, c)
        assert set(found.values()) == {seed, a, b, c}

    def test_adoptions_of_adoptions(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "LR = 0.1", "LR = 0.2"), child(store, seed, "y - 3", "y - 4")
        both = store.adopt(a, b).node
        more = child(store, both, "WIDTH = 64", "WIDTH = 32")
        c = child(store, seed, "return x + 1", "return x + 5")
        d = child(store, c, "heads=4", "heads=8")
        last = store.adopt(more, d, primary=more).node
        wanted = {"LR = 0.2": a, "    return y - 4": b, "WIDTH = 32": more, "    return x + 5": c}
        found = brought(store, store.adopt(last, child(store, seed, "def first", "def frist"), primary=last).node)
        assert {text: found[text] for text in wanted} == wanted
        assert found["model = make(depth=2, width=3, heads=8)"] == d

    def test_a_composed_line_names_the_donors_of_its_words(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        made = store.adopt(a, b, primary=a).node
        line = next(line for line in store.blame(made, "train.py").lines if line.text.startswith("model"))
        assert line.text == "model = make(depth=7, width=3, heads=9)"
        assert (line.node, line.origins) == (made, (b,))
        assert all(not other.origins for other in store.blame(made, "train.py").lines if other != line)

    def test_a_composed_line_of_several_donors_goes_on_naming_them(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        c, d = child(store, seed, "width=3, ", ""), child(store, seed, "LR = 0.1", "LR = 0.2")
        made = store.adopt(a, b, c, d, primary=d).node
        after = child(store, made, "WIDTH = 64", "WIDTH = 1")
        line = next(line for line in store.blame(after, "train.py").lines if line.text.startswith("model"))
        assert line.text == "model = make(depth=7, heads=9)"
        assert (line.node, line.origins) == (made, tuple(sorted((a, b, c))))

    def test_what_was_composed_onto_may_be_a_donor(self, store):
        """The primary parent is the one that the result differs from least."""
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        b = child(store, child(store, b, "LR = 0.1", "LR = 0.2"), "y - 3", "y - 4")
        made = store.adopt(a, b, primary=a).node
        assert store.node(made).primary == b
        line = next(line for line in store.blame(made, "train.py").lines if line.text.startswith("model"))
        assert (line.text, line.origins) == ("model = make(depth=7, width=3, heads=9)", (a,))

    def test_only_donors_that_were_heard_are_named(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        loser = child(store, seed, "heads=4", "heads=11")
        made = store.adopt(a, b, loser, primary=a, prefer=str(b)).node
        line = next(line for line in store.blame(made, "train.py").lines if line.text.startswith("model"))
        assert (line.text, line.origins) == ("model = make(depth=7, width=3, heads=9)", (b,))

    def test_without_a_record_of_the_adoption_there_are_no_origins(self, store):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        text = MODEL.replace("depth=2", "depth=7").replace("heads=4", "heads=9")
        made = record(store, [a, b], {"train.py": text.encode()})
        line = next(line for line in store.blame(made, "train.py").lines if line.text.startswith("model"))
        assert (line.node, line.origins) == (made, ())

    def test_a_function_that_a_donor_moved_and_another_one_edited(self, store):
        seed = store.resolve("@seed")
        start, end = MODEL.index("def first"), MODEL.index("def second")
        first, rest = MODEL[start:end], MODEL[:start] + MODEL[end:]
        at = rest.index("model =")
        mover = make_child(store, seed, {"train.py": rest[:at] + first + rest[at:]}, why="move")
        editor = child(store, seed, "return x + 1", "return x + 100")
        made = store.adopt(mover, editor, primary=editor).node
        text = store.cat(made, "train.py").decode()
        assert text.index("def second") < text.index("def first") < text.index("return x + 100")
        found = brought(store, made)
        assert (found["def first(x):"], found["    return x + 100"]) == (mover, editor)
        assert made not in found.values()

    def test_what_stands_elsewhere_in_a_parent_was_moved(self, store):
        """Composed by hand, so that no parent has the lines in this order; blank lines go with what is around them."""
        seed = store.resolve("@seed")
        block = "def third(x):\n    y = x\n\n    return y\n"
        a = make_child(store, seed, {"train.py": block + MODEL[:40]})
        b = child(store, seed, "LR = 0.1", "LR = 0.2")
        made = record(store, [b, a], {"train.py": store.cat(b, "train.py") + block.encode()})
        assert store.node(made).primary == b
        lines = store.blame(made, "train.py").lines
        assert [line.node for line in lines[-4:]] == [a] * 4
        assert made not in {line.node for line in lines}

    def test_the_primary_comes_first(self, store):
        """Both parents made the same line; it is the primary's."""
        seed = store.resolve("@seed")
        a = child(store, child(store, seed, "LR = 0.1", "LR = 0.2"), "heads=4", "heads=8")
        b = child(store, child(store, seed, "LR = 0.1", "LR = 0.2\n# same"), "\n# same", "")
        assert store.cat(b, "train.py").count(b"LR = 0.2") == 1
        for primary, other in ((a, b), (b, a)):
            made = store.adopt(primary, child(store, other, "WIDTH = 64", "WIDTH = 1"), primary=primary).node
            line = store.blame(made, "train.py").lines[0]
            assert store.is_ancestor(line.node, store.node(made).primary)

    def test_adopted_parents_are_asked_in_the_order_of_their_ids(self, store):
        seed = store.resolve("@seed")
        a = child(store, seed, "LR = 0.1", "LR = 0.2")
        donors = [make_child(store, seed, {"train.py": f"# new\n{MODEL}\n# {at}\n"}) for at in range(3)]
        made = record(store, [a, *donors], {"train.py": b"# new\n" + store.cat(a, "train.py")})
        assert store.node(made).primary == a
        assert store.blame(made, "train.py").lines[0].node == min(donors)


class TestFiles:
    def test_a_file_that_a_donor_added(self, store):
        seed = store.resolve("@seed")
        a = make_child(store, seed, {"sub/new.py": "x = 1\ny = 2\n"})
        b = child(store, a, "y = 2", "y = 3", "sub/new.py")
        made = store.adopt(b, child(store, seed, "LR = 0.1", "LR = 0.2")).node
        assert brought(store, made, "sub/new.py") == {"x = 1": a, "y = 3": b}

    def test_a_file_that_two_donors_added_differently(self, store):
        seed = store.resolve("@seed")
        a = make_child(store, seed, {"new.py": "import os\n\nA = 1\n"})
        b = make_child(store, seed, {"new.py": "import os\n\nB = 1\n"})
        made = store.adopt(a, b, child(store, seed, "LR = 0.1", "LR = 0.2")).node
        found = brought(store, made, "new.py")
        assert {found[text] for text in ("A = 1", "B = 1") if text in found} <= {a, b, made}
        assert found["import os"] in (a, b)

    def test_a_file_that_only_got_another_name(self, store):
        seed = store.resolve("@seed")
        a = child(store, seed, "LR = 0.1", "LR = 0.2")
        b = record(store, [a], {"train.py": None, "src/main.py": store.cat(a, "train.py")})
        made = store.adopt(
            child(store, b, "y - 3", "y - 4", "src/main.py"), child(store, seed, "# a", "# my", "README.md")
        )
        found = brought(store, made.node, "src/main.py")
        assert (found["LR = 0.2"], found["WIDTH = 64"]) == (a, seed)
        assert b not in found.values()

    def test_a_copy_is_not_a_new_name(self, store):
        b = record(store, ["@seed"], {"copy.py": MODEL.encode()})
        assert set(brought(store, b, "copy.py").values()) == {b}

    def test_a_file_that_was_away(self, store):
        a = record(store, ["@seed"], {"train.py": None})
        with pytest.raises(NotFound, match=r"no file 'train.py'"):
            store.blame(a, "train.py")
        b = record(store, [a], {"train.py": MODEL.encode()})
        assert set(brought(store, b).values()) == {b}

    def test_lines_end_with_line_feeds_only(self, store):
        a = record(store, ["@seed"], {"x": b"one\r\ntwo\rthree\x0bfour\r\nfive"})
        b = record(store, [a], {"x": b"one\ntwo\rthree\x0bfour\r\nfive"})
        c = record(store, [b], {"x": b"one\ntwo\rthree\x0bfour\r\nfive\n"})
        found = store.blame(c, "x").lines
        assert [(line.text, line.node) for line in found] == [("one", b), ("two\rthree\x0bfour\r", a), ("five", c)]

    def test_bytes_that_are_not_utf_8(self, store):
        a = record(store, ["@seed"], {"x": b"caf\xe9\nna\xefve\n"})
        b = record(store, [a], {"x": b"caf\xea\nna\xefve\n"})
        assert [(line.text, line.node) for line in store.blame(b, "x").lines] == [("caf�", b), ("na�ve", a)]

    def test_an_empty_file_has_no_lines(self, store):
        assert store.blame(record(store, ["@seed"], {"x": b""}), "x").lines == ()

    def test_what_is_binary_is_refused(self, store):
        node = record(store, ["@seed"], {"x.bin": b"a\n\0\n"})
        with pytest.raises(Refused, match=r"x.bin of node .* is binary") as caught:
            store.blame(node, "x.bin")
        assert caught.value.code == "binary"
        assert "touching" in caught.value.hint
        text = record(store, [node], {"x.bin": b"a\n"})
        assert store.blame(text, "x.bin").lines[0].node == text

    def test_a_link_is_the_line_that_it_holds(self, store):
        workspace = store.spawn("@seed").workspace
        os.symlink("train.py", f"{workspace}/link")
        node = store.seal(workspace).node
        (line,) = store.blame(child(store, node, "LR = 0.1", "LR = 0.2"), "link").lines
        assert (line.text, line.node) == ("train.py", node)

    @pytest.mark.parametrize(
        ("path", "near"),
        [("trian.py", "train.py"), ("sub", "sub/a.py"), ("sub/", "sub/a.py"), ("a.py", "sub/a.py"), ("\udcff", "")],
    )
    def test_unknown_paths_come_with_near_ones(self, store, path, near):
        node = record(store, ["@seed"], {"sub/a.py": b"x\n"})
        with pytest.raises(NotFound, match="has no file") as caught:
            store.blame(node, path)
        assert near in caught.value.hint
        assert "dag files" in caught.value.hint

    def test_a_version_that_is_damaged_is_told_with_its_node(self, store):
        random = Random(1)
        first, second = (
            b"".join(b"%s\n" % random.randbytes(30).hex().encode() for _ in range(4_000)) for _ in range(2)
        )
        a = record(store, ["@seed"], {"x": first})
        (file,) = (file for file in (store.folder / "blobs").rglob("*") if file.is_file())
        b = record(store, [a], {"x": second + first[-61:]})
        file.unlink()
        with pytest.raises(Damaged, match=f"node {a} cannot be read") as caught:
            store.blame(b, "x")
        assert caught.value.hint

    def test_unknown_nodes_are_not_found(self, store):
        with pytest.raises(NotFound):
            store.blame("nobody", "train.py")


class TestSizes:
    def test_a_line_of_thousands_of_nodes(self, store):
        """Longer than any recursion: half of it edits the file, the rest leaves it alone."""
        last, nodes = "@seed", []
        with store.batch() as batch:
            for number in range(1_500):
                last = batch.record([last], {"train.py": f"x = {number}\n{MODEL}".encode()})
            nodes.append(last)
            for number in range(1_500):
                last = batch.record([last], {"README.md": b"%d\n" % number})
        lines = store.blame(last, "train.py").lines
        assert {line.node for line in lines} == {store.resolve("@seed"), nodes[0]}
        assert lines[0].text == "x = 1499"

    def test_versions_that_are_large_together(self, store):
        """More bytes than are kept at hand."""
        rows = [b"%d %d\n" % (number, number * number) for number in range(30_000)]
        nodes = [record(store, ["@seed"], {"x": b"".join(rows)})]
        with store.batch() as batch:
            for number in range(30):
                rows[number * 900] = b"new %d\n" % number
                nodes.append(batch.record(nodes[-1:], {"x": b"".join(rows)}))
        found = store.blame(nodes[-1], "x").lines
        assert [found[number * 900].node for number in range(30)] == nodes[1:]
        assert found[1].node == nodes[0]

    @pytest.mark.timeout(60)
    def test_ways_are_not_counted(self, store):
        """Nine nodes a layer that each adopt all of the layer before: 9 ** 10 ways lead from the last to the seed."""
        layer = [store.resolve("@seed")]
        texts = {layer[0]: MODEL}
        with store.batch() as batch:
            for depth in range(10):
                made = {}
                for at, parent in zip(range(9), layer * 9, strict=False):
                    text = texts[parent].replace("\nprint", f"\nx{depth}_{at} = {depth}\nprint")
                    made[
                        batch.record([parent, *(one for one in layer if one != parent)], {"train.py": text.encode()})
                    ] = text
                layer, texts = list(made), made
        last = record(store, layer, {"train.py": b"".join(text.encode() for text in texts.values())})
        found = store.blame(last, "train.py").lines
        assert last not in {line.node for line in found if line.text.startswith("x9_")}
        assert len({line.node for line in found if re.match(r"x\d", line.text)}) == 90


class Drawn:
    """A history that is written down: each version with its parents, the primary first (0: the primary lacks it)."""

    def __init__(self, versions, heard=()):
        self._versions, self._heard = versions, heard
        self.asked = Counter()

    def parents(self, place):
        self.asked[place.node] += 1
        primary, *adopted = self._versions[place.node][0] or (0,)
        found = [Parent(Place(primary, "f"), 0)] if primary else []
        return [*found, *(Parent(Place(node, "f"), node) for node in adopted)]

    def content(self, place):
        return self._versions[place.node][1]

    def donors(self, place):
        return self._heard


class TestEngine:
    def test_a_version_is_settled_once_when_nothing_more_can_come(self):
        """Two ways lead from 4 to 1, one of them longer."""
        drawn = Drawn({
            1: ((), b"a\nb\nc\n"),
            2: ((1,), b"a\nB\nc\n"),
            3: ((2,), b"a\nB\nC\n"),
            4: ((1,), b"A\nb\nc\n"),
            5: ((4, 3), b"c\nA\na\nB\nC\n"),
        })  # fmt: skip
        found = blame(Place(5, "f"), drawn, range(5))
        assert [one.place.node for one in found] == [1, 4, 1, 2, 3]
        assert set(drawn.asked.values()) == {1}

    def test_two_answers_may_come_to_one_line(self):
        drawn = Drawn({1: ((), b"a\n"), 2: ((1,), b"a\nb\n"), 3: ((1,), b"c\na\n"), 4: ((2, 3), b"a\nb\nc\na\n")})
        assert [one.place.node for one in blame(Place(4, "f"), drawn, range(4))] == [1, 2, 3, 1]

    def test_donors_of_a_file_that_the_primary_lacks(self):
        drawn = Drawn({1: ((), b"f(a=1)\n"), 2: ((), b"f(b=2)\n"), 3: ((0, 1, 2), b"f(a=1, b=2)\n")}, heard=(1, 2))
        assert blame(Place(3, "f"), drawn, range(1)) == [Traced(Place(3, "f"), (1, 2))]

    def test_blocks_that_were_moved_stay_together(self):
        """The primary lost such a last line as well, but what stands around those is the donor's."""
        blocks, rest = b"one\n\nend\ntwo\n\nend\n", b"x\ny\nw\nv\nu\nt\ns\n"
        drawn = Drawn({1: ((), b"end\n" + rest), 2: ((), blocks + rest), 3: ((1, 2), rest + blocks)})
        assert [one.place.node for one in blame(Place(3, "f"), drawn, range(13))] == [1] * 7 + [2] * 6

    def test_a_blank_line_alone_is_not_found_elsewhere(self):
        drawn = Drawn({1: ((), b"\na\nb\n"), 2: ((), b"\na\nb\nc\n"), 3: ((1, 2), b"a\nb\n\n")})
        assert [one.place.node for one in blame(Place(3, "f"), drawn, range(3))] == [1, 1, 3]


class TestCommand:
    @pytest.fixture
    def dag(self, store):
        def run(*words):
            store.close()
            return subprocess.run(
                [*DAG, "-C", store.root, *map(str, words)], capture_output=True, text=True, check=False
            )

        return run

    def test_json(self, store, dag):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        made = store.adopt(a, b, primary=a, agent="ada", why="both").node
        answer = json.loads(dag("blame", f"{made}:train.py", "-L", "15,15", "--json").stdout)
        (line,) = answer.pop("lines")
        assert answer == {"node": str(made), "path": "train.py"}
        assert line.pop("time") > 0
        assert line == {
            "number": 15,
            "node": str(made),
            "short": str(made)[:8],
            "agent": "ada",
            "message": "both",
            "text": "model = make(depth=7, width=3, heads=9)",
            "origins": [str(b)],
        }

    def test_text_is_a_line_for_each_line(self, store, dag):
        seed = store.resolve("@seed")
        a = child(store, seed, "LR = 0.1", "LR = 0.2")
        lines = dag("blame", f"{a}:train.py").stdout.splitlines()
        assert len(lines) == len(MODEL.splitlines())
        assert re.fullmatch(rf"{str(a)[:8]}  tester  .*  LR = 0.1 -> LR = 0.2   1  LR = 0.2", lines[0])
        assert re.fullmatch(rf"{str(seed)[:8]}  tester  .*  seed +10      y = x \* 2", lines[9])

    def test_donors_are_named_in_the_text(self, store, dag):
        seed = store.resolve("@seed")
        a, b = child(store, seed, "depth=2", "depth=7"), child(store, seed, "heads=4", "heads=9")
        made = store.adopt(a, b, primary=a).node
        assert f"⇠ {str(b)[:8]} adopt" in dag("blame", f"{made}:train.py").stdout.splitlines()[14]

    def test_ranges(self, store, dag):
        assert len(dag("blame", "@seed:train.py", "-L", "3,5").stdout.splitlines()) == 3
        assert len(dag("blame", "@seed:train.py", "-L", ",5").stdout.splitlines()) == 5
        assert len(dag("blame", "@seed:train.py", "-L", "15,").stdout.splitlines()) == 2
        assert dag("blame", "@seed:train.py", "-L", "99,").returncode == 4

    @pytest.mark.parametrize(
        "words", [("@seed",), ("@seed:",), ("@seed:train.py", "-L", "5"), ("@seed:x", "-L", "5,4")]
    )
    def test_usage(self, dag, words):
        assert dag("blame", *words).returncode == 2

    def test_errors_are_documents(self, store, dag):
        node = record(store, ["@seed"], {"x.bin": b"\0"})
        for words, code, name in (("@seed:trian.py", 3, "not_found"), (f"{node}:x.bin", 4, "binary")):
            answer = dag("blame", words, "--json")
            assert (answer.returncode, json.loads(answer.stderr)["code"]) == (code, name)
        assert "train.py" in dag("blame", "@seed:trian.py").stderr

    def test_an_empty_file_is_said_to_be(self, store, dag):
        node = record(store, ["@seed"], {"x": b""})
        answer = dag("blame", f"{node}:x")
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "x is empty\n")

    def test_nothing_from_agents_commands_a_terminal(self, store):
        node = make_child(store, "@seed", {"train.py": f"# {EVIL}\n\tLR = 1\r\n"}, why=EVIL, agent=EVIL)
        store.close()
        words = [*DAG, "-C", store.root, "blame", f"{node}:train.py"]
        piped = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert not set(piped) & {"\x1b", "\x07", "\r"}
        shown = at_terminal(words)
        ours = re.sub(r"\x1b\[[0-9;]*m", "", shown)
        assert not set(ours) & {"\x1b", "\x07"}
        assert "\x1b[31mred" not in shown
        assert "red" in ours

    def test_a_message_gives_way_to_the_lines_of_the_file(self, store):
        node = make_child(store, "@seed", {"train.py": f"x = '{'y' * 40}'\n"}, why="many words " * 9)
        store.close()
        lines = at_terminal([*DAG, "-C", store.root, "blame", f"{node}:train.py"]).splitlines()
        assert len(lines) == 1
        assert "…" in lines[0]


def at_terminal(words):
    """What a terminal of 100 columns gets."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(words, stdout=secondary, env=environment) as process:
        os.close(secondary)
        shown = b""
        while chunk := read(primary):
            shown += chunk
        os.close(primary)
    assert process.returncode == 0
    return shown.decode()


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last writer is gone
        return b""


WORDS = st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\r\n", b"\n", b"\xff\n", b"a b c\n", b"a x c\n"])
TEXTS = st.lists(WORDS, max_size=9).map(b"".join)
EDITS = st.tuples(st.integers(0, 9), st.integers(0, 3), st.lists(WORDS, max_size=3))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store that all drawn histories are recorded in."""
    with make_store(tmp_path_factory.mktemp("blame")) as made:
        yield made


def edited(text, edits):
    lines = split_lines(text)
    for start, length, new in edits:
        lines[start : start + length] = new
    return b"".join(lines)


@settings(max_examples=100, deadline=None)
@given(start=TEXTS, steps=st.lists(st.lists(EDITS, min_size=1, max_size=2), max_size=8))
def test_a_line_of_nodes_is_traced_as_by_hand(shared, start, steps):
    texts = [start]
    for edits in steps:
        texts.append(edited(texts[-1], edits))
    nodes = [make_node(shared, ["@seed"], start)]
    for text in texts[1:]:
        nodes.append(make_node(shared, nodes[-1:], text))
    found = [line.node for line in shared.blame(nodes[-1], "x").lines]
    assert found == by_hand(texts, nodes)


NUMBERS = count()


def make_node(store, parents, text):
    """A node like no other with that text at `x`."""
    return record(store, parents, {"x": text, "number": b"%d" % next(NUMBERS)})


def by_hand(texts, nodes):
    """Forward in time: who brought each line of the last text, where each is a version of the one before."""
    owners = [nodes[0]] * len(split_lines(texts[0]))
    for old, new, node in zip(texts, texts[1:], nodes[1:], strict=False):
        for hunk in reversed(hunks(split_lines(old), split_lines(new))):
            owners[hunk.start : hunk.end] = [node] * len(hunk.new_lines)
    return owners


@st.composite
def histories(draw):
    """Nodes, each with numbers of earlier ones as parents and a text made of theirs; None: let the store compose it."""
    texts, nodes = [draw(TEXTS)], []
    for number in range(1, draw(st.integers(2, 7))):
        parents = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3, unique=True))
        text = edited(texts[parents[0]], draw(st.lists(EDITS, max_size=2)))
        for parent in parents[1:]:
            lines = split_lines(texts[parent])
            text = edited(text, [(draw(st.integers(0, 9)), 0, lines[draw(st.integers(0, 9)) :][:3])])
        texts.append(text)
        nodes.append((parents, None if len(parents) > 1 and draw(st.booleans()) else text))
    return texts[0], nodes


def recorded(store, history):
    start, steps = history
    nodes = [make_node(store, ["@seed"], start)]
    for parents, text in steps:
        chosen = [nodes[parent] for parent in parents]
        composed = text is None and len(set(chosen)) > 1
        nodes.append(store.adopt(*chosen).node if composed else make_node(store, chosen, text or b""))
    return nodes


@settings(max_examples=150, deadline=None)
@given(history=histories())
def test_every_line_is_in_the_version_of_an_ancestor_and_in_no_parent_of_that(shared, history):
    node = recorded(shared, history)[-1]
    lines = split_lines(shared.cat(node, "x"))
    found = shared.blame(node, "x").lines
    assert [line.text for line in found] == [line.removesuffix(b"\n").decode("utf-8", "replace") for line in lines]
    for line, said in zip(lines, found, strict=True):
        assert shared.is_ancestor(said.node, node)
        check_own(shared, said.node, line)


def check_own(store, node, line):
    """The node's version has the line, and more often than what its parents can account for."""
    own = split_lines(store.cat(node, "x"))
    left = sum(one == line and said.node == node for one, said in zip(own, store.blame(node, "x").lines, strict=True))
    assert left
    view = store.node(node)
    if line.strip() and view.adopted:
        for parent in (view.primary, *view.adopted):
            assert split_lines(store.cat(parent, "x")).count(line) <= own.count(line) - left


@settings(max_examples=100, deadline=None)
@given(history=histories())
def test_lines_are_traced_together_as_they_are_one_by_one(shared, history):
    node = recorded(shared, history)[-1]
    whole = shared.blame(node, "x").lines
    assert [shared.blame(node, "x", first=line.number, last=line.number).lines[0] for line in whole] == list(whole)
