"""Nodes by a condition: what it says, what is not known, what is refused, and that nothing is evaluated."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore import BadInput, DagError, NotFound
from dagstore.expressions import Condition, Kind, Value, condition
from dagstore.meaning import is_called
from dagstore.model import Status
from dagstore.testing.builders import FakeClock, make_child, make_store, measure

H100 = "NVIDIA H100 80GB HBM3 x8"


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A store, and its nodes by a letter."""
    clock = FakeClock()
    with make_store(tmp_path_factory.mktemp("query"), clock=clock) as store:
        a = make_child(
            store, "@seed", {"train.py": "LR = 0.2\nWIDTH = 64\nDEPTH = 4\n"}, why="Double the rate", agent="ann"
        )
        b = make_child(store, "@seed", {"train.py": "LR = 0.1\nWIDTH = 32\nDEPTH = 4\n"}, why="narrow", agent="bob")
        clock.advance(7200)
        c = make_child(store, a, {"model.py": "x = 1\n"}, why="a model")
        d = store.adopt(a, b, agent="ann").node
        measure(store, "@seed", 1.0, metrics={"peak_mb": 10.0})
        measure(store, a, 0.9, metrics={"peak_mb": 20.0})
        measure(store, a, 0.8, seed=1)
        measure(store, b, 1.2, metrics={"loss/val": 3.0})
        measure(store, b, 0.1, platform=H100)
        measure(store, c, None, Status.OOM)
        store.name("good", a)
        yield store, dict(zip("sabcd", (store.resolve("@seed"), a, b, c, d), strict=True))


CASES = {
    "val_loss < 1": "a",
    "not val_loss < 1": "sbcd",
    "val_loss >= 1": "sb",
    "val_loss != 1": "ab",
    "not val_loss == 1": "abcd",
    "missing(val_loss)": "cd",
    "0.8 < val_loss <= 1": "sa",
    "0.84 < val_loss < 0.86": "a",
    "missing(estimate)": "cd",
    "peak_mb > 15": "a",
    "missing(peak_mb)": "bcd",
    "metric('loss/val') == 3": "b",
    "val_loss * 2 - 1 < 1": "a",
    "val_loss / 0 < 1": "",
    "-val_loss < -1": "b",
    "generation == 1 and runs > 1": "ab",
    "runs in (0, 2)": "abd",
    "runs not in (0, 2)": "sc",
    "adopted > 0": "d",
    "message == 'narrow'": "b",
    "'rate' in message": "a",
    "'rate' not in message": "sbcd",
    "message.lower().startswith('double')": "a",
    "message.endswith('model')": "c",
    "agent == 'ann' or agent == 'bob'": "abd",
    "agent in ['ann', 'bob'] and not adopted == 1": "ab",
    "status == 'oom'": "c",
    "status == 'new'": "d",
    "names == 'good'": "a",
    "'good' in names": "a",
    "'goo' in names": "",
    "missing(names)": "sbcd",
    "platform == 'H100'": "b",
    "platform == 'nvidia h100'": "b",
    f"platform == '{H100}'": "b",
    "'80GB' in platform": "b",
    "platform != 'cpu'": "",
    "platform == 'cpu'": "sabc",
    "not platform == 'cpu'": "d",
    "seed == 1": "a",
    "seconds < 2": "sab",
    "runner == 'tester'": "sabc",
    "exit_code != 0": "c",
    "age < 1 * hours": "cd",
    "age > 30 * minutes": "sab",
    "touches('train.py:LR')": "ad",
    "touches('model.py')": "c",
    "touches('train.py:LR') and runs > 0": "a",
    "descends_from('good')": "cd",
    "adopts('good')": "d",
    "improves()": "a",
    "missing(val_loss) or val_loss > 1.1": "bcd",
    "(val_loss < 1 or val_loss > 1.1) and not platform == 'H100'": "a",
    "low < 0": "",
}


@pytest.mark.parametrize("text", CASES)
def test_a_condition_holds_for(asked, text):
    store, nodes = asked
    found = set(store.query(text).ids())
    assert "".join(letter for letter, id in nodes.items() if id in found) == CASES[text]


def test_ids_and_protocols_are_named_by_their_beginning(asked):
    store, nodes = asked
    assert list(store.query(f"id == '{str(nodes['a'])[:10]}'").ids()) == [nodes["a"]]
    protocol = str(store.runs("@seed")[0].protocol)
    assert len(store.query(f"protocol == '{protocol[:8]}'")) == 4


def test_answers_are_nodes_in_either_order(asked):
    store, _ = asked
    found = store.query("runs > 0")
    assert list(found.ids()) == list(store.query("runs > 0", newest_first=True).ids())[::-1]
    assert (found[0], len(found.to_frame())) == (store.node("@seed"), 4)


def test_estimates_are_those_of_the_node(asked):
    store, nodes = asked
    for letter in "sab":
        value = store.node(nodes[letter]).estimate
        assert nodes[letter] in set(store.query(f"{value - 1e-9} < estimate < {value + 1e-9}").ids())


