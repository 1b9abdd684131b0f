"""The console script `dag`: finds the verb, and turns every error into a message and an exit code."""

import gc
import importlib
import sys
from collections.abc import Sequence

from cli.collector import paused

with paused():
    import click

    from cli.app import common
    from dagstore.errors import BadInput, ClaimLost, DagError, Damaged, NotFound, Refused, Unavailable
    from dagstore.printable import printable

VERBS = {
    "Begin": ("init", "spawn", "seal", "adopt"),
    "Measure": ("run", "queue", "train", "cancel", "confirm", "verify", "agent"),
    "Look": (
        *("frontier", "query", "records", "why", "compatible", "ledger", "effects", "suggest", "replay"),
        *("top", "logs", "show", "diff", "log", "children", "tree", "files", "cat", "blame", "checkout"),
        *("protocols", "platforms"),
    ),
    "Move": ("import",),
    "Talk": ("note", "name", "claims", "board"),
    "Keep": ("fsck", "gc", "stats", "copy", "doctor"),
}

OK, BUG, USAGE, NOT_FOUND, REFUSED, FAILED, DAMAGED, UNAVAILABLE = range(8)
INTERRUPTED = 130

EXIT_CODES = f"""\b
Exit codes:
  {OK}    done
  {USAGE}    usage: an option or argument is wrong
  {NOT_FOUND}    not found, or ambiguous
  {REFUSED}    refused: locked path, nothing changed, damaged input
  {FAILED}    an experiment failed
  {DAMAGED}    the store is damaged
  {UNAVAILABLE}    the machine will not: disk full, read-only
  {INTERRUPTED}  interrupted
  {BUG}    a bug in dagstore"""


class ExperimentFailed(DagError):
    """Everything was recorded, but a run did not end `ok`."""

    code = "experiment_failed"


CODES: tuple[tuple[type[DagError], int], ...] = (
    (NotFound, NOT_FOUND),
    (Damaged, DAMAGED),
    (Unavailable, UNAVAILABLE),
    (BadInput, REFUSED),
    (ClaimLost, REFUSED),
    (Refused, REFUSED),
    (ExperimentFailed, FAILED),
)


class Verbs(click.Group):
    """Loads only the verb that is called: a question to a store must not wait for what other verbs import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in VERBS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        with paused():
            command: click.Command = importlib.import_module(f"cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            advice = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(error.format_message() + advice, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in VERBS.items():
            with formatter.section(section):
                commands = ((name, self.get_command(ctx, name)) for name in names)
                formatter.write_dl([(name, command.get_short_help_str(88)) for name, command in commands if command])


@click.group(cls=Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dagstore", prog_name="dag")
@common
@click.pass_context
def dag(ctx: click.Context, directory: str | None, as_json: bool, debug: bool) -> None:
    """Keep the experiments of research agents: immutable nodes in a DAG, adopted instead of merged.

    Without a verb, says where you are and what to do next.
    """
    if ctx.invoked_subcommand is None:
        importlib.import_module("cli.commands.where").command.callback(
            directory=directory, as_json=as_json, debug=debug
        )


dag.epilog = EXIT_CODES


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a documented code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json, debug = "--json" in words, "--debug" in words
    try:
        dag.main(words, prog_name="dag", standalone_mode=False)
        code = OK
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except SystemExit:
        code = OK  # so click says that the reader of our answer left; nothing to complain about
    except (Exception, KeyboardInterrupt) as error:
        if debug and not isinstance(error, click.ClickException):
            raise
        code, problem = _explain(error)
        _complain(problem, as_json=as_json)
    if arguments is None:
        gc.freeze()  # the interpreter would look for garbage once more in what the system takes back anyway
    sys.exit(code)


def _explain(error: BaseException) -> tuple[int, DagError]:
    """The exit code of an error, and the error as one of ours."""
    if isinstance(error, DagError):
        return next((code for kind, code in CODES if isinstance(error, kind)), BUG), error
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED, DagError("interrupted", code="interrupted")
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path if context else 'dag'} --help"
        return USAGE, DagError(error.format_message(), hint=hint, code="usage")
    if isinstance(error, OSError):
        return UNAVAILABLE, Unavailable(str(error), hint="free some space or check permissions")
    return BUG, DagError(f"{type(error).__name__}: {error}", hint="a bug in dagstore; --debug shows where", code="bug")


def _complain(error: DagError, *, as_json: bool) -> None:
    if as_json:
        import json

        document = {"code": error.code, "message": error.message, "hint": error.hint}
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
    else:
        hint = f"\n  → {printable(error.hint)}" if error.hint else ""
        click.echo(f"dag: {printable(error.message)}{hint}", err=True)
