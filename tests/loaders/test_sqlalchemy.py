"""The SQLAlchemy loader: exact ids on every database that answers, in both ways of waiting."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import (
    LABEL_STYLE_NONE,
    Boolean,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Uuid,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy import Enum as EnumType
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.exc import MultipleResultsFound, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from authcache_middleware import AsyncAuthCache, AuthCache, ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.loaders.sqlalchemy import sqlalchemy_loader
from authcache_middleware.runtime import is_async_callable
from authcache_middleware.testing import MemoryStore, issue_token

ANN = uuid.UUID(int=0xABCDEF)
SECRET = "only-for-this-test-Mz4kQ9vX2pL7wT5s"
TOKENS = {"keys": SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None}


@pytest.fixture(params=["blocking", "asyncio"])
def load(request, database) -> Iterator[Callable]:
    """``load(source, user_id)``: one load, the way the fixture's parameter waits."""
    if request.param == "blocking":
        yield lambda source, user_id, **options: sqlalchemy_loader(database.engine, source, **options)(user_id)
        return
    with asyncio.Runner() as runner:
        engine = create_async_engine(database.async_url, poolclass=NullPool)
        yield lambda source, user_id, **options: runner.run(sqlalchemy_loader(engine, source, **options)(user_id))
        runner.run(engine.dispose())


class TestOnEveryDatabase:
    def test_a_row_comes_back_as_a_plain_dict(self, database, load) -> None:
        row = load(database.numbers, "42")
        assert type(row) is dict
        assert row == {"id": 42, "name": "Ann"}

    @pytest.mark.parametrize(("user_id", "name"), [("42", "Ann"), ("43", "Bob"), ("0", "Zero"), ("-7", "Minus")])
    def test_a_number_is_found_by_its_usual_text(self, database, load, user_id, name) -> None:
        assert load(database.numbers, user_id)["name"] == name

    @pytest.mark.parametrize(
        "user_id",
        [
            "abc",
            " 42",
            "42 ",
            "\uff14\uff12",
            "042",
            "+42",
            "4_2",
            "42.0",
            "4e1",
            "0x2a",
            "-0",
            "--7",
            "",
            "44",
            "²",
            "42;--",
        ],
    )
    def test_another_text_of_a_number_is_no_user(self, database, load, user_id) -> None:
        assert load(database.numbers, user_id) is None

    @pytest.mark.parametrize(
        "user_id",
        [str(number) for number in (2**31, 2**32 + 42, 2**63 - 1, 2**63, -(2**63), 2**64 + 42, 10**200)] + ["9" * 255],
    )
    def test_a_number_beyond_the_column_is_no_user_and_no_error(self, database, load, user_id) -> None:
        assert load(database.numbers, user_id) is None

    @pytest.mark.parametrize(
        ("user_id", "name"),
        [("ann", "Ann"), ("bob ", "Bob"), ("42", "Number"), ("日本😀", "Far"), ("a:b{c}'\"--", "Odd")],
    )
    def test_a_text_is_found_byte_by_byte(self, database, load, user_id, name) -> None:
        assert load(database.texts, user_id) == {"id": user_id, "name": name}

    @pytest.mark.parametrize(
        "user_id",
        ["ANN", "Ann", "ann ", " ann", "ånn", "\uff41nn", "ann\u200b", "bob", "bob  ", "042", "%", "_nn", "x" * 255],
    )
    def test_what_a_collation_folds_together_is_no_user(self, database, load, user_id) -> None:
        assert load(database.texts, user_id) is None

    @pytest.mark.parametrize("user_id", ["änn", "日本", "😀", "ann😀"])
    def test_a_text_that_the_column_cannot_hold_is_no_user_and_no_error(self, database, load, user_id) -> None:
        assert load(database.plain, user_id) is None

    def test_a_uuid_is_found_by_its_usual_text(self, database, load) -> None:
        assert load(database.uuids, str(ANN)) == {"id": ANN, "name": "Ann"}

    @pytest.mark.parametrize(
        "user_id",
        [
            str(ANN).upper(),
            ANN.hex,
            f"{{{ANN}}}",
            ANN.urn,
            f" {ANN}",
            str(ANN)[:-1],
            "abc",
            "42",
            str(uuid.UUID(int=9)),
        ],
    )
    def test_another_text_of_a_uuid_is_no_user(self, database, load, user_id) -> None:
        assert load(database.uuids, user_id) is None

    def test_a_uuid_column_of_texts_is_no_different(self, database, load) -> None:
        texts = Table(database.uuids.name, MetaData(), Column("id", Uuid(as_uuid=False), primary_key=True))
        assert load(texts, str(ANN)) == {"id": str(ANN)}
        assert load(texts, ANN.hex) is None
        assert load(texts, "abc") is None

    def test_a_select_gets_the_condition_on_the_id(self, database, load) -> None:
        numbers, texts = database.numbers, database.texts
        joined = select(texts.c.name.label("kind"), numbers.c.name).join(texts, texts.c.name != numbers.c.name)
        source = joined.where(texts.c.id == "42")
        assert load(source, "43", id_column=numbers.c.id) == {"kind": "Number", "name": "Bob"}
        assert load(source, "44", id_column=numbers.c.id) is None

    def test_an_id_with_several_rows_is_an_error(self, database, load) -> None:
        numbers, texts = database.numbers, database.texts
        source = select(numbers.c.id, texts.c.name).join(texts, texts.c.name != numbers.c.name)
        with pytest.raises(MultipleResultsFound, match="one row for each user"):
            load(source, "0", id_column=numbers.c.id)

    def test_an_error_in_the_select_itself_is_an_error(self, database, load) -> None:
        if database.name != "mariadb":
            pytest.skip("AUTHCACHE_TEST_MARIADB_URL: its error 1267 has two causes")
        plain = database.plain
        mixed = plain.c.name.collate("latin1_swedish_ci") == plain.c.name.collate("latin1_german1_ci")
        with pytest.raises(OperationalError, match="1267"):
            load(select(plain).where(mixed), "ann", id_column=plain.c.id)

    def test_each_load_sees_what_was_committed_before_it(self, database, load) -> None:
        def name(text: str) -> None:
            with database.engine.begin() as connection:
                connection.execute(update(database.plain).where(database.plain.c.id == "ann").values(name=text))

        for text in ("Anne", "Ann"):
            name(text)
            assert load(database.plain, "ann")["name"] == text