def test_metrics_are_of_one_platform(asked):
    store, nodes = asked
    assert list(store.query("val_loss < 0.5", platform=H100).ids()) == [nodes["b"]]
    assert not store.query("val_loss < 0.5")


REFUSED = {
    "": "invalid syntax",
    "val_lss < 1": "is it val_loss?",
    "touched('x')": "is it touches",
    "val_loss": "no condition",
    "val_loss < 'x'": "a number is compared with a text",
    "val_loss in message": "nothing can be in|compared|number",
    "status == 'okay'": "there is: ok, crashed",
    "touches()": "touches what?",
    "touches(message)": "a text in quotes",
    "touches('a', 'b')": "one argument",
    "__import__('os').system('true')": "no condition .system",
    "().__class__.__bases__ == 1": "this is no value",
    "open('/etc/passwd') == 1": "no value",
    "[n for n in (1,)]": "no condition",
    "(lambda: 1)() == 1": "no value",
    "f'{runs}' == '1'": "no value",
    "runs == True": "neither",
    "runs == None": "neither",
    "runs < 1e999": "inf",
    "10 ** 10 ** 10 < runs": "only",
    "'a' * 1000000000 == message": "single numbers",
    "message % 1 == 'x'": "only",
    "runs is 1": "==",
    "runs in ()": "empty list",
    "(yield) == 1": "no value|syntax",
    "runs := 1": "syntax",
    "runs == 1; runs == 2": "syntax",
    "x" * 2001: "limit",
    "(" * 500: "nested|syntax|read",
    "not " * 400 + "improves()": "nested",
    "-" * 1900 + "1 < runs": "nested|read",
    "a.b" * 300 + " == 1": "syntax|no value",
    "runs == 1\0": "null",
    "\udc80 == 1": "read|encode",
    "message.lower == 1": "no value",
    "message.format('x')": "no condition .format",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_means_nothing_is_refused(asked, text):
    store, _ = asked
    with pytest.raises(BadInput) as refused:
        store.query(text)
    assert re.search(REFUSED[text], f"{refused.value.message} {refused.value.hint}")


def test_what_is_not_there_is_not_found_with_what_is(asked):
    store, _ = asked
    with pytest.raises(NotFound, match=r"character 13 .* nothing was measured on 'A100'") as missing:
        store.query("platform == 'A100'")
    assert missing.value.hint == f"there is: {H100}, cpu"
    with pytest.raises(NotFound, match="character 14"):
        store.query("runs > 0 and descends_from('nobody')")


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text("()'\"[]{}.,:=<>!-+*/% \n\tabcruns019_@#\\", max_size=80))
def test_any_text_is_a_condition_or_an_error_of_ours(asked, text):
    store, _ = asked
    try:
        found = len(store.query(text))
    except DagError:
        found = 0
    assert 0 <= found <= store.count()


ROWS = {1: 0.5, 2: None, 3: 2.0, 4: 1.0, 5: None}


class Loss:
    """A vocabulary with one number, and a function that counts how often it is asked."""

    def __init__(self):
        self.asked = []

    def value(self, name):
        return Value(Kind.NUMBER, 1, lambda rows: [ROWS[row] for row in rows]) if name == "loss" else None

    def function(self, name, argument):
        def select(rows):
            self.asked.append(list(rows))
            return [row for row in rows if row % 2]

        return Condition(1000, select) if name == "odd" else None

    def near(self, name):
        return []


atoms = st.sampled_from(["loss < 1", "loss >= 1", "loss != 2", "missing(loss)", "odd()", "loss in (1, 2)"])
conditions = st.recursive(
    atoms,
    lambda inner: (
        st.builds("({}) and ({})".format, inner, inner)
        | st.builds("({}) or ({})".format, inner, inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=8,
)


@given(conditions, conditions)
def test_conditions_follow_the_laws_of_logic(one, other):
    def rows(text):
        return condition(text, Loss()).select(list(ROWS))

    everything = set(ROWS)
    assert set(rows(f"not ({one})")) == everything - set(rows(one))
    assert set(rows(f"({one}) and ({other})")) == set(rows(one)) & set(rows(other))
    assert set(rows(f"({one}) or ({other})")) == set(rows(one)) | set(rows(other))
    assert rows(one) == sorted(rows(one))


def test_what_costs_much_is_asked_last_and_only_where_it_matters():
    words = Loss()
    assert condition("odd() and loss < 1", words).select(list(ROWS)) == [1]
    assert words.asked == [[1]]
    words = Loss()
    assert condition("odd() or loss < 3", words).select(list(ROWS)) == [1, 3, 4, 5]
    assert words.asked == [[2, 5]]


@pytest.mark.parametrize(
    ("platform", "text", "expected"),
    [
        (H100, "H100", True),
        (H100, "h100 80gb", True),
        (H100, H100, True),
        (H100, "H10", False),
        (H100, "NVIDIA HBM3", False),
        ("cpu: AMD EPYC, 2 cores", "EPYC", True),
        ("cpu: AMD EPYC, 2 cores", "cpu", True),
        ("cpu", "", False),
    ],
)
def test_a_platform_is_called_by_whole_words_of_its_name(platform, text, expected):
    assert is_called(platform, text) is expected
