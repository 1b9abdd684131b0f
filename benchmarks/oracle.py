"""Clean but wrong: how often a composition that nobody is asked about breaks what one of two donors wanted.

oracle.txt has modules that two agents changed independently, each with a test of its own. Ours handles a case when it
reports no contradiction, `git merge-file` when it leaves no conflict. A handled case is right if both tests pass on the
result, and wrong otherwise.

Many cases are traps on purpose: what one side renames, removes or redefines, the other starts to use, in another place.
So the shares compare two mergers with each other; they do not say how often a composition is wrong in practice. A test
knows nothing of the other side, so a result can be right and still put two statements in the less sensible order.

python benchmarks/oracle.py prints a line per case.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Bar, Row, scratch
from references import environment

from dagstore import BlobId, NodeId
from dagstore.adopt import Donor, compose
from dagstore.model import Entry, Mode, Tree
from dagstore.testing.oracles import PASSED, Oracle, Trial, read_oracles, verdicts

CASES = Path(__file__).with_name("oracle.txt")
A, B, BASE = sorted(NodeId.of(name) for name in (b"a", b"b", b"base"))

FEWER = Bar(0.999)
"""Just below 1: as many wrong results as git's are too many."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The text that a merger gives, and whether it leaves the case to somebody else."""

    text: str
    left: bool


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
        Row("handled: no contradiction / git merge-file: no conflict", handled, git_handled, "%", None, None, note),
        Row("wrong per handled case / git", wrong, git_wrong, "%", _ratio(wrong, git_wrong), FEWER),
        Row("wrong of all cases / git", all_wrong, git_all_wrong, "%", _ratio(all_wrong, git_all_wrong)),
        Row("right of all cases / git", right, git_right, "%", _ratio(right, git_right)),
    ]


def _alone(cases: Sequence[Oracle], ours: Sequence[Outcome]) -> list[Row]:
    """What git has no figure for."""
    lucky = [not one.failures for one in ours if one.merged.left]
    others, _ = outcomes([_exchanged(case) for case in cases])
    differ = [(one.right, one.wrong) != (other.right, other.wrong) for one, other in zip(ours, others, strict=True)]
    return [
        Row("contradicted, yet both tests pass", _percent(lucky), None, "%"),
        Row("right, wrong or contradicted as the other donor is preferred", _percent(differ), None, "%"),
    ]


def _exchanged(case: Oracle) -> Oracle:
    """The case with a as b and b as a."""
    return case._replace(a=case.b, b=case.a, test_a=case.test_b, test_b=case.test_a)


def outcomes(cases: Sequence[Oracle]) -> tuple[list[Outcome], list[Outcome]]:
    """Ours and git's."""
    with scratch() as folder:
        git = [_git(case, folder) for case in cases]
    return _judged(cases, [_ours(case) for case in cases]), _judged(cases, git)


def _judged(cases: Sequence[Oracle], merged: Sequence[Merged]) -> list[Outcome]:
    pairs = list(zip(cases, merged, strict=True))
    said = verdicts([Trial(one.text, test) for case, one in pairs for test in (case.test_a, case.test_b)])
    by_case = zip(merged, said[::2], said[1::2], strict=True)
    return [Outcome(one, tuple(what for what in both if what != PASSED)) for one, *both in by_case]


def _ours(case: Oracle) -> Merged:
    """Both sides as donors onto their base; donor a is preferred."""
    base, a, b = (text.encode() for text in (case.base, case.a, case.b))
    texts = {BlobId.of(text): text for text in (base, a, b)}
    donors = [Donor(A, _tree(base), _tree(a)), Donor(B, _tree(base), _tree(b))]
    found = compose(BASE, _tree(base), donors, texts.__getitem__, (A, B, BASE))
    (entry,) = found.tree
    text = (texts | dict(found.blobs))[entry.blob]
    return Merged(text.decode(), any(decision.contradiction for decision in found.decisions))


def _tree(text: bytes) -> Tree:
    return Tree.of([Entry("module.py", Mode.FILE, BlobId.of(text))])


def _git(case: Oracle, folder: Path) -> Merged:
    names = {"a": case.a, "base": case.base, "b": case.b}
    for name, text in names.items():
        (folder / name).write_text(text, encoding="utf-8")
    words = ["git", "merge-file", "-p", "-q", *names]
    done = subprocess.run(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, check=False)
    # It ends with the number of conflicts, at most 127; above that it failed.
    if not 0 <= done.returncode <= 127:
        raise subprocess.CalledProcessError(done.returncode, words)
    return Merged(done.stdout.decode(), done.returncode > 0)


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
