"""fastapi-users with its JWT strategy and its SQLAlchemy database, to be served in the environment that is made for it.

As https://fastapi-users.github.io/fastapi-users/latest/configuration/full-example/ has it, with
``current_user(active=True)``. A statement appends one byte to a file, as a load of the applications in ``http_apps``
does. With ``python -m``, a file and a number it makes the database.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from http_apps import SECRET
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

__all__ = ["app"]


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = SECRET
    verification_token_secret = SECRET


def _served() -> FastAPI:
    engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['AUTHCACHE_BENCHMARK_DATABASE']}")
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    loads = os.open(os.environ["AUTHCACHE_BENCHMARK_LOADS"], os.O_WRONLY | os.O_APPEND)

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def count(*_statement: Any) -> None:
        os.write(loads, b".")

    async def get_async_session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    async def get_user_db(session: Annotated[AsyncSession, Depends(get_async_session)]) -> AsyncIterator[Any]:
        yield SQLAlchemyUserDatabase(session, User)

    async def get_user_manager(user_db: Annotated[Any, Depends(get_user_db)]) -> AsyncIterator[UserManager]:
        yield UserManager(user_db)

    backend = AuthenticationBackend(
        name="bearer",
        transport=BearerTransport(tokenUrl="auth/login"),
        get_strategy=lambda: JWTStrategy(secret=SECRET, lifetime_seconds=3600),
    )
    users = FastAPIUsers[User, uuid.UUID](get_user_manager, [backend])
    made = FastAPI()

    @made.get("/", response_class=PlainTextResponse)
    async def root(_user: Annotated[User, Depends(users.current_user(active=True))]) -> str:
        return "ok"

    return made


async def _make(file: str, count: int) -> None:
    """User n has the id n + 1."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with async_sessionmaker(engine)() as session:
        session.add_all(
            User(id=uuid.UUID(int=number + 1), email=f"ada{number}@example.com", hashed_password="none that fits")  # noqa: S106
            for number in range(count)
        )
        await session.commit()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(_make(sys.argv[1], int(sys.argv[2])))
else:
    app = _served()
