"""Adoption beside `git merge-file`: constants of one script, pairs of many, cases by hand, what breaks, real edits."""

import cases
import compatible
import constants
import oracle
import siblings
from harness import Row


def rows(*, quick: bool, corpus: str = "") -> list[Row]:
    """`corpus` is `REPO[:PATHS]`, a local repository with many edits of the same versions of files."""
    made = [
        *constants.rows(quick=quick),
        *compatible.rows(quick=quick),
        *cases.rows(),
        *oracle.rows(quick=quick),
    ]
    if not corpus:
        return [*made, Row("siblings", None, None, "%", note="not measured: no `--corpus REPO[:PATHS]` was given")]
    return [*made, *siblings.rows(corpus, quick=quick)]
