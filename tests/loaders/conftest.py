"""Databases that answer, and in each of them tables of this session's own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import URL, Column, Engine, Integer, MetaData, String, Table, Uuid, create_engine, insert, make_url
from sqlalchemy.exc import SQLAlchemyError

ANN, BOB = uuid.UUID(int=0xABCDEF), uuid.UUID(int=2)
# The variable, where this database usually is, its blocking driver and its asyncio one.
DATABASES = {
    "sqlite": (None, "sqlite://", "sqlite+pysqlite", "sqlite+aiosqlite"),
    "postgres": (
        "AUTHCACHE_TEST_POSTGRES_URL",
        "postgresql://postgres@127.0.0.1:5432/test",
        "postgresql+psycopg",
        "postgresql+asyncpg",
    ),
    "mariadb": (
        "AUTHCACHE_TEST_MARIADB_URL",
        "mysql://root@127.0.0.1:3306/test?charset=utf8mb4",
        "mysql+pymysql",
        "mysql+aiomysql",
    ),
}


@dataclass
class Database:
    name: str
    engine: Engine
    async_url: URL
    numbers: Table
    texts: Table
    uuids: Table
    plain: Table
    """Its ids cannot hold every character, where the database has such columns."""


@pytest.fixture(scope="session", params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    variable, usual, driver, async_driver = DATABASES[request.param]
    url = make_url(os.environ.get(variable, usual) if variable else usual)
    if variable is None:
        url = url.set(database=str(tmp_path_factory.mktemp("database") / "users.sqlite"))
    engine = create_engine(url.set(drivername=driver))
    try:
        engine.connect().close()
    except SQLAlchemyError:
        engine.dispose()
        pytest.skip(f"{variable}: no database answers")
    tables = MetaData()
    made = Database(request.param, engine, url.set(drivername=async_driver), *_tables(tables))
    tables.create_all(engine)
    try:
        _fill(made)
        yield made
    finally:
        tables.drop_all(engine)
        engine.dispose()


def _tables(tables: MetaData) -> list[Table]:
    own = f"authcache_{uuid.uuid4().hex[:12]}"
    table: Callable[..., Table] = lambda name, *columns, **options: Table(  # noqa: E731
        f"{own}_{name}", tables, *columns, Column("name", String(50)), **options
    )
    return [
        table("numbers", Column("id", Integer, primary_key=True, autoincrement=False)),
        table("texts", Column("id", String(100), primary_key=True)),
        table("uuids", Column("id", Uuid, primary_key=True)),
        table("plain", Column("id", String(100), primary_key=True), mysql_charset="latin1", mariadb_charset="latin1"),
    ]


def _fill(database: Database) -> None:
    people = {
        database.numbers: {42: "Ann", 43: "Bob", 0: "Zero", -7: "Minus"},
        database.texts: {"ann": "Ann", "bob ": "Bob", "42": "Number", "日本😀": "Far", "a:b{c}'\"--": "Odd"},
        database.uuids: {ANN: "Ann", BOB: "Bob"},
        database.plain: {"ann": "Ann"},
    }
    with database.engine.begin() as connection:
        for table, rows in people.items():
            connection.execute(insert(table), [{"id": key, "name": name} for key, name in rows.items()])