def test_several_alike_by_the_collation_are_told_apart() -> None:
    engine = create_engine("sqlite://")
    users = Table("users", MetaData(), Column("id", String(collation="NOCASE")), Column("name", String))
    users.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(users), [{"id": name, "name": name} for name in ("ann", "ANN", "Ann")])
    load = sqlalchemy_loader(engine, users, id_column="id")
    assert load("ANN") == {"id": "ANN", "name": "ANN"}
    assert load("aNN") is None
    engine.dispose()


def test_a_transaction_begins_in_the_call_and_ends_with_it(sqlite: Engine) -> None:
    told: list[str] = []
    for name in ("begin", "commit", "rollback"):
        event.listen(sqlite, name, lambda _connection, name=name: told.append(name))
    load = sqlalchemy_loader(sqlite, USERS)
    load("1")
    assert told == ["begin", "rollback"]
    load("not a number")
    assert told == ["begin", "rollback"]
    assert sqlite.pool.checkedout() == 0


@pytest.mark.parametrize("user_id", [str(ANN).upper(), ANN.hex, "abc"])
def test_what_can_be_no_uuid_of_a_row_is_not_asked_for(sqlite: Engine, user_id) -> None:
    uuids = Table("uuids", MetaData(), Column("id", Uuid, primary_key=True))  # a table that is not there
    assert sqlalchemy_loader(sqlite, uuids)(user_id) is None


