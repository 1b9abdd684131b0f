"""`dag doctor`: explains the installation, the file system under the store, and the Python that experiments get."""

from collections.abc import Sequence

from cli.app import App, verb
from cli.diagnosis import FAIL, OK, WARN, Finding, examine
from cli.render import line, styled
from dagstore.errors import Unavailable

_STYLES = {OK: "green", WARN: "yellow", FAIL: "bold red"}


@verb("doctor")
def command(app: App) -> None:
    """Examine this installation, the store's file system and the Python that experiments get.

    \b
    Example:
      dag doctor
    """
    findings = examine(app)
    app.answer({"findings": findings}, lambda answer: _render(answer["findings"]))
    failed = [finding.check for finding in findings if finding.state == FAIL]
    if failed:
        raise Unavailable(f"failed: {', '.join(failed)}", hint="do what stands beside them, then ask again")


def _render(findings: Sequence[Finding]) -> None:
    for one in findings:
        line(styled(f"{one.state:<5}", _STYLES[one.state]), f" {one.check:<14} {one.message}")
        if one.hint:
            line(f"      {'':<14} → {one.hint}")
