"""Clean but wrong: how often a composition that nobody is asked about breaks what one of two donors wanted.

oracle.txt has modules that two agents changed independently, each with a test of its own. Ours handles a case when it
reports no contradiction, `git merge-file` when it leaves no conflict. A handled case is right if both tests pass on the
result, and wrong otherwise.

Many cases are traps on purpose: what one side renames, removes or redefines, the other starts to use, in another place.
So the shares compare two mergers with each other; they do not say how often a composition is wrong in practice. A test
knows nothing of the other side, so a result can be right and still put two statements in the less sensible order.

python benchmarks/oracle.py prints a line per case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Bar, Row, scratch
from merging import GitMerge, composed

from dagstore.testing.oracles import PASSED, Oracle, Trial, read_oracles, verdicts

CASES = Path(__file__).with_name("oracle.txt")

FEWER = Bar(0.999)
"""Just below 1: as many wrong results as git's are too many."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The text that a merger gives, whether it leaves the case to somebody else, and whether it warns of it."""

    text: str
    left: bool
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; `failures` are those of the two tests that failed, as they said it."""

    merged: Merged
    failures: tuple[str, ...]

    @property
    def right(self) -> bool:
        return not self.merged.left and not self.failures

    @property
    def wrong(self) -> bool:
        return not self.merged.left and bool(self.failures)

    def word(self, left: str) -> str:
        return left if self.merged.left else "wrong" if self.failures else "right"


def rows(*, quick: bool) -> list[Row]:
    """The same cases whether `quick` or not; they take seconds."""
    cases = list(read_oracles(CASES))
    ours, git = outcomes(cases)
    return [*_beside_git(cases, ours, git), *_alone(cases, ours)]


def _beside_git(cases: Sequence[Oracle], ours: Sequence[Outcome], git: Sequence[Outcome]) -> list[Row]:
    note = f"{len(cases)} cases, {sum(case.both is not None for case in cases)} of them compatible"
    handled, git_handled = (_percent([not one.merged.left for one in side]) for side in (ours, git))
    wrong, git_wrong = (_percent([one.wrong for one in side if not one.merged.left]) for side in (ours, git))
    all_wrong, git_all_wrong = (_percent([one.wrong for one in side]) for side in (ours, git))
    right, git_right = (_percent([one.right for one in side]) for side in (ours, git))
    return [
        Row(
            "oracle: handled: no contradiction / git merge-file: no conflict",
            handled,
            git_handled,
            "%",
            None,
            None,
            note,
        ),
        Row("oracle: wrong per handled case / git", wrong, git_wrong, "%", _ratio(wrong, git_wrong), FEWER),
        Row("oracle: wrong of all cases / git", all_wrong, git_all_wrong, "%", _ratio(all_wrong, git_all_wrong)),
        Row("oracle: right of all cases / git", right, git_right, "%", _ratio(right, git_right)),
    ]


def _alone(cases: Sequence[Oracle], ours: Sequence[Outcome]) -> list[Row]:
    """What git has no figure for."""
    doubted = {
        right: [one.merged.doubted for one in ours if (one.right if right else one.wrong)] for right in (True, False)
    }
    lucky = [not one.failures for one in ours if one.merged.left]
    others, _ = outcomes([_exchanged(case) for case in cases])
    differ = [(one.right, one.wrong) != (other.right, other.wrong) for one, other in zip(ours, others, strict=True)]
    return [
        Row("oracle: wrong ones that a gate warns of", _percent(doubted[False]), None, "%"),
        Row("oracle: right ones that a gate warns of", _percent(doubted[True]), None, "%"),
        Row("oracle: contradicted, yet both tests pass", _percent(lucky), None, "%"),
        Row("oracle: right, wrong or contradicted as the other donor is preferred", _percent(differ), None, "%"),
    ]


def _exchanged(case: Oracle) -> Oracle:
    """The case with a as b and b as a."""
    return case._replace(a=case.b, b=case.a, test_a=case.test_b, test_b=case.test_a)


def outcomes(cases: Sequence[Oracle]) -> tuple[list[Outcome], list[Outcome]]:
    """Ours and git's."""
    with scratch() as folder:
        git = [_git(case, GitMerge(folder)) for case in cases]
    return _judged(cases, [_ours(case) for case in cases]), _judged(cases, git)


def _judged(cases: Sequence[Oracle], merged: Sequence[Merged]) -> list[Outcome]:
    pairs = list(zip(cases, merged, strict=True))
    said = verdicts([Trial(one.text, test) for case, one in pairs for test in (case.test_a, case.test_b)])
    by_case = zip(merged, said[::2], said[1::2], strict=True)
    return [Outcome(one, tuple(what for what in both if what != PASSED)) for one, *both in by_case]


def _ours(case: Oracle) -> Merged:
    """Both sides as donors onto their base; donor a is preferred."""
    found = composed("module.py", case.base.encode(), (case.a.encode(), case.b.encode()))
    return Merged(found.data.decode(), found.contradicts, bool(found.findings()))


def _git(case: Oracle, merge: GitMerge) -> Merged:
    merge.lay(case.a.encode(), case.base.encode(), case.b.encode())
    text, clean = merge.merge()
    return Merged(text.decode(), not clean)


def _percent(found: Sequence[bool]) -> float:
    return 100 * sum(found) / len(found) if found else 0.0


def _ratio(ours: float, reference: float) -> float | None:
    return ours / reference if reference else None


def main() -> None:
    cases = list(read_oracles(CASES))
    print("| case | ours | git |\n|---|---|---|")
    for case, ours, git in zip(cases, *outcomes(cases), strict=True):
        print(f"| {case.name} | {ours.word('contradiction')} | {git.word('conflict')} |")


if __name__ == "__main__":
    main()