def test_a_database_that_is_gone_is_an_error_and_not_a_missing_user(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/nowhere/users.sqlite")
    with pytest.raises(OperationalError):
        sqlalchemy_loader(engine, TEXTS)("änn")
    engine.dispose()


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


USERS = Person.__table__
TEXTS = Table("texts", MetaData(), Column("id", String, primary_key=True))
PAIRS = Table("pairs", MetaData(), Column("a", Integer, primary_key=True), Column("b", Integer, primary_key=True))
KINDS = Table(
    "kinds",
    MetaData(),
    Column("flag", Boolean),
    Column("octets", LargeBinary),
    Column("colour", EnumType("red", "blue")),
    Column("address", INET),
)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/users.sqlite")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(USERS), [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}])
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("source", "id_column"),
    [
        (USERS, None),
        (USERS, "id"),
        (USERS, USERS.c.id),
        (USERS, Person.id),
        (USERS.alias("people"), None),
        (USERS.alias("people"), "id"),
        (select(Person), Person.id),
        (select(Person), "id"),
        (select(USERS.c.id, USERS.c.name).where(USERS.c.name != bindparam("name", "Zed")), "id"),
        (select(USERS).subquery(), "id"),
    ],
)
def test_a_source_in_any_form(sqlite: Engine, source, id_column) -> None:
    assert sqlalchemy_loader(sqlite, source, id_column=id_column)("2") == {"id": 2, "name": "Bob"}


def test_the_id_need_not_be_among_the_fields(sqlite: Engine) -> None:
    load = sqlalchemy_loader(sqlite, select(func.upper(USERS.c.name).label("shout")), id_column=USERS.c.id)
    assert load("1") == {"shout": "ANN"}


@pytest.mark.parametrize(
    ("source", "id_column", "argument", "problem"),
    [
        (Person, None, "source", "__table__"),
        ("users", None, "source", "str"),
        (select(USERS).where(USERS.c.id == bindparam("user_id")), "id", "source", "bind parameter"),
        (select(USERS), None, "id_column", "must be given"),
        (PAIRS, None, "id_column", "2 primary keys"),
        (KINDS, None, "id_column", "no primary keys"),
        (USERS, "user_id", "id_column", "'user_id'"),
        (select(USERS.c.name), "id", "id_column", "'id'"),
        (USERS, TEXTS.c.id, "id_column", "not a column of"),
        (select(USERS), TEXTS.c.id, "id_column", "not a column of"),
        (USERS, 1, "id_column", "int"),
        (KINDS, "flag", "id_column", "must be a string"),
        (KINDS, "octets", "id_column", "must be a string"),
        (KINDS, "colour", "id_column", "must be a string"),
        (KINDS, "address", "id_column", "must be a string"),
    ],
)
def test_an_impossible_source_is_refused_at_once(source, id_column, argument, problem) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refused:
        sqlalchemy_loader(create_engine("sqlite://"), source, id_column=id_column)
    assert refused.value.argument == argument


BOSSES = USERS.alias("bosses")
BOTH = select(USERS.c.id, USERS.c.name).join(BOSSES, BOSSES.c.id == 1)


@pytest.mark.parametrize(
    "source",
    [
        BOTH.add_columns(BOSSES.c.name.label("name")),
        select(USERS.c.id, USERS.c.name.label("name"), BOSSES.c.name.label("name")).join(BOSSES, BOSSES.c.id == 1),
        BOTH.add_columns(BOSSES.c.name).set_label_style(LABEL_STYLE_NONE),
    ],
)
def test_two_columns_of_one_name_are_refused_at_once(sqlite: Engine, source) -> None:
    with pytest.raises(ConfigurationError, match="source: has two columns of one name"):
        sqlalchemy_loader(sqlite, source, id_column=USERS.c.id)


@pytest.mark.parametrize(
    "further",
    [
        [sql_text("bosses.name")],
        [literal_column("bosses.name"), literal_column("bosses.name")],
        [BOSSES.c.name, sql_text("1 AS name_1")],
    ],
)
def test_two_columns_that_only_the_database_names_are_refused_at_a_call(sqlite: Engine, further) -> None:
    load = sqlalchemy_loader(sqlite, BOTH.add_columns(*further), id_column=USERS.c.id)
    with pytest.raises(ConfigurationError, match="source: has two columns of one name"):
        load("2")


