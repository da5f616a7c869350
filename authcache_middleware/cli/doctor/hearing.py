"""Whether this host would hear of changes: the same steps that a link takes, each refusal named."""

from __future__ import annotations

from typing import Final

from authcache_middleware.cli.doctor.findings import Finding, Unknown, found
from authcache_middleware.cli.doctor.line import Line, NoAnswerError, RefusedError, Server
from authcache_middleware.cli.doctor.nobody import nobodys_key

__all__ = ["hearing"]

_CHANNEL: Final = "__redis__:invalidate"
_BEACON_MS: Final = 1000
_RIGHTS: Final = {"CLIENT ID": "+client|id", "CLIENT TRACKING": "+client|tracking", "SUBSCRIBE": "+subscribe"}


def hearing(server: Server, pool: Line, *, prefix: str) -> Finding | Unknown | None:
    """What keeps a link from hearing; ``pool`` is the connection by which keys are written."""
    step = "CLIENT ID"
    try:
        with server.line() as link:
            number = link.ask("CLIENT", "ID")
            step = "CLIENT TRACKING"
            link.ask("CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST", "PREFIX", prefix)
            step = "SUBSCRIBE"
            link.ask("SUBSCRIBE", _CHANNEL)
            step = "the changed key"
            return _heard(link, pool, nobodys_key(pool, prefix))
    except RefusedError as exc:
        if exc.lacking is None:
            return found("client-refused", step=step)
        right = f"&{_CHANNEL}" if exc.lacking == "channel" else _RIGHTS.get(step, "+ping")
        return found("tracking-refused", right=right, user=server.user)
    except NoAnswerError as exc:
        if exc.reason == "no time left":
            return Unknown("invalidations-lost", exc.reason)
        # a proxy that hangs up, or one that keeps to itself what it does not understand
        return found("client-refused", step=step) if step in _RIGHTS else found("invalidations-lost")


def _heard(link: Line, pool: Line, key: str) -> Finding | Unknown | None:
    try:
        pool.ask("SET", key, "", "PX", _BEACON_MS)
    except RefusedError:
        return Unknown("invalidations-lost", "no key could be written")
    is_heard = False
    for _ in range(2):  # one answer may have been queued ahead of the message, a second cannot
        link.send("PING")
        while (message := link.read())[0] != b"pong":
            is_heard = is_heard or (message[0] == b"message" and key.encode() in (message[2] or ()))
        if is_heard:
            return None
    return found("invalidations-lost")
