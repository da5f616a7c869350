"""What begins, renews and ends a user's access: the calls that write, told once for both faces."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Final

from authcache_middleware.engine import Engine
from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.options import Options
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import MAX_LEEWAY
from authcache_middleware.users.keys import is_subject
from authcache_middleware.users.policy import session_mark
from authcache_middleware.users.session import Session
from authcache_middleware.verification import KnownIssuer, Providers, Verification

__all__ = ["AccessCalls", "checked_subject"]

_LONGEST: Final = 366 * 24 * 60 * 60.0


class AccessCalls:
    """The part of a ``Story`` that is called by the application, and not by requests."""

    _options: Options
    _issuers: Mapping[str | None, KnownIssuer]
    _tokens: Verification

    def _engine(self) -> Engine:
        raise NotImplementedError

    def _providers(self) -> Providers:
        raise NotImplementedError

    async def login(
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
        """Put a session of the user on record: he is logged in, and from here on every service knows.

        Either with the ``token`` that he was given, which is verified: the session is that of its ``sid`` (of its
        ``jti`` where it has none) and ends with it, or at ``expires_at`` where that is given too. Or without one: the
        session is ``sid``, a new random one where none is given, and ends at ``expires_at`` (seconds since 1970, at
        most a year from now); put the ``sid`` of what is returned into his tokens.

        A session that is on record already goes on: its end may be put off and is never brought forward, and what is
        told of it is what was told last. ``address``, ``user_agent`` and ``label`` are kept as they are given, at most
        256 characters of each. Of several issuers, ``issuer`` says whose user he is, unless the token does.

        Raises ``LoginRefusedError`` where there are too many sessions, where this one was ended before, and within the
        ``leeway`` after a ``revoke_user``; ``InvalidTokenError`` for a token that is not good; ``UnavailableError``
        when Redis has not confirmed it: it may or may not have happened, call it again with the same ``sid``.
        """
        now = self._options.clock.wall()
        details = {"address": address, "user_agent": user_agent, "label": label}
        for what, text in details.items():
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{what}: must be a str or None, not {type(text).__name__}")
        ends = None if expires_at is None else _checked_end(expires_at, now)
        if token is None:
            name, subject = self._issuer(issuer), checked_subject(user_id)
            mark = f"s:{uuid.uuid4().hex if sid is None else _checked_sid(sid)}"
            if ends is None:
                raise TypeError("expires_at: must be given where there is no token")
        else:
            if sid is not None:
                raise TypeError("sid: is the token's, where there is one")
            claims = await self._claims_of(token, user_id, issuer, now)
            name, subject, mark = claims.issuer, claims.subject, _mark_of(claims)
            if ends is None or mark.startswith("t:"):  # a session that is one token lasts as long as it at least
                ends = max(_checked_end(claims.expires_at, now), ends or 0)
        logins = self._engine().of(name).logins
        return await logins.begin(subject, mark, expires_s=ends, **details)

    async def sessions(self, user_id: str, *, issuer: str | None = None) -> list[Session]:
        """The user's sessions that have neither been ended nor expired, the oldest first; one round trip.

        Of several issuers, ``issuer`` says whose user he is. Raises ``UnavailableError``.
        """
        name, subject = self._issuer(issuer), checked_subject(user_id)
        return await self._engine().of(name).logins.live(subject)

    async def invalidate(self, user_id: str, *, issuer: str | None = None) -> None:
        """The user's row has changed: whoever asks from here on gets it loaded again. Commit first, then call this.

        One ``DEL`` of ``key(user_id)``, which any other client may send as well. Of several issuers, ``issuer`` says
        whose user he is. Raises ``UnavailableError`` when Redis has not confirmed it: it may or may not have happened.
        """
        name, subject = self._issuer(issuer), checked_subject(user_id)
        await self._engine().of(name).revoker.cached(subject)

    async def logout(self, token: str) -> None:
        """End the token's session: refused from here on, by every service that shares the Redis.

        With a ``sid`` that is every token of this session, later ones too, whether or not it is on record. Without one
        it is this token alone, by its ``jti``; without that by (issuer, subject, ``iat``), which is exact but for a
        token of the same user issued in the same moment; with neither (``require_iat=False``) this is a
        ``ConfigurationError``.

        The token is verified first, all but its time: a forged one raises ``InvalidTokenError``; one that is not valid
        yet, or has expired here, is revoked all the same, since another service may have a larger leeway; one without
        ``sid`` that has expired by more than the largest (60 s) needs no ending and is left alone. An opaque token is
        ended in the same way and by a hash of it, and what its provider has said of it is forgotten; call this before
        the provider is told, since one that it calls inactive is an ``InvalidTokenError``. Raises
        ``UnavailableError`` when Redis has not confirmed it.
        """
        now = self._options.clock.wall()
        claims = await self._tokens.recognise(token, now, self._providers)
        never_ends = claims.session_id is not None or "exp" not in claims  # here; elsewhere it may go on
        if never_ends or now < claims.expires_at + MAX_LEEWAY:
            await self._engine().of(claims.issuer).revoker.token(claims, now=now)
        await self._tokens.forget(token, self._providers)

    async def logout_session(self, user_id: str, sid: str, *, issuer: str | None = None) -> None:
        """End one session of the user: every token with this ``sid``, also those that it is given later.

        It need not be on record. Where a token without ``sid`` is on record under this ``jti``, it is ended. Of several
        issuers, ``issuer`` says whose user he is. Raises ``UnavailableError`` when Redis has not confirmed it.
        """
        name, subject = self._issuer(issuer), checked_subject(user_id)
        await self._engine().of(name).revoker.session(subject, _checked_sid(sid))

    async def revoke_user(self, user_id: str, *, issuer: str | None = None) -> None:
        """End every session of the user, and every token that was issued up to now + ``leeway`` by the clock of Redis.

        A login within the leeway after this is refused too: its token cannot be told from one that was issued before
        by a clock that runs ahead. Of several issuers, ``issuer`` says whose user he is. Raises ``UnavailableError``
        when Redis has not confirmed it.
        """
        name, subject = self._issuer(issuer), checked_subject(user_id)
        await self._engine().of(name).revoker.user(subject)

    def key(self, user_id: str, *, issuer: str | None = None) -> str:
        """The key in Redis whose ``DEL`` invalidates this user (of several issuers, this ``issuer``'s)."""
        return self._issuers[self._issuer(issuer)].keys.record(checked_subject(user_id))

    def _issuer(self, issuer: str | None) -> str | None:
        if issuer is None and len(self._issuers) == 1:
            return next(iter(self._issuers))
        if issuer is None:
            raise TypeError("issuer: must be given, since there are several: each has users of its own")
        if issuer not in self._issuers:
            raise ValueError("issuer: is none of those whose tokens are taken")
        return issuer

    async def _claims_of(self, token: str, user_id: str, issuer: str | None, now: float) -> Claims:
        """The claims of a token that is good now, and that of this very user."""
        claims = await self._tokens.recognise(token, now, self._providers)
        if claims.expires_at <= now:
            raise InvalidTokenError("expired")
        if claims.subject != checked_subject(user_id):
            raise ValueError("user_id: is not whom the token speaks for")
        if issuer is not None and claims.issuer != self._issuer(issuer):
            raise ValueError("issuer: is not the token's")
        return claims


def checked_subject(user_id: str) -> str:
    """The user's id, if it may be one."""
    if not isinstance(user_id, str):
        raise TypeError(f"user_id: must be a str, as in the token, not {type(user_id).__name__}")
    if not is_subject(user_id):
        raise ValueError("user_id: must have 1 to 255 characters, none of them a control character")
    return user_id


def _checked_sid(sid: str) -> str:
    if not isinstance(sid, str):
        raise TypeError(f"sid: must be a str, as in the token, not {type(sid).__name__}")
    if not is_subject(sid):
        raise ValueError("sid: must have 1 to 255 characters, none of them a control character")
    return sid


def _checked_end(expires_at: float, now: float) -> int:
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        raise TypeError("expires_at: must be seconds since 1970")
    if not now < expires_at <= now + _LONGEST:  # what is no number at all is in neither
        raise ValueError("expires_at: must be later than now, by at most a year")
    return math.ceil(expires_at)


def _mark_of(claims: Claims) -> str:
    mark = session_mark(claims)
    if mark is None:
        raise ConfigurationError("token", "has neither sid nor jti, so nothing names its session")
    return mark