def test_columns_that_sqlalchemy_tells_apart_are_taken(sqlite: Engine) -> None:
    load = sqlalchemy_loader(sqlite, BOTH.add_columns(BOSSES.c.name), id_column=USERS.c.id)
    assert load("2") == {"id": 2, "name": "Bob", "name_1": "Ann"}
    load = sqlalchemy_loader(sqlite, BOTH.add_columns(BOSSES.c.name.label("boss")), id_column=USERS.c.id)
    assert load("2") == {"id": 2, "name": "Bob", "boss": "Ann"}
    load = sqlalchemy_loader(
        sqlite, BOTH.add_columns(func.upper(BOSSES.c.name), func.upper(USERS.c.name)), id_column="id"
    )
    assert load("2") == {"id": 2, "name": "Bob", "upper_1": "ANN", "upper_2": "BOB"}


@pytest.mark.parametrize(
    ("engine", "problem"),
    [
        ("sqlite://", "str"),
        (None, "NoneType"),
        (Session(), "Session"),
        (create_engine("sqlite+aiosqlite://"), "create_async_engine"),
    ],
)
def test_what_is_no_engine_is_refused_at_once(engine, problem) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refused:
        sqlalchemy_loader(engine, USERS)
    assert refused.value.argument == "engine"


def test_each_engine_has_the_function_that_its_face_takes(sqlite: Engine) -> None:
    assert not is_async_callable(sqlalchemy_loader(sqlite, USERS))
    async_loader = sqlalchemy_loader(create_async_engine("sqlite+aiosqlite://"), USERS)
    assert is_async_callable(async_loader)
    with pytest.raises(ConfigurationError, match="load_user"):
        AuthCache(MemoryStore(), load_user=async_loader, **TOKENS)


class TestThroughTheFaces:
    def test_the_blocking_face(self, sqlite: Engine) -> None:
        with AuthCache(MemoryStore(), load_user=sqlalchemy_loader(sqlite, USERS), **TOKENS) as auth:
            user, _ = auth.authenticate(bearer("2"))
            assert (user.identity, user.name, user["id"]) == ("2", "Bob", 2)
            for stranger in ("3", "02", "two"):
                with pytest.raises(InvalidTokenError, match="unknown"):
                    auth.authenticate(bearer(stranger))
            with sqlite.begin() as connection:
                connection.execute(update(USERS).where(USERS.c.id == 2).values(name="Rob"))
            assert auth.authenticate(bearer("2")).user.name == "Bob"
            auth.invalidate("2")
            assert auth.authenticate(bearer("2")).user.name == "Rob"

    async def test_the_async_face(self, sqlite: Engine) -> None:
        engine = create_async_engine(sqlite.url.set(drivername="sqlite+aiosqlite"))
        async with AsyncAuthCache(MemoryStore(), load_user=sqlalchemy_loader(engine, USERS), **TOKENS) as auth:
            found = await asyncio.gather(*(auth.authenticate(bearer("1")) for _ in range(20)))
            assert {identity.user.name for identity in found} == {"Ann"}
            with pytest.raises(InvalidTokenError, match="unknown"):
                await auth.authenticate(bearer("one"))
        await engine.dispose()

    def test_a_database_that_is_gone_is_unavailable(self, tmp_path: Path) -> None:
        engine = create_engine(f"sqlite:///{tmp_path}/nowhere/users.sqlite")
        with (
            AuthCache(MemoryStore(), load_user=sqlalchemy_loader(engine, USERS), **TOKENS) as auth,
            pytest.raises(UnavailableError, match="loader"),
        ):
            auth.authenticate(bearer("1"))
        engine.dispose()


def bearer(subject: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {issue_token(SECRET, subject=subject)}"),)
