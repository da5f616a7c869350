"""The loader for SQLAlchemy 2: from a user's id to his row in a table or a select."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, overload

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CursorResult,
    Engine,
    Enum,
    Integer,
    Label,
    Select,
    SelectLabelStyle,
    Uuid,
    bindparam,
    select,
)
from sqlalchemy.exc import DBAPIError, MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import ColumnClause, FromClause
from sqlalchemy.sql.visitors import iterate

from authcache_middleware.errors import ConfigurationError

__all__ = ["sqlalchemy_loader"]

Row = dict[str, Any]
_ASKED: Final = "authcache_asked"
_FOUND: Final = "authcache_found"

_is_whole_number = re.compile(r"0|-?[1-9][0-9]{0,18}").fullmatch
_LARGEST: Final = 2**63 - 1


@overload
def sqlalchemy_loader(
    engine: Engine, source: FromClause | Select[Any], *, id_column: str | ColumnElement[Any] | None = None
) -> Callable[[str], Row | None]: ...
@overload
def sqlalchemy_loader(
    engine: AsyncEngine, source: FromClause | Select[Any], *, id_column: str | ColumnElement[Any] | None = None
) -> Callable[[str], Awaitable[Row | None]]: ...
def sqlalchemy_loader(
    engine: Engine | AsyncEngine,
    source: FromClause | Select[Any],
    *,
    id_column: str | ColumnElement[Any] | None = None,
) -> Callable[[str], Row | None] | Callable[[str], Awaitable[Row | None]]:
    """A ``load_user``: a plain function for an ``Engine``, an ``async def`` for an ``AsyncEngine``.

    ``source`` is a table, whose columns become the user's fields, or a ``select`` without the condition on the id,
    which is added here. ``id_column`` holds what the token's subject is: a column, or the name of one; of a table it
    may be left out where the primary key is one column. It is a string, an integer of up to 64 bits, or a UUID.

    The id is compared exactly, whatever the column's collation folds: ``ANN`` and ``ann `` are not ``ann``, and the
    row of another is never returned. Where the column is a number or a UUID only its usual text finds it (``42``, not
    ``042``; a UUID in lower case with hyphens); everything else is no such user and is not asked for.

    Each call takes a connection from the engine's pool and reads in a transaction of its own. Give it the primary
    database, an isolation level that reads what is committed, a timeout in the driver, and a pool as large as
    ``loader_concurrency``. Raises ``ConfigurationError`` at construction, for columns that the database names itself
    (``text()``) at a call; there what the driver raises, too, and ``MultipleResultsFound`` where the id has more than
    one row.
    """
    _refuse_bad_engine(engine)
    query = _Query(source, id_column)
    if isinstance(engine, AsyncEngine):

        async def load_user_async(user_id: str) -> Row | None:
            asked = query.read_id(user_id)
            if asked is None:
                return None
            try:
                async with engine.connect() as connection:
                    result = await connection.execute(query.statement, {_ASKED: asked})
                    return _only(user_id, result)
            except (DBAPIError, UnicodeEncodeError) as exc:
                if _cannot_be_stored(user_id, exc):
                    return None
                raise

        return load_user_async

    def load_user(user_id: str) -> Row | None:
        asked = query.read_id(user_id)
        if asked is None:
            return None
        try:
            with engine.connect() as connection:
                return _only(user_id, connection.execute(query.statement, {_ASKED: asked}))
        except (DBAPIError, UnicodeEncodeError) as exc:
            if _cannot_be_stored(user_id, exc):
                return None
            raise

    return load_user


class _Query:
    """The statement, built once, and how the text of an id becomes its parameter."""

    def __init__(self, source: object, id_column: object) -> None:
        if not isinstance(source, FromClause | Select):
            raise ConfigurationError(
                "source", f"must be a table or a select (of a mapped class its __table__), not {type(source).__name__}"
            )
        if any(isinstance(part, BindParameter) and part.required for part in iterate(source)):
            raise ConfigurationError("source", "has a bind parameter without a value: the id's condition is added here")
        if isinstance(source, Select):
            _refuse_repeated_labels(source)
        column = _id_column(source, id_column)
        self.read_id = _reader(column)
        # With 64 bits, since PostgreSQL refuses a parameter that is too large for the column; its index serves both.
        bound = BigInteger() if isinstance(column.type, Integer) else column.type
        statement = source if isinstance(source, Select) else select(source)
        froms = len(statement.get_final_froms())
        # The id as the database holds it comes back as the last column, to be compared exactly.
        self.statement = statement.add_columns(column.label(_FOUND)).where(column == bindparam(_ASKED, type_=bound))
        if len(self.statement.get_final_froms()) != froms:
            raise ConfigurationError("id_column", "is not a column of what source reads")


def _only(user_id: str, result: CursorResult[Any]) -> Row | None:
    *names, _ = result.keys()
    if len(set(names)) < len(names):
        raise _repeated()
    exact = [row for row in result if str(row[-1]) == user_id]
    if len(exact) > 1:
        raise MultipleResultsFound("sqlalchemy_loader: one id has several rows; source must give one row for each user")
    return dict(zip(names, exact[0][:-1], strict=True)) if exact else None


def _repeated() -> ConfigurationError:
    return ConfigurationError("source", "has two columns of one name, of which a user could have only one: label them")


def _refuse_repeated_labels(source: Select[Any]) -> None:
    """Refuse a name that stands twice. SQLAlchemy renames the second of two columns, but not a label."""
    keeps_names = source.get_label_style() is SelectLabelStyle.LABEL_STYLE_NONE
    names = set()
    for column in source.selected_columns:
        if isinstance(column, Label | ColumnClause):
            if column.name in names and (keeps_names or isinstance(column, Label)):
                raise _repeated()
            names.add(column.name)


def _cannot_be_stored(user_id: str, error: Exception) -> bool:
    """Whether the database says that its character set has no such text: then nobody has it as his id.

    MySQL's and MariaDB's error 1267, PostgreSQL's 22P05; psycopg looks first and raises ``UnicodeEncodeError``.
    """
    if user_id.isascii():  # every character set has these: the error is about something else
        return False
    said = getattr(error, "orig", None)
    return (
        isinstance(error, UnicodeEncodeError)
        or getattr(said, "sqlstate", None) == "22P05"
        or getattr(said, "args", ())[:1] == (1267,)
    )


def _refuse_bad_engine(engine: object) -> None:
    if isinstance(engine, AsyncEngine):
        return
    if not isinstance(engine, Engine):
        raise ConfigurationError("engine", f"must be an Engine or an AsyncEngine, not {type(engine).__name__}")
    if engine.dialect.is_async:
        raise ConfigurationError("engine", f"{engine.driver} is an async driver: it needs create_async_engine")


def _id_column(source: FromClause | Select[Any], id_column: object) -> ColumnElement[Any]:
    columns = source.selected_columns if isinstance(source, Select) else source.c
    if id_column is None:
        key = [] if isinstance(source, Select) else list(source.primary_key)
        if len(key) != 1:
            raise ConfigurationError("id_column", f"must be given: the source has {len(key) or 'no'} primary keys")
        return key[0]
    if isinstance(id_column, str):
        if id_column not in columns:
            raise ConfigurationError("id_column", f"there is no column {id_column!r} in the source")
        return columns[id_column]
    if hasattr(id_column, "__clause_element__"):  # an attribute of a mapped class
        id_column = id_column.__clause_element__()
    if not isinstance(id_column, ColumnElement):
        raise ConfigurationError("id_column", f"must be a column or the name of one, not {type(id_column).__name__}")
    if isinstance(source, FromClause) and isinstance(id_column, Column) and not source.c.contains_column(id_column):
        raise ConfigurationError("id_column", "is not a column of what source reads")
    return id_column


def _reader(column: ColumnElement[Any]) -> Callable[[str], object | None]:
    """From the text of an id to what is asked for; to ``None`` where no row of this type can have that text."""
    if isinstance(column.type, Uuid):
        return _read_uuid if column.type.as_uuid else _read_uuid_text
    try:
        python_type = None if isinstance(column.type, Enum) else column.type.python_type
    except NotImplementedError:
        python_type = None
    readers: dict[object, Callable[[str], object | None]] = {str: str, int: _read_int, uuid.UUID: _read_uuid}
    if python_type not in readers:
        raise ConfigurationError("id_column", f"must be a string, an integer or a UUID, not {column.type!r}")
    return readers[python_type]


def _read_int(text: str) -> int | None:
    if _is_whole_number(text) is None or abs(number := int(text)) > _LARGEST:
        return None
    return number


def _read_uuid(text: str) -> uuid.UUID | None:
    try:
        read = uuid.UUID(text)
    except ValueError:
        return None
    return read if str(read) == text else None


def _read_uuid_text(text: str) -> str | None:
    return None if _read_uuid(text) is None else text
