"""What the documents say is what the program does."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest

from cli import main
from dagstore.charter import Charter
from dagstore.model import Status
from dagstore.replay import Killed, Replayed
from dagstore.views import DonorView, Gain, Place, Verdict

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
VERBS = [name for names in main.VERBS.values() for name in names]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def command_of(verb):
    return main.dag.get_command(click.Context(main.dag), verb)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_a_place_in_the_reference(verb):
    command = command_of(verb)
    assert f"dag {verb}" in command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert f"`{verb}`" in REFERENCE


def test_every_verb_is_a_file_and_every_file_a_verb():
    files = {file.stem for file in (ROOT / "cli" / "commands").glob("*.py")} - {"__init__", "where"}
    assert files == set(VERBS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_charter_s_keys_are_all_described():
    described = set(re.findall(r"`(\w+)`", section("The charter")))
    assert {field.name for field in fields(Charter)} <= described


def test_exit_codes_are_those_of_the_program():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}
    assert codes == {*range(8), main.INTERRUPTED}


def test_every_status_is_described():
    assert all(f"`{status.value}`" in section("How a run ends") for status in Status)


def test_the_map_of_files_names_files_that_exist():
    tree = README.split("## The files")[1].split("```")[1]
    for name in re.findall(r"\b(\w+\.(?:py|md))\b", tree):
        assert any(list(ROOT.glob(f"{folder}/{name}")) for folder in ("dagstore", "trainer", "docs")), name


def section(title):
    return REFERENCE.split(f"## {title}")[1].split("\n## ")[0]


def promised(verb):
    """The fields that the reference lists for a verb, without those of its special cases."""
    row = next(
        line for line in section("JSON").splitlines() if line.startswith("|") and f"`{verb}`" in line.split("|")[1]
    )
    return set(re.findall(r"`(\w+)`", re.split(r"[;(]", row.split("|")[2])[0]))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A short session of every verb; answers by verb."""
    project = tmp_path_factory.mktemp("docs")
    steps = "import os\nopen(os.environ['DAG_STEPS'], 'w').write('{\"val_bpb\": 1}\\n')\n"
    (project / "train.py").write_text(f'LR = 0.1\nDEPTH = 2\nWIDTH = 3\nprint(f"val_bpb: {{LR * DEPTH}}")\n{steps}')
    (project / "hub.json").write_text('[{"hash": "75f018f4", "val_bpb": 0.99}]')
    answers = {}

    def dag(*words):
        called = [sys.executable, "-P", "-c", "from cli.main import main; main()", *words, "--json"]
        done = subprocess.run(called, cwd=project, capture_output=True, text=True, check=False, env=dict(os.environ))
        verb = words[0] if words else "dag"
        answers.setdefault(verb, json.loads(done.stdout))
        return json.loads(done.stdout)

    def child(old, new):
        workspace = Path(dag("spawn", "@seed")["workspace"])
        text = (workspace / "train.py").read_text().replace(old, new)
        (workspace / "train.py").write_text(text)
        return dag("seal", str(workspace))["short"]

    dag("init")
    dag("show", dag("adopt", child("WIDTH = 3\n", ""), child("LR * DEPTH", "LR * DEPTH * WIDTH"))["node"])
    dag("adopt", child("0.1", "0.2"), child("= 2", "= 1"))
    dag("run", "@seed")
    dag("name", "base", "@seed")
    for line in (
        "queue @last",
        "top",
        "train --until-idle",
        "logs @last",
        "queue @seed --repeat 1",
        "cancel @seed",
        "agent --experiments 1 --train --seed 1",
        "frontier",
        "query runs>0",
        "why @last",
        "compatible @seed @last",
        "ledger",
        "effects",
        "suggest",
        "replay",
        "show @last",
        "diff @last",
        "log",
        "children @seed",
        "tree",
        "files @last",
        "protocols",
        "platforms",
        "records",
        "confirm --dry-run",
        "verify @seed",
        "cat @last:train.py",
        "blame @last:train.py",
        "checkout @last out",
        "note @last hello",
        "claims",
        "board",
        "fsck",
        "gc",
        "stats",
        "copy out-copy",
        "import hub hub.json --metric val_bpb --minimize",
        "doctor",
        "",
    ):
        dag(*line.split())
    return answers


@pytest.mark.parametrize("verb", ["dag", *VERBS])
def test_the_json_of_a_verb_has_the_fields_that_the_reference_promises(session, verb):
    assert set(session[verb]) == promised(verb)


def test_donors_gains_and_verdicts_are_those_that_the_reference_promises():
    words = section("What `dag why` says")
    donor = " ".join(words.split("A donor has")[1].split()).split(".")[0]
    assert {field.name for field in fields(DonorView)} == set(re.findall(r"`(\w+)`", donor))
    assert f"`{{{', '.join(Gain._fields)}}}`" in words
    assert all(f"`{verdict.value}`" in words for verdict in (*Verdict, *Place))


def test_what_a_replay_says_is_what_the_reference_promises():
    rules, killed = section("The charter").split("Of\n[`rules`]")[1].split("What is in `killed`")
    assert {field.name for field in fields(Replayed)} - {"rule"} <= set(re.findall(r"`(\w+)`", rules))
    assert {field.name for field in fields(Killed)} <= set(re.findall(r"`(\w+)`", killed))


def test_what_answers_hold_has_the_fields_that_the_reference_promises(session):
    words = " ".join(section("JSON").split("A run has")[1].split())
    words, lines = words.split("A line of `blame` has")
    assert set(session["blame"]["lines"][0]) == set(re.findall(r"`(\w+)`", lines))
    runs, decisions, findings, adoptions = (
        set(re.findall(r"`(\w+)`", part)) - {"show"}
        for part in re.split(r"A decision of an adoption has|a finding of its gates|An adoption in", words)
    )
    (adoption,) = session["show"]["adoptions"]
    assert set(session["run"]["runs"][0]) == runs
    assert set(session["adopt"]["decisions"][0]) == decisions
    assert set(session["adopt"]["findings"][0]) == findings
    assert set(adoption) == adoptions
