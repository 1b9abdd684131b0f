"""Guessed charters: what is read from which file, and that every guess is said."""

import pytest

from dagstore.charter import parse_charter, render_charter
from dagstore.errors import BadInput
from dagstore.guess import guess_charter
from dagstore.model import Direction

TRAIN = """\
from prepare import TIME_BUDGET

print(f"Time budget: {TIME_BUDGET}s")
while True:
    print(f"\\rstep {step:05d} | loss: {loss:.6f}", end="")
    if done:
        print("FAIL")
print()
print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"training_seconds: {seconds:.1f}")
print(f"num_steps:        {step}")
"""
PREPARE = "MAX_SEQ_LEN = 2048\nTIME_BUDGET = 300        # training time budget in seconds (5 minutes)\n"
PROJECT = {
    "train.py": TRAIN,
    "prepare.py": PREPARE,
    "uv.lock": "",
    "pyproject.toml": "",
    "program.md": "The goal is simple: get the lowest val_bpb.",
}


def guess(files=PROJECT, **said):
    return guess_charter(files, **said)[0]


def test_a_project_laid_out_like_autoresearch():
    charter, said = guess_charter(PROJECT)
    assert (charter.command, charter.metric, charter.direction) == ("uv run train.py", "val_bpb", Direction.MINIMIZE)
    assert (charter.budget, charter.editable, charter.locked) == (300.0, ("train.py",), ("prepare.py",))
    assert said == [
        "command uv run train.py: train.py is the experiment's script, and there is a uv.lock",
        "editable train.py: it is the experiment's script",
        "metric val_bpb: the first line of the summary that train.py prints",
        "direction minimize: 'bpb' in val_bpb means that lower is better",
        "budget 5m: TIME_BUDGET = 300 in prepare.py",
        "locked prepare.py: by name, what prepares the data or measures the result",
    ]


def test_a_guess_is_a_charter_that_can_be_written():
    assert parse_charter(render_charter(guess())) == guess()


def test_without_a_lock_file_plain_python_runs_it():
    assert guess({"train.py": TRAIN}).command == "python train.py"


def test_nothing_is_guessed_where_all_is_said():
    said = {"command": "make it", "metric": "m", "direction": Direction.MAXIMIZE, "budget": 7.0}
    charter, sentences = guess_charter({}, editable=["a.py"], locked=[], **said)
    assert sentences == []
    assert (charter.command, charter.metric, charter.direction, charter.budget) == ("make it", "m", "maximize", 7.0)
    assert (charter.editable, charter.locked) == (("a.py",), ())


def test_what_the_command_runs_is_editable_and_says_the_metric():
    files = {**PROJECT, "bench.py": 'print("latency_ms:", best)'}
    charter = guess(files, command="python bench.py")
    assert (charter.editable, charter.metric, charter.direction) == (("bench.py",), "latency_ms", "minimize")
    assert charter.locked == ("prepare.py",)


@pytest.mark.parametrize(
    "command", ["python ./sub/go.py", "uv run --with=x.py 'sub/go.py' -v", "sh prepare.py sub/go.py"]
)
def test_the_script_is_found_in_the_command(command):
    assert guess(command=command, metric="loss").editable == ("sub/go.py",)


def test_an_evaluator_that_prints_the_metric_is_run_and_locked():
    files = {"solution.py": "def solve(): ...", "evaluate.py": 'print(f"score: {score}")'}
    charter = guess(files)
    assert (charter.command, charter.metric, charter.direction) == ("python evaluate.py", "score", Direction.MAXIMIZE)
    assert (charter.editable, charter.locked) == (("solution.py",), ("evaluate.py",))
    assert guess(files, command="python evaluate.py").editable == ("solution.py",)


@pytest.mark.parametrize(
    ("names", "script"),
    [
        (["train.py", "main.py"], "train.py"),
        (["odd.py"], "odd.py"),
        (["odd.py", "test_odd.py", "setup.py", "conftest.py", "sub/train.py"], "odd.py"),
        (["main.py", "util.py"], "main.py"),
        (["solution.py", "util.py"], "solution.py"),
    ],
)
def test_which_script_is_the_experiment(names, script):
    assert guess(dict.fromkeys(names, ""), metric="loss").editable == (script,)


