"""The demo's database: 1,000 users in a SQLite file, and a count of how often they are read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Column, Engine, Integer, MetaData, String, Table, create_engine, event, insert, update

__all__ = ["USERS", "Reads", "make_database", "update_user"]

USERS = Table(
    "users",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(50), nullable=False),
    Column("email", String(50), nullable=False),
    Column("is_active", Boolean, nullable=False),
)
HOW_MANY = 1000


def make_database(path: Path) -> Engine:
    """The new file's engine; the users are 1 to 1,000, all of them active."""
    engine = create_engine(f"sqlite:///{path}")
    USERS.create(engine)
    rows = [
        {"id": number, "name": f"User {number}", "email": f"user{number}@example.com", "is_active": True}
        for number in range(1, HOW_MANY + 1)
    ]
    with engine.begin() as connection:
        connection.execute(insert(USERS), rows)
    return engine


def update_user(engine: Engine, user_id: int, **fields: Any) -> None:
    """Changes the row and commits; no cache is told."""
    with engine.begin() as connection:
        connection.execute(update(USERS).where(USERS.c.id == user_id).values(**fields))


class Reads:
    """Counts the statements that an engine sends to read users: what really happened, not what a loader says."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self._mutex = threading.Lock()  # statements come from several threads
        event.listen(engine, "before_cursor_execute", self._sent)

    def _sent(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM users" in statement:
            with self._mutex:
                self.count += 1
