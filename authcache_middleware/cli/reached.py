"""The users of one issuer as they stand in a Redis, without keys and without a loader: to list and to end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import click

from authcache_middleware.errors import ConfigurationError, UnavailableError
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.connect import RedisTarget
from authcache_middleware.redis.event_stream import EventStreamKey
from authcache_middleware.redis.last_seen import LastSeen
from authcache_middleware.redis.store import Commands
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import SystemClock, finish
from authcache_middleware.sessions.logins import Logins
from authcache_middleware.sessions.revocation import Revoker
from authcache_middleware.streams.announcing import Announcer
from authcache_middleware.streams.following import checked_stream
from authcache_middleware.users.keys import UserKeys

__all__ = ["Reached", "Told", "reached"]

_TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Reached:
    """What reads and writes there, as the faces' own calls do; ``finish`` ends each of them."""

    revoker: Revoker
    logins: Logins
    last_seen: LastSeen


class Told(NamedTuple):
    """The event stream that hears of what is done."""

    key: str
    alias: str | None
    length: int


@contextmanager
def reached(
    url: str,
    keys: UserKeys,
    *,
    leeway: float,
    max_token_lifetime: float,
    wait_replicas: int = 0,
    tells: Told | None = None,
) -> Iterator[Reached]:
    """Opens and closes it; an outage is a ``click.ClickException``, whose exit status is 1."""
    reporter, clock = Reporter(), SystemClock()
    target = RedisTarget(
        url,
        asynchronous=False,
        timeout=_TIMEOUT,
        connect_timeout=_TIMEOUT,
        max_connections=1,
        wait_replicas=wait_replicas,
    )
    opened = target.open(Breaker(time.monotonic, reporter))
    store, commands = opened.store, opened.commands
    assert commands is not None  # noqa: S101 - what a RedisTarget opens is a Redis
    try:
        revoker = Revoker(
            store,
            keys=keys,
            max_token_lifetime=max_token_lifetime,
            leeway=leeway,
            forget=lambda _key: None,
            save=None,
            clock=clock,
            reporter=reporter,
            announce=None if tells is None else _announcer(commands, tells, reporter).announce,
        )
        logins = Logins(store, keys=keys, most=None, ends_oldest=True, revoker=revoker, now=clock.wall)
        yield Reached(revoker, logins, LastSeen(commands, keys.last_seen))
    except UnavailableError as exc:
        raise click.ClickException(f"Redis has not answered, or not confirmed it: {exc.reason}") from None
    except ConfigurationError as exc:
        raise click.UsageError(str(exc)) from None
    finally:
        finish(store.aclose())


def _announcer(commands: Commands, tells: Told, reporter: Reporter) -> Announcer:
    stream = EventStreamKey(commands, checked_stream(tells.key))
    return Announcer(stream, alias=tells.alias, length=tells.length, wall=time.time, reporter=reporter)
