"""A hidden evaluation: what the experiment says of itself does not rank."""

import sys
from pathlib import Path

import pytest

import dagstore
from trainer.worker import Setting, Worker

CHARTER = """command = "python -S train.py"
metric = "score"
direction = "maximize"
budget = "20s"
grace = "2s"
editable = ["train.py"]
locked = ["evaluate.py", "helper.py"]
"""
EVALUATE = """import os
import helper
labels = open('labels.txt').read() + open({outside!r}).read()
answer = open(os.environ['DAG_OUT'] + '/answer').read()
print('score:', sum(a == b for a, b in zip(answer, labels)) * helper.ONE)
"""


class Exam:
    """Labels that the experiment cannot see, in the tree and outside of it."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.outside = folder / "outside"
        self.outside.write_text("67890")
        self.root = folder / "project"
        self.root.mkdir()
        (self.root / "labels.txt").write_text("12345")
        (self.root / "evaluate.py").write_text(EVALUATE.format(outside=str(self.outside)))
        (self.root / "helper.py").write_text("ONE = 1\n")
        (self.root / "train.py").write_text("")
        self.charter(more)
        dagstore.init(self.root)
        self.store = dagstore.open(self.root)

    def charter(self, more: str) -> None:
        hidden = f'evaluate = "python -S evaluate.py"\nhidden = ["labels.txt", "{self.outside}"]\n'
        (self.root / "dag.toml").write_text(CHARTER + hidden + more)

    def run(self, code: str, unlock: bool = False):
        (self.root / "train.py").write_text("import os\nout = os.environ['DAG_OUT']\n" + code)
        node = self.store.record(self.root, ["@seed"], why="an idea", unlock=unlock).node
        self.store.queue([node])
        environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nowhere"}
        (run,) = Worker(self.store, Setting("exam", environ)).work(until_idle=True)
        assert list((self.store.folder / "scratch").glob("*")) == []
        return run

    def log(self, run, name="log") -> str:
        return self.store.blob(run.artifacts[name]).decode()


@pytest.fixture
def exam(tmp_path):
    made = Exam(tmp_path)
    yield made
    made.store.close()


def answer(text: str) -> str:
    return f"open(out + '/answer', 'w').write({text!r})\n"


def test_the_evaluation_s_number_ranks_and_the_experiment_s_own_is_kept_aside(exam):
    run = exam.run(answer("12300") + "print('score: 1000')\nprint('loss: 0.5')\n")
    assert (run.status.value, run.value, run.ending) == ("ok", 3.0, "finished")
    assert (run.metrics["reported_score"], run.metrics["loss"]) == (1000.0, 0.5)
    assert exam.log(run, "evaluation") == "score: 3\n"
    assert exam.store.frontier().nodes[0].estimate == 3.0


def test_what_is_hidden_is_not_there_for_the_experiment(exam):
    code = f"for path in ('labels.txt', {str(exam.outside)!r}):\n    print(os.path.exists(path))\n"
    run = exam.run(code + answer("1234567890"))
    assert run.value == 10.0
    if run.environment["sandbox"] in ("bubblewrap", "namespaces", "landlock"):
        assert exam.log(run).splitlines()[0] == "False"
    if run.environment["sandbox"] == "bubblewrap":
        assert exam.log(run) == "False\nFalse\n"


def test_patching_the_evaluator_at_run_time_changes_nothing(exam):
    code = "import sys, types\nfake = types.ModuleType('helper')\nfake.ONE = 10**6\nsys.modules['helper'] = fake\n"
    code += "open('sitecustomize.py', 'w').write('print(1)')\n"
    run = exam.run(code + answer("1") + "print('score: 7')\n")
    assert run.value == 1.0


def test_a_link_to_the_answers_is_no_answer(exam):
    run = exam.run(f"os.symlink({str(exam.outside)!r}, out + '/answer')\n")
    assert (run.status.value, run.ending) == ("invalid", "evaluation-failed")
    assert "No such file" in run.reason
    assert "score" not in run.metrics


def test_a_number_is_none_if_the_evaluation_says_none(exam):
    run = exam.run("print('score: 5')\n")
    assert (run.status.value, run.value, run.ending) == ("invalid", None, "evaluation-failed")
    assert run.metrics["reported_score"] == 5.0
    assert not exam.store.frontier().nodes


def test_a_crash_is_not_evaluated(exam):
    run = exam.run(answer("12345") + "raise ValueError('no')\n")
    assert (run.status.value, run.ending) == ("crashed", "exit-code")
    assert set(run.artifacts) == {"log"}


def test_outputs_cannot_be_changed_by_the_evaluation_nor_written_for_the_next(exam):
    first = exam.run(answer("12345"))
    second = exam.run("print(os.listdir(out))\n" + answer("1"))
    assert (first.value, second.value) == (5.0, 1.0)
    assert exam.log(second) == "[]\n"


def test_another_evaluation_is_another_protocol(exam):
    first = exam.run(answer("12345"))
    exam.charter("network = true\n")
    same = exam.run(answer("1234"), unlock=True)
    text = (exam.root / "dag.toml").read_text().replace("-S evaluate.py", "-S evaluate.py again")
    (exam.root / "dag.toml").write_text(text)
    other = exam.run(answer("123"), unlock=True)
    assert first.protocol == same.protocol != other.protocol
