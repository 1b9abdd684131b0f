"""How answers show themselves: as plain data for JSON, as data frames and as tables in a notebook."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dagstore.ids import Id

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")
_PLAIN = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:  # noqa: PLR0911  one line a type
    """The same value made of dicts, lists, texts and numbers, as JSON wants it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Id):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


class Rows(tuple[T, ...], Generic[T]):
    """A sequence of records that also shows itself as a table in a notebook."""

    __slots__ = ()

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row a record and one column a field; mappings become `field.key` columns."""
        import pandas

        return pandas.DataFrame(flat_rows(self))

    def _repr_html_(self) -> str:
        return table(flat_rows(self))


class Shown:
    """Shows a record as a two-column table in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return two_columns(self)


def two_columns(record: object) -> str:
    """A record as an HTML table of its fields."""
    return table([{"field": name, "value": value} for name, value in _flat(plain(record)).items()])


def flat_rows(records: Iterable[object]) -> list[dict[str, Any]]:
    """Each record as one flat dict; mappings in it become `field.key`."""
    return [_flat(plain(record)) for record in records]


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    return flat


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """An HTML table with a column for every name that any row has."""
    from html import escape

    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{_body(rows, names, _cell)}</tbody></table>"


def _body(rows: Iterable[Mapping[str, Any]], names: list[str], cell: Callable[[Any], str]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows)


def _cell(value: Any) -> str:
    from html import escape

    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= 200 else text[:199] + "…")
