"""The two faces of one story: ``AsyncAuthCache`` is awaited, ``AuthCache`` blocks."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.events import Stats
from authcache_middleware.options import IssuersDict, Options, OptionsDict
from authcache_middleware.presence import ONLINE_WITHIN
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, CutError, Line, finish
from authcache_middleware.sessions.watches import End, EndReason, Watch
from authcache_middleware.story import Headers, Story
from authcache_middleware.streams.following import NEWEST, StreamEvent
from authcache_middleware.streams.presence import Presence
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.logout import LogoutRules
from authcache_middleware.users.policy import session_mark
from authcache_middleware.users.record import Record
from authcache_middleware.users.session import Session
from authcache_middleware.users.typed import UserType
from authcache_middleware.users.user import NO_CREDENTIALS, Credentials, Identity, User

__all__ = ["AsyncAuthCache", "AuthCache", "Headers"]

UserT = TypeVar("UserT")
T = TypeVar("T")


def _signature() -> Signature:
    """What ``help`` and editors show: every option with its default."""
    source = Parameter("redis", Parameter.POSITIONAL_OR_KEYWORD, annotation="str | Redis | Store")
    options = [
        Parameter(option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=option.type)
        for option in fields(Options)
    ]
    return Signature([source, *options])


class AsyncAuthCache(Story[UserT]):
    """Known users for asyncio applications: tokens verified, users resolved through Redis, logouts seen by everyone.

    ``redis``: a URL (``redis://``, ``rediss://``, ``unix://``), a ready ``redis.asyncio`` client, or a ``Store``. The
    options are those of ``Options``. Nothing is opened by the constructor; connections and tasks belong to the event
    loop that calls, and each loop gets its own. Raises ``ConfigurationError``, which names the option.
    """

    __signature__ = _signature()

    @overload
    def __init__(self: AsyncAuthCache[User], redis: object, **options: Unpack[OptionsDict]) -> None: ...
    @overload
    def __init__(self: AsyncAuthCache[User], redis: object, **options: Unpack[IssuersDict]) -> None: ...
    @overload
    def __init__(self, redis: object, *, user_type: UserType[UserT], **options: Unpack[OptionsDict]) -> None: ...
    @overload
    def __init__(self, redis: object, *, user_type: UserType[UserT], **options: Unpack[IssuersDict]) -> None: ...
    def __init__(self, redis: object, **options: Any) -> None:
        super().__init__(AsyncRuntime, redis, options)

    async def while_allowed(self, auth: Credentials, items: AsyncIterable[T]) -> AsyncIterator[T]:
        """The items, as long as the user of these credentials may be there: for responses that are sent for long.

        ``StreamingResponse(auth.while_allowed(request.auth, lines()))``. It raises ``InvalidTokenError`` when the time
        of the token is over or its user may enter no longer, ``UnavailableError`` when nobody has known for
        ``keep_open_for`` seconds. An item that is waited for then is waited for no longer: ``CancelledError`` is raised
        inside ``items``, once, which may clean up. ``items`` that swallow it and wait on are waited for: nothing of it
        reaches the client any more, but the response stays open as long. Where the application lets the error pass, the
        client gets a body that breaks off, after what it was sent already. For the anonymous user it is the items
        themselves.
        """
        if auth is NO_CREDENTIALS:
            async for item in items:
                yield item
            return
        line, reasons, source = Line(), list[EndReason](), aiter(items)

        async def end(reason: EndReason) -> None:
            reasons.append(reason)
            line.cut()

        watch = self.watch(auth.claims, end)
        try:
            while True:
                try:
                    item = await line.wait(source.__anext__)
                except StopAsyncIteration:
                    return
                except CutError:
                    break
                yield item
        finally:
            watch.release()
            if isinstance(source, AsyncGenerator):
                await source.aclose()
        raise UnavailableError("connection") if "unavailable" in reasons else InvalidTokenError(reasons[0])

    def watch(self, claims: Claims, end: End) -> Watch:
        """Watch a connection that stays open with these verified claims, until ``release`` of what is returned.

        Its ``seen`` marks the user as seen, its ``renew`` puts other claims of his in the place of these.

        ``end(reason)`` is called once and awaited, in a task of its own, when the token's time is over (``"expired"``),
        its user may enter no longer (``"revoked"``, whatever the cause), or nobody has known for ``keep_open_for``
        seconds (``"unavailable"``; also by ``aclose``). This is for adapters: the ASGI middleware watches WebSockets
        by itself, and streams have ``while_allowed``. Raises ``InvalidTokenError`` where the issuer is unknown.
        """
        if claims.issuer not in self._issuers:
            raise InvalidTokenError("issuer")
        key = self._issuers[claims.issuer].keys.record(claims.subject)
        mark = None if self._seen is None else self._mark
        return self._engine().watch(claims, key, end, admit=self._holds_until, mark=mark)

    def _mark(self, key: str) -> None:
        if self._seen is not None:
            self._seen.mark(key, self._wall())

    def _holds_until(self, record: Record, claims: Claims) -> float:
        """Until when the record lets the bearer of these claims in, by itself; raises where it does not."""
        self._identity(record, claims)
        sessions, mark = record.revocations.sessions, session_mark(claims)
        if not self._options.require_session or sessions is None or mark is None:
            return math.inf
        return sessions.get(mark, math.inf)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()


class AuthCache(Generic[UserT]):
    """The same for blocking applications: WSGI servers, workers, scripts. For any number of threads or greenlets.

    Every method waits in the calling thread and otherwise does as its namesake of ``AsyncAuthCache``. There is no event
    loop and no thread behind it; a forked child opens connections of its own. ``load_user`` is a plain function.
    """

    __signature__ = _signature()

    @overload
    def __init__(self: AuthCache[User], redis: object, **options: Unpack[OptionsDict]) -> None: ...
    @overload
    def __init__(self: AuthCache[User], redis: object, **options: Unpack[IssuersDict]) -> None: ...
    @overload
    def __init__(self, redis: object, *, user_type: UserType[UserT], **options: Unpack[OptionsDict]) -> None: ...
    @overload
    def __init__(self, redis: object, *, user_type: UserType[UserT], **options: Unpack[IssuersDict]) -> None: ...
    def __init__(self, redis: object, **options: Any) -> None:
        self._story: Story[UserT] = Story(BlockingRuntime, redis, options)

    def authenticate(self, headers: Headers) -> Identity[UserT]:
        """See ``AsyncAuthCache.authenticate``."""
        return finish(self._story.authenticate(headers))

    def resolve(self, claims: Claims) -> Identity[UserT]:
        """See ``AsyncAuthCache.resolve``."""
        return finish(self._story.resolve(claims))

    def invalidate(self, user_id: str, *, issuer: str | None = None) -> None:
        """See ``AsyncAuthCache.invalidate``."""
        finish(self._story.invalidate(user_id, issuer=issuer))

    def login(
        self,
        user_id: str,
        *,
        token: str | None = None,
        sid: str | None = None,
        expires_at: float | None = None,
        address: str | None = None,
        user_agent: str | None = None,
        label: str | None = None,
        issuer: str | None = None,
    ) -> Session:
        """See ``AsyncAuthCache.login``."""
        return finish(
            self._story.login(
                user_id,
                token=token,
                sid=sid,
                expires_at=expires_at,
                address=address,
                user_agent=user_agent,
                label=label,
                issuer=issuer,
            )
        )

    def sessions(self, user_id: str, *, issuer: str | None = None) -> list[Session]:
        """See ``AsyncAuthCache.sessions``."""
        return finish(self._story.sessions(user_id, issuer=issuer))

    def logout(self, token: str) -> None:
        """See ``AsyncAuthCache.logout``."""
        finish(self._story.logout(token))

    def logout_session(self, user_id: str, sid: str, *, issuer: str | None = None) -> None:
        """See ``AsyncAuthCache.logout_session``."""
        finish(self._story.logout_session(user_id, sid, issuer=issuer))

    def revoke_user(self, user_id: str, *, issuer: str | None = None) -> None:
        """See ``AsyncAuthCache.revoke_user``."""
        finish(self._story.revoke_user(user_id, issuer=issuer))

    def backchannel_logout(self, logout_token: str, rules: LogoutRules | None = None) -> None:
        """See ``AsyncAuthCache.backchannel_logout``."""
        finish(self._story.backchannel_logout(logout_token, *(() if rules is None else (rules,))))

    def presence(self, user_id: str, *, within: float = ONLINE_WITHIN, issuer: str | None = None) -> Presence:
        """See ``AsyncAuthCache.presence``."""
        return finish(self._story.presence(user_id, within=within, issuer=issuer))

    def online(self, *, within: float = ONLINE_WITHIN, limit: int = 1000, issuer: str | None = None) -> list[str]:
        """See ``AsyncAuthCache.online``."""
        return finish(self._story.online(within=within, limit=limit, issuer=issuer))

    def count_online(self, *, within: float = ONLINE_WITHIN, issuer: str | None = None) -> int:
        """See ``AsyncAuthCache.count_online``."""
        return finish(self._story.count_online(within=within, issuer=issuer))

    def events(self, after: str = NEWEST, *, until: Callable[[], bool] | None = None) -> Iterator[StreamEvent]:
        """See ``AsyncAuthCache.events``."""
        following = self._story.following(after, until)
        while (event := finish(following.next())) is not None:
            yield event

    def close(self) -> None:
        """Close the connections of this process; a ready client stays open. May be used again after."""
        finish(self._story.aclose())

    def recall(self, headers: Headers) -> Identity[UserT] | None:
        """See ``AsyncAuthCache.recall``."""
        return self._story.recall(headers)

    def recall_or_nobody(self, headers: Headers) -> Identity[UserT] | None:
        """See ``AsyncAuthCache.recall_or_nobody``."""
        return self._story.recall_or_nobody(headers)

    def stats(self) -> Stats:
        """See ``AsyncAuthCache.stats``."""
        return self._story.stats()

    def key(self, user_id: str, *, issuer: str | None = None) -> str:
        """See ``AsyncAuthCache.key``."""
        return self._story.key(user_id, issuer=issuer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._story).replace("Story", "AuthCache", 1)
