"""A FastAPI dependency that verifies with PyJWT and reads the user through SQLAlchemy.

The dependency as https://fastapi.tiangolo.com/tutorial/security/oauth2-jwt/ has it, a session for each request as
https://fastapi.tiangolo.com/tutorial/sql-databases/ has it, in SQLAlchemy's asyncio form
(https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html) on SQLite.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from peers_requests import USER, Peer, Stage
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from peers_apps import fastapi_dependency_redis as shared

NAME = "FastAPI dependency + PyJWT + SQLAlchemy"
PROTOCOL = "asgi"


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    status: Mapped[str]
    role: Mapped[str]
    plan: Mapped[str]
    created_at: Mapped[str]
    last_activity_at: Mapped[str]


async def make(stage: Stage) -> Peer:
    engine = create_async_engine(f"sqlite+aiosqlite:///{stage.directory / 'fastapi.db'}")
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions.begin() as session:
        session.add(User(**USER))
    app = FastAPI()

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    async def get_current_user(
        sub: Annotated[str, Depends(shared.subject)], session: Annotated[AsyncSession, Depends(get_session)]
    ) -> User:
        user = await session.get(User, int(sub))
        if user is None or user.status != "active":
            raise shared.UNAUTHORIZED
        return user

    @app.get("/x", response_class=PlainTextResponse)
    async def x(user: Annotated[User, Depends(get_current_user)]):
        return "ok"

    return Peer(shared.plain(), app, shared.with_ours(stage.auth), shared.token())
