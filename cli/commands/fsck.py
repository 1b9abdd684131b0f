"""`dag fsck`: proves that a store says what its ids promise."""

from typing import Any

import click

from cli.app import App, verb
from cli.render import counted, line, progress, styled, table
from dagstore.errors import Damaged
from dagstore.views import plain


@verb("fsck")
@click.option("--quick", "depth", flag_value="quick", default="quick", help="Numbers and ids agree (the default).")
@click.option("--links", "depth", flag_value="links", help="Also: everything that is named is there.")
@click.option(
    "--full", "depth", flag_value="full", help="Also: every byte hashes to its id, and the indexes are right."
)
@click.option("--reindex", is_flag=True, help="First build the indexes again from the objects.")
def command(app: App, depth: str, reindex: bool) -> None:
    """Check the store; without --reindex nothing is changed.

    \b
    Example:
      dag fsck --full
    """
    store = app.store(readonly=not reindex, stale=reindex)
    reindexed = None
    if reindex:
        with progress("reindex") as show:
            reindexed = store.reindex(show)
    with progress(f"{depth} check") as show:
        report = store.fsck(depth, show)
    app.answer({**plain(report), "reindexed": reindexed}, _render)
    if not report.clean:
        only_derived = all(finding.code == "index" for finding in report.findings)
        hint = "run `dag fsck --reindex`" if only_derived else "restore a copy, or export what can be read"
        raise Damaged(f"{len(report.findings)} found wrong in {store.folder}", hint=hint)


def _render(report: dict[str, Any]) -> None:
    if report["reindexed"] is not None:
        line(f"built the indexes again from {report['reindexed']} objects")
    counts = ", ".join(counted(report[f"{noun}s"], noun) for noun in ("object", "node", "run"))
    findings = report["findings"]
    if findings:
        table(("finding", "what", "message"), [(one["code"], one["what"], one["message"]) for one in findings])
    else:
        line(styled("clean", "green"), f" ({report['depth']} check): {counts}")
