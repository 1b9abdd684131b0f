"""Charters: text to value and back, and every mistake named by its line."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.charter import Charter, glob_match, make_protocol, parse_charter, render_charter
from dagstore.errors import BadInput
from dagstore.ids import BlobId
from dagstore.model import Direction, Entry, Mode, Tree
from dagstore.paths import CHARTER_PATH
from dagstore.quantities import MAX_SECONDS, format_duration, format_size, parse_duration, parse_size

PLAIN = """\
command = "python train.py"
metric = "val_bpb"
direction = "minimize"
budget = "5m"
grace = "60s"
editable = ["train.py"]
locked = ["prepare.py"]
"""
CHARTER = Charter(
    command="python train.py",
    metric="val_bpb",
    direction=Direction.MINIMIZE,
    editable=("train.py",),
    locked=("prepare.py",),
)

lines = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
filled = lines.filter(str.strip)
globs = st.sampled_from(
    ["train.py", "src/*.py", "!src/secret.py", "data/**", "é .py", "a[bc]?", '"quoted"', "back\\\\s"]
)
durations = st.floats(0, MAX_SECONDS, exclude_min=True) | st.integers(1, 10**7).map(float)
sizes = st.integers(1, 2**40) | st.integers(1, 4096).map(lambda count: count * 2**20)
charters = st.builds(
    Charter,
    command=filled,
    metric=filled.map(lambda name: name.strip().replace(":", "_")).filter(bool),
    direction=st.sampled_from(Direction),
    budget=durations,
    grace=durations,
    editable=st.lists(globs, max_size=3).map(tuple),
    locked=st.lists(globs, max_size=3).map(tuple),
    fingerprint=lines,
    preload=st.lists(st.sampled_from(["torch", "torch.nn", "numpy"])).map(tuple),
    sandbox=st.sampled_from(["auto", "required", "none"]),
    file_limit=sizes,
    log_limit=sizes,
    memory=st.just(0) | sizes,
    disk=st.just(0) | sizes,
    data=st.lists(st.sampled_from(["/data", "~/.cache/autoresearch", "corpus", "~"]), max_size=3).map(tuple),
    network=st.booleans(),
    environment=st.lists(st.sampled_from(["WANDB_MODE", "_x1"]), max_size=3).map(tuple),
    evaluate=lines,
    hidden=st.lists(globs | st.sampled_from(["/secret/labels", "~/labels.csv"]), max_size=3).map(tuple),
)


@given(charters)
def test_what_is_rendered_parses_to_the_same_charter(charter):
    assert parse_charter(render_charter(charter)) == charter


def test_the_documented_example_parses():
    assert parse_charter(PLAIN) == CHARTER


def test_rendering_explains_every_key():
    text = render_charter(CHARTER)
    for field in dataclasses.fields(Charter):
        assert f"{field.name} = " in text
    assert all("#" in line for line in text.splitlines())


def test_rendering_refuses_what_it_could_not_read_back():
    with pytest.raises(BadInput, match="control character"):
        render_charter(dataclasses.replace(CHARTER, command="a\nb"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('metrc = "loss"', "dag.toml line 8: unknown key 'metrc'; did you mean 'metric'?"),
        ('"metrc" = "loss"', "dag.toml line 8: unknown key 'metrc'"),
        ("[train]\nsteps = 3", "dag.toml line 8: unknown key 'train'"),
        ("xyzzy.a = 1", "dag.toml line 8: unknown key 'xyzzy'"),
        ("preload = 3", "dag.toml line 8: preload: must be a list of texts"),
        ('preload = "torch"', "dag.toml line 8: preload: must be a list"),
        ('preload = ["a b"]', "dag.toml line 8: preload: 'a b' is no module name"),
        ("fingerprint = true", "dag.toml line 8: fingerprint: must be a text in quotes, not a boolean"),
        ("fingerprint = 2020-01-01", "dag.toml line 8: fingerprint: must be a text in quotes, not a date"),
        ('sandbox = "maybe"', "dag.toml line 8: sandbox: must be one of auto, required, none, not 'maybe'"),
        ('file_limit = "much"', "dag.toml line 8: file_limit: 'much' is not a size"),
        ("log_limit = 0", "dag.toml line 8: log_limit: 0 is not a size"),
        ("log_limit = true", "dag.toml line 8: log_limit"),
        ('memory = "lots"', "dag.toml line 8: memory: 'lots' is not a size"),
        ('network = "yes"', "dag.toml line 8: network: must be true or false, not a text"),
        ('data = ["../other"]', "dag.toml line 8: data: path '../other' holds .."),
        ('data = ["~bob/x"]', "dag.toml line 8: data: path '~bob/x' is of another user's home"),
        ('environment = ["A B"]', "dag.toml line 8: environment: 'A B' is no variable"),
        ('environment = ["DAG_NODE"]', "dag.toml line 8: environment: 'DAG_NODE' is no variable"),
        ('hidden = ["../x"]', "dag.toml line 8: hidden: glob '../x' leaves the tree"),
        ("log_limit = = 3", "dag.toml line 8: Invalid value"),
        ('metric = "twice"', "dag.toml line 8: Cannot overwrite a value"),
        ("log_limit = 1" + "0" * 5000, "dag.toml: "),
        ("log_limit = " + "[" * 5000, "dag.toml is nested too deeply"),
    ],
)
def test_a_mistake_is_named_by_its_line(line, says):
    with pytest.raises(BadInput) as caught:
        parse_charter(PLAIN + line + "\n")
    assert caught.value.message.startswith(says)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("command", '""', "line 1: command: is empty"),
        ("command", '"  "', "line 1: command: is empty"),
        ("command", r'"a\u0000b"', "line 1: command: holds a line break, a NUL"),
        ("command", r'"a\nb"', "line 1: command: holds a line break"),
        ("command", '["python"]', "line 1: command: must be a text in quotes, not a list"),
        ("metric", '"a: b"', "line 2: metric: 'a: b' is no metric name"),
        (
            "direction",
            '"min"',
            "line 3: direction: must be one of minimize, maximize, not 'min'; did you mean 'minimize'",
        ),
        ("direction", '"down"', "line 3: direction: must be one of"),
        ("budget", '"-5m"', "line 4: budget: '-5m' is not a duration"),
        ("budget", "-300", "line 4: budget: -300 is not a duration"),
        ("budget", "inf", "line 4: budget: inf is not a duration"),
        ("budget", "nan", "line 4: budget: nan is not a duration"),
        ("budget", "[5]", "line 4: budget: [5] is not a duration"),
        ("grace", '"soon"', "line 5: grace: 'soon' is not a duration"),
        ("editable", '["/etc/passwd"]', "line 6: editable: glob '/etc/passwd' is absolute"),
        ("editable", '["!/etc"]', "line 6: editable: glob '!/etc' is absolute"),
        ("editable", '["../train.py"]', "line 6: editable: glob '../train.py' leaves the tree"),
        ("editable", '["./train.py"]', "line 6: editable: glob './train.py' can match nothing"),
        ("editable", "[1]", "line 6: editable: must be a text"),
        ("editable", '[""]', "line 6: editable: is empty"),
        ("locked", '["a/../../b"]', "line 7: locked: glob 'a/../../b' leaves the tree"),
        ("locked", '["#prepare.py"]', "line 7: locked: glob '#prepare.py' can match nothing"),
    ],
)
def test_a_wrong_value_is_named_by_its_line(key, value, says):
    changed = [f"{key} = {value}" if line.startswith(key) else line for line in PLAIN.splitlines()]
    with pytest.raises(BadInput) as caught:
        parse_charter("\n".join(changed))
    assert caught.value.message.startswith(f"dag.toml {says}")


@pytest.mark.parametrize("key", ["command", "metric", "direction", "editable"])
def test_what_cannot_be_left_out(key):
    with pytest.raises(BadInput, match=f"dag.toml does not say {key}"):
        parse_charter("\n".join(line for line in PLAIN.splitlines() if not line.startswith(key)))


@given(st.text(max_size=200))
def test_no_noise_is_a_charter(text):
    with pytest.raises(BadInput, match=r"dag\.toml"):
        parse_charter(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("5m", 300), ("90s", 90), ("1h30m", 5400), ("300", 300), ("250ms", 0.25), (5, 5), (0.5, 0.5), ("1d", 86400)],
        *[(" 1 h 30 m ", 5400), ("1.5h", 5400), ("2m250ms", 120.25), ("1e3", 1000)],
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "m", "5x", "5 minutes", "30m1h", "1m1m", "-1s", "0", "0s", "nan", "inf", "1e999"]
)
def test_what_is_no_duration(text):
    with pytest.raises(BadInput, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("number", [0, -1, True, float("nan"), float("inf"), 10**400])
def test_which_numbers_are_no_duration(number):
    with pytest.raises(BadInput, match="is not a duration"):
        parse_duration(number)


@given(durations)
def test_durations_are_read_back_exactly(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5m"), (60, "1m"), (90, "1m30s"), (5400, "1h30m"), (0.25, "250ms"), (1.5, "1.5s")]
)
def test_durations_read_well(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("10MB", 10**7), ("64MiB", 2**26), ("64 mib", 2**26), ("1.5KB", 1500), ("12", 12), (12, 12), ("7B", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "MB", "1XB", "1e3", True, 0, 2**63, "9" * 19 + "TB"])
def test_what_is_no_size(text):
    with pytest.raises(BadInput, match="is not a size"):
        parse_size(text)


@given(sizes)
def test_sizes_are_read_back_exactly(size):
    assert parse_size(format_size(size)) == size


def test_sizes_read_well():
    assert [format_size(size) for size in (2**20, 10**7, 1234, 10 * 2**20)] == ["1MiB", "10MB", "1234B", "10MiB"]


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["train.py"], "train.py", True),
        (["train.py"], "sub/train.py", True),
        (["train.py"], "train.py.bak", False),
        (["src"], "src/deep/a.py", True),
        (["src/"], "src", False),
        (["src/*.py"], "src/a.py", True),
        (["src/*.py"], "src/deep/a.py", False),
        (["src/**"], "src/deep/a.py", True),
        (["*", "!prepare.py"], "prepare.py", False),
        (["src", "!src/secret.py"], "src/secret.py", False),
        (["src", "!src/secret.py"], "src/a.py", True),
        ([], "train.py", False),
    ],
)
def test_globs(patterns, path, expected):
    assert glob_match(patterns, path) is expected


def test_the_charter_is_always_locked():
    charter = dataclasses.replace(CHARTER, editable=("*",), locked=("prepare.py", "!dag.toml"))
    assert charter.is_locked(CHARTER_PATH)
    assert charter.is_locked("DAG.toml")
    assert not charter.is_locked("sub/dag.toml")
    assert not charter.is_editable(CHARTER_PATH)


def test_locked_wins_over_editable():
    charter = dataclasses.replace(CHARTER, editable=("*",))
    assert charter.is_editable("train.py")
    assert not charter.is_editable("prepare.py")


def tree(**blobs):
    return Tree.of(Entry(path.replace("_", "."), Mode.FILE, BlobId.of(data)) for path, data in blobs.items())


def test_a_protocol_holds_the_locked_entries_but_not_the_charter():
    protocol = make_protocol(CHARTER, tree(train_py=b"1", prepare_py=b"2", dag_toml=b"3"), "v1")
    assert [entry.path for entry in protocol.locked] == ["prepare.py"]
    assert (protocol.command, protocol.metric, protocol.budget) == ("python train.py", "val_bpb", 300.0)
    assert (protocol.direction, protocol.fingerprint) == (Direction.MINIMIZE, "v1")


def test_only_what_bears_on_the_numbers_is_in_the_protocol():
    before = make_protocol(CHARTER, tree(train_py=b"1", prepare_py=b"2", dag_toml=b"3"), "")
    longer = dataclasses.replace(CHARTER, grace=90.0, editable=("*",), file_limit=1)
    assert make_protocol(longer, tree(train_py=b"x", prepare_py=b"2", dag_toml=b"y"), "") == before
    assert make_protocol(CHARTER, tree(train_py=b"1", prepare_py=b"x"), "") != before
