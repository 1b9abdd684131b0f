"""The cases of benchmarks/oracle.txt, by which compositions are judged, are what they claim to be."""

from pathlib import Path

import pytest

from dagstore.testing.oracles import PASSED, Oracle, Trial, read_oracles, verdicts

CASES = list(read_oracles(Path(__file__).parents[1] / "benchmarks" / "oracle.txt"))

each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@each_case
def test_each_side_does_what_its_test_wants_and_the_base_does_not(case: Oracle) -> None:
    sides = [Trial(case.a, case.test_a), Trial(case.b, case.test_b)]
    bases = [Trial(case.base, case.test_a), Trial(case.base, case.test_b)]
    both = [Trial(case.both, test) for test in (case.test_a, case.test_b)] if case.both else []
    *good, a, b = verdicts([Trial(case.base, ""), *sides, *both, *bases])
    assert good == [PASSED] * len(good)
    assert PASSED not in {a, b}


@each_case
def test_sizes_are_those_of_small_modules(case: Oracle) -> None:
    assert 15 <= len(case.base.splitlines()) <= 50
    assert len({case.base, case.a, case.b}) == 3


def test_most_of_the_many_cases_are_compatible() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 44
    assert sum(case.both is not None for case in CASES) >= 38


def test_a_verdict_is_the_trials_own() -> None:
    bad = ["raise OSError('no')", "while True: pass", "import os; os._exit(0)", "print('passed'); exit()", "def"]
    trials = [*(Trial(text, "") for text in bad), Trial("x = 1", "assert x")]
    failed, stuck, gone, left, broken, passed = verdicts(trials, seconds=1)
    assert failed == "OSError: no"
    assert stuck.startswith("ended with status")
    assert gone.startswith("ended with status")
    assert left.startswith("SystemExit")
    assert broken.startswith("SyntaxError")
    assert passed == PASSED
