"""The cases of tests/data/adopt_cases.txt, and what `git merge-file` makes of them.

`python benchmarks/cases.py > benchmarks/CASES.md` writes them one by one.
"""

from dataclasses import dataclass
from pathlib import Path

from harness import Bar, Row, scratch
from merging import GitMerge, composed

from dagstore.testing.cases import Case, read_cases

FILE = Path(__file__).parents[1] / "tests" / "data" / "adopt_cases.txt"
ALL = Bar(100.0, at_least=True, absolute=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether ours is as expected, and what git does: `as expected`, `conflict` or `something else`."""

    name: str
    path: str
    expected: bool
    contradiction: bool
    git: str


def rows() -> list[Row]:
    found = outcomes()
    ours = 100 * sum(one.expected for one in found) / len(found)
    git = {kind: 100 * sum(one.git == kind for one in found) / len(found) for kind in {one.git for one in found}}
    note = f"{len(found)} cases; git conflicts in {git.get('conflict', 0):.0f} %"
    return [Row("cases made by hand: as expected / git merge-file", ours, git["as expected"], "%", None, ALL, note)]


def outcomes() -> list[Outcome]:
    with scratch() as folder:
        return [_outcome(case, GitMerge(folder)) for case in read_cases(FILE)]


def _outcome(case: Case, merge: GitMerge) -> Outcome:
    ours = composed(case.path, case.base, (case.a, case.b))
    merge.lay(case.a, case.base, case.b)
    text, clean = merge.merge()
    git = "conflict" if not clean else "as expected" if text == case.wanted else "something else"
    expected = ours.contradicts == bool(case.contradictions)
    return Outcome(
        case.name, case.path, expected and (ours.contradicts or ours.data == case.wanted), ours.contradicts, git
    )


def main() -> None:
    print("# The cases made by hand\n")
    print("Written by `python benchmarks/cases.py`. Two donors onto their base; what each has to give is in")
    print("[tests/data/adopt_cases.txt](../tests/data/adopt_cases.txt).\n")
    print("| case | file | dagstore | git merge-file |\n|---|---|---|---|")
    for one in outcomes():
        ours = "contradiction on record" if one.contradiction else "composed"
        print(f"| {one.name} | {one.path} | {ours if one.expected else '**not as expected**'} | {one.git} |")


if __name__ == "__main__":
    main()