@pytest.mark.parametrize("names", [[], ["a.py", "b.py"], ["prepare.py"], ["README.md"]])
def test_without_a_script_the_command_is_asked_for(names):
    with pytest.raises(BadInput) as caught:
        guess(dict.fromkeys(names, ""))
    assert "--command" in caught.value.hint


def test_without_anything_to_edit_that_is_asked_for():
    with pytest.raises(BadInput) as caught:
        guess({}, command="make bench")
    assert "--editable" in caught.value.hint


def test_without_a_metric_it_is_asked_for():
    with pytest.raises(BadInput) as caught:
        guess({"train.py": "print('hello')"})
    assert "--metric" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "metric"),
    [
        ('print(f"loss: {x}")\nx = 1\nprint(f"val_acc: {x}")\nprint(f"steps: {n}")', "val_acc"),
        ('print("rmse: %.3f" % x)', "rmse"),
        ('print("mae: {:.3f}".format(x))', "mae"),
        ('print("f1:", x)', "f1"),
        ('print("---")\nprint(f"first: {x}")\n\nprint(f"second: {x}")', "first"),
        ('print(f"\\nval/loss: {x}")', "val/loss"),
    ],
)
def test_the_summary_is_the_last_block_or_the_one_under_a_rule(source, metric):
    assert guess({"run.py": source}).metric == metric


def test_a_text_that_asks_for_a_metric_is_heard():
    charter, said = guess_charter({"a.py": "", "README.md": "Please reach the highest `win_rate` you can."})
    assert (charter.metric, charter.direction) == ("win_rate", Direction.MAXIMIZE)
    assert "metric win_rate: README.md asks for it" in said
    assert "direction maximize: README.md asks for it" in said


LOWER = (
    "val_bpb loss val_loss err top1_error perplexity ppl rmse mae mse wall_time latency_ms seconds score_error Val/Loss"
)
HIGHER = "acc val_acc accuracy score mean_reward f1 f1_macro auc bleu r2 throughput acc@5 acc1 tok_per_sec scores"


@pytest.mark.parametrize("metric", LOWER.split())
def test_lower_is_better(metric):
    charter, said = guess_charter(PROJECT, metric=metric)
    assert charter.direction is Direction.MINIMIZE
    assert any("lower is better" in sentence for sentence in said)


@pytest.mark.parametrize("metric", HIGHER.split())
def test_higher_is_better(metric):
    assert guess(metric=metric).direction is Direction.MAXIMIZE


@pytest.mark.parametrize("metric", ["accelerations", "glossy", "oddity"])
def test_a_name_that_tells_nothing_is_said_to(metric):
    charter, said = guess_charter(PROJECT, metric=metric)
    assert charter.direction is Direction.MINIMIZE
    assert any("check this one" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({"train.py": "TIME_BUDGET = 5 * 60  # five minutes"}, 300),
        ({"train.py": "TIME_BUDGET: float = 90.5"}, 90.5),
        ({"train.py": "TRAIN_TIME_BUDGET_SECONDS = 1_200"}, 1200),
        ({"train.py": "", "config.py": "MAX_SECONDS = 10"}, 10),
        ({"train.py": "TIME_BUDGET = f()"}, 300),
        ({"train.py": "TIME_BUDGET = 0"}, 300),
        ({"train.py": "", "program.md": "a **fixed time budget of 10 minutes** (wall clock)"}, 600),
        ({"train.py": "", "program.md": "a budget of 0 seconds"}, 300),
        ({"train.py": "TIME_BUDGET = 7", "program.md": "budget of 2 hours"}, 7),
    ],
)
def test_how_long(files, seconds):
    assert guess(files, metric="loss").budget == seconds


@pytest.mark.parametrize(
    "code",
    [
        'CACHE = os.path.join(os.path.expanduser("~"), ".cache", "autoresearch")',
        'CACHE = Path("~/.cache/autoresearch").expanduser()',
    ],
)
def test_a_cache_that_a_script_names_can_be_read(code):
    files = {"train.py": "print('loss: {x}')\n", "prepare.py": code}
    charter, said = guess_charter(files, metric="loss", direction=Direction.MINIMIZE)
    assert charter.data == ("~/.cache/autoresearch",)
    assert "data ~/.cache/autoresearch: prepare.py names it" in said
