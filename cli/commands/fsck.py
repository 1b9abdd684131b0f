"""`dag fsck`: proves that a store says what its ids promise, and gives up what is damaged when it is told to."""

import gc
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, verb
from cli.options import Duration
from cli.render import counted, line, progress, styled, table
from dagstore.errors import Damaged, Refused
from dagstore.findings import REPAIR
from dagstore.views import plain

if TYPE_CHECKING:
    from dagstore import Store
    from dagstore.findings import Report

SHOWN = 50
"""Findings that are printed; `--json` has more."""


@verb("fsck")
@click.option("--quick", "depth", flag_value="quick", default="quick", help="Log, index and ids agree (the default).")
@click.option(
    "--links", "depth", flag_value="links", help="Also: the log is whole, and everything that is named is there."
)
@click.option("--full", "depth", flag_value="full", help="Also: every byte hashes to its id, and the index is right.")
@click.option("--resume", is_flag=True, help="Go on where a check of the same depth ended or was broken off.")
@click.option("--for", "seconds", type=Duration(), metavar="DURATION", help="End after this long, for instance 10m.")
@click.option("--reindex", is_flag=True, help="First make the index again from the log.")
@click.option("--repair", is_flag=True, help="First give up what is damaged, and keep it in quarantine.")
def command(app: App, depth: str, resume: bool, seconds: float | None, reindex: bool, repair: bool) -> None:
    """Check the store; without --reindex or --repair nothing is changed.

    \b
    Example:
      dag fsck --full
      dag fsck --full --for 10m
      dag fsck --full --resume
    """
    if depth == "quick" and (resume or seconds is not None):
        raise click.UsageError("--resume and --for go with --links or --full")
    if reindex and repair:
        raise click.UsageError("--repair makes the index again as well; leave --reindex out")
    gc.set_threshold(100_000)  # a fifth of a check went into looking for garbage, of which it makes little
    store = _open(app, reindex=reindex, repair=repair)
    reindexed, actions = None, None
    if reindex or repair:
        with progress("repair" if repair else "reindex") as show:
            if repair:
                actions = store.repair(show)
            else:
                reindexed = store.reindex(show)
    with progress(f"{depth} check") as show:
        report = store.fsck(depth, show, resume=resume, seconds=seconds)
    app.answer({**plain(report), "reindexed": reindexed, "actions": actions}, _render)
    if not report.clean:
        raise Damaged(f"{_count(report)} found wrong in {store.folder}", hint=_hint(report))


def _open(app: App, *, reindex: bool, repair: bool) -> "Store":
    """The store; with an index that was made again only if it does not open otherwise, since that knows more."""
    try:
        return app.store()
    except Damaged as error:
        if not (reindex or repair):
            raise _explained(error) from None
    except Refused as error:
        if not (reindex or repair) or error.code not in ("stale_index", "older_format"):
            raise
    return app.store(stale=True)


def _explained(error: Damaged) -> Damaged:
    """That the store does not open is what the check finds; its hint must not be to check the store."""
    if "fsck --re" in error.hint:
        return error
    return Damaged(f"the store cannot be opened: {error.message}", hint=REPAIR)


def _count(report: "Report") -> int:
    return len(report.findings) + report.omitted


def _hint(report: "Report") -> str:
    """The next step for all findings: an index can be made again, and everything else makes that unnecessary."""
    hints = {finding.hint for finding in report.findings}
    if len(hints) == 1:
        return hints.pop()
    return REPAIR


def _render(report: dict[str, Any]) -> None:
    for action in report["actions"] or ():
        line(action)
    if report["reindexed"] is not None:
        line(f"made the index again from {counted(report['reindexed'], 'object')}")
    _render_findings(report)
    if report["left_out"]:
        line(f"{counted(report['left_out'], 'object')} left out since a repair (`dag fsck --json` lists them)")
    if report["checked"] < report["objects"]:
        line(
            f"checked {report['checked']} of {counted(report['objects'], 'object')}; "
            f"go on with `dag fsck --{report['depth']} --resume`"
        )


def _render_findings(report: dict[str, Any]) -> None:
    findings = report["findings"]
    if not findings:
        counts = ", ".join(counted(report[f"{noun}s"], noun) for noun in ("object", "node", "run"))
        state = "clean" if report["checked"] == report["objects"] else "clean so far"
        line(styled(state, "green"), f" ({report['depth']} check): {counts}")
        return
    table(("finding", "what", "message"), [(one["code"], one["what"], one["message"]) for one in findings[:SHOWN]])
    more = len(findings) + report["omitted"] - SHOWN
    if more > 0:
        line(f"and {more} more")
    if report["affected"]:
        line(f"{counted(report['affected'], 'object')} more cannot be without these")
