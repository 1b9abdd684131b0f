"""What every verb shares: where it works, how it answers (text or one JSON document), and the options for that."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.collector import paused
from dagstore.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from dagstore import Store

BEHIND = "index_behind"
"""Code of the error that the index of a store that was opened for reading only must be made again first."""

F = TypeVar("F", bound=Callable[..., Any])


class App:
    """The setting of one invocation. stdout is the answer, stderr is talk."""

    def __init__(self, directory: Path, *, as_json: bool, debug: bool) -> None:
        self.directory = directory
        self.as_json = as_json
        self.debug = debug
        self._store: Store | None = None

    def path(self, name: str | None) -> Path:
        """A path that the user named, relative to `-C`."""
        return self.directory / name if name else self.directory

    def store(self, *, readonly: bool = False, stale: bool = False) -> "Store":
        """The store that the directory belongs to, opened at the first call and closed with the command."""
        if self._store is None:
            with paused():
                from dagstore.store import open_store

            try:
                self._store = open_store(self.directory, readonly=readonly, stale=stale, say=self.say)
            except Unavailable as error:
                if not readonly or error.code != BEHIND:
                    raise
                # A question alone changes nothing, but waits for the index as everything else does.
                self._store = self._with_index()
            click.get_current_context().call_on_close(self._store.close)
        return self._store

    def _with_index(self) -> "Store":
        """The store, whose index is made again if it may be written."""
        from cli.render import progress
        from dagstore.store import open_store

        with progress("index") as show:
            return open_store(self.directory, progress=show, say=self.say)

    def answer(self, value: Any, render: Callable[[Any], None]) -> None:
        """Print one JSON document, or let `render` print text."""
        if self.as_json:
            import json

            from dagstore.shown import plain

            click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))
        else:
            render(value)

    def say(self, text: str) -> None:
        """Talk to whoever watches; never part of the answer."""
        if not self.as_json:
            click.echo(text, err=True)

    @property
    def agent(self) -> str:
        """Who acts, unless a verb was told: $DAG_AGENT, else the user."""
        return os.environ.get("DAG_AGENT") or os.environ.get("USER") or "anonymous"


def verb(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command with the options that every verb takes; its function gets an `App` first."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def shared(directory: str | None, as_json: bool, debug: bool, **arguments: Any) -> Any:
            context = click.get_current_context()
            outer = _outer(context)
            context.obj = App(
                _absolute(directory or outer.get("directory") or "."),
                as_json=as_json or bool(outer.get("as_json")),
                debug=debug or bool(outer.get("debug")),
            )
            return function(context.obj, **arguments)

        made: click.Command = click.command(name, cls=click.Command, **settings)(common(shared))
        return made

    return decorate


def _outer(context: click.Context) -> dict[str, Any]:
    """The options that stand before the verb, of `dag` itself or of a group of verbs."""
    found: dict[str, Any] = {}
    while context.parent is not None:
        context = context.parent
        found = {name: found.get(name) or value for name, value in context.params.items()}
    return found


def _absolute(directory: str) -> Path:
    try:
        return Path(directory).absolute()
    except FileNotFoundError:
        raise NotFound("the current directory does not exist any more", hint="cd somewhere else, or use -C") from None


def common(function: F) -> F:
    """`-C DIR`, `--json` and `--debug`; they may stand before the verb or after it."""
    for option in (
        click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong."),
        click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document."),
        click.option("-C", "directory", metavar="DIR", help="Work as if started in DIR."),
    ):
        function = option(function)
    return function


def is_terminal() -> bool:
    return sys.stdout.isatty()
