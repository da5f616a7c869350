"""fastapi-users with its JWT strategy and its SQLAlchemy database.

As https://fastapi-users.github.io/fastapi-users/latest/configuration/full-example/ has it, with
``current_user(active=True)``.
"""

import contextlib
import uuid
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from peers_requests import SECRET, Peer, Stage
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from peers_apps import fastapi_dependency_redis as shared

NAME = "fastapi-users, JWT strategy, SQLAlchemy"
PROTOCOL = "asgi"


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = SECRET
    verification_token_secret = SECRET


async def with_strategy(stage: Stage, get_strategy, file: str) -> Peer:
    engine = create_async_engine(f"sqlite+aiosqlite:///{stage.directory / file}")
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    async def get_async_session():
        async with sessions() as session:
            yield session

    async def get_user_db(session: AsyncSession = Depends(get_async_session)):
        yield SQLAlchemyUserDatabase(session, User)

    async def get_user_manager(user_db: SQLAlchemyUserDatabase = Depends(get_user_db)):
        yield UserManager(user_db)

    backend = AuthenticationBackend(
        name="bearer", transport=BearerTransport(tokenUrl="auth/login"), get_strategy=get_strategy
    )
    users = FastAPIUsers[User, uuid.UUID](get_user_manager, [backend])
    app = FastAPI()

    @app.get("/x", response_class=PlainTextResponse)
    async def x(user: Annotated[User, Depends(users.current_user(active=True))]):
        return "ok"

    async with contextlib.asynccontextmanager(get_async_session)() as session:
        user = await SQLAlchemyUserDatabase(session, User).create(
            {"email": "ada@example.com", "hashed_password": "none that fits"}
        )
    token = await get_strategy().write_token(user)
    return Peer(shared.plain(), app, shared.with_ours(stage.auth), token)


async def make(stage: Stage) -> Peer:
    return await with_strategy(stage, lambda: JWTStrategy(secret=SECRET, lifetime_seconds=3600), "jwt.db")
