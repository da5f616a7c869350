"""One WebSocket that must end: what its client is sent, and what its application gets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conformance.faces import identity
from open_sockets import Client, Face, Open

from authcache_middleware.asgi import AuthCacheMiddleware, extend, requires
from authcache_middleware.errors import ConfigurationError, InvalidTokenError

ACCEPT, CLOSE = {"type": "websocket.accept"}, "websocket.close"
ENDED = {"type": "websocket.disconnect", "code": 4401, "reason": "revoked"}


class Echo:
    """Accepts, answers what it gets, and remembers it."""

    def __init__(self) -> None:
        self.got: list[dict] = []

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        self.got.append(await receive())
        await send(ACCEPT)
        while (message := await receive())["type"] == "websocket.receive":
            self.got.append(message)
            await send({"type": "websocket.send", "text": message["text"]})
        self.got.append(message)


async def test_it_is_closed_and_the_application_gets_the_end_it_waits_for() -> None:
    app, face = Echo(), Face()
    open_ = await Open(app, face).begun()
    open_.client.says("hello")
    await open_.begun()
    await face.end()
    assert await open_.over() == [
        ACCEPT,
        {"type": "websocket.send", "text": "hello"},
        {"type": CLOSE, "code": 4401, "reason": "revoked"},
    ]
    assert app.got[-1] == ENDED


@pytest.mark.parametrize(
    ("reason", "options", "code"),
    [
        ("expired", {}, 4401),
        ("revoked", {"close_code": 4999}, 4999),
        ("unavailable", {"close_code": 4999}, 1013),
    ],
)
async def test_the_code_and_the_reason(reason, options, code) -> None:
    app, face = Echo(), Face()
    open_ = await Open(app, face, **options).begun()
    await face.end(reason)
    assert (await open_.over())[-1] == {"type": CLOSE, "code": code, "reason": reason}
    assert app.got[-1] == {"type": "websocket.disconnect", "code": code, "reason": reason}


@pytest.mark.parametrize("code", [1000, 2999, 5000, True, "4401", 4401.0, None])
def test_a_code_that_no_server_may_send_is_refused(code) -> None:
    with pytest.raises(ConfigurationError, match=r"close_code: "):
        AuthCacheMiddleware(Echo(), auth=Face(), close_code=code)


async def test_it_is_watched_from_its_acceptance_to_its_end() -> None:
    face, steps = Face(), asyncio.Queue()

    async def app(scope, receive, send) -> None:
        while (step := await steps.get()) is not None:
            await (receive() if step == "receive" else send(step))

    open_ = Open(app, face)
    for step in ("receive", None):
        steps.put_nowait(step)
    await open_.over()
    assert face.begun == 0

    open_ = Open(app, face)
    steps.put_nowait("receive")
    await open_.begun()
    assert face.begun == 0
    steps.put_nowait(ACCEPT)
    await open_.begun()
    assert len(face.watched) == 1
    steps.put_nowait({"type": CLOSE})
    await open_.begun()
    assert (len(face.watched), face.begun) == (0, 1)
    steps.put_nowait(None)
    await open_.over()


@pytest.mark.parametrize("how", ["is cancelled", "fails"])
async def test_it_is_watched_though_its_acceptance_did_not_come_back(how) -> None:
    """It may have reached the server, and the application may go on."""
    face = Face()

    class Late(Client):
        async def send(self, message: dict) -> None:
            await super().send(message)
            if message == ACCEPT:
                if how == "fails":
                    raise OSError
                await asyncio.Event().wait()

    async def app(scope, receive, send) -> None:
        await receive()
        with pytest.raises((TimeoutError, OSError)):
            async with asyncio.timeout(0):
                await send(ACCEPT)
        assert await receive() == ENDED

    open_ = await Open(app, face, client=Late()).begun()
    await face.end()
    assert await open_.over() == [ACCEPT, {"type": CLOSE, "code": 4401, "reason": "revoked"}]


async def test_it_is_watched_before_it_is_accepted() -> None:
    face, watched = Face(), []

    class Looks(Client):
        async def send(self, message: dict) -> None:
            watched.append((message["type"], len(face.watched)))
            await super().send(message)

    open_ = await Open(Echo(), face, client=Looks()).begun()
    open_.client.leaves()
    await open_.over()
    assert watched == [("websocket.accept", 1)]


async def test_each_message_of_the_client_is_a_sign_of_life() -> None:
    face = Face()
    open_ = await Open(Echo(), face).begun()
    assert face.seen == 0
    for text in ("a", "b"):
        open_.client.says(text)
        await open_.begun()
    assert face.seen == 2
    open_.client.leaves()
    await open_.over()
    assert face.seen == 2


async def test_a_client_that_leaves_is_watched_no_longer() -> None:
    face, watched = Face(), []

    async def app(scope, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        watched.append(len(face.watched))
        assert await receive() == {"type": "websocket.disconnect", "code": 1001}
        watched.append(len(face.watched))  # though the application goes on

    open_ = await Open(app, face).begun()
    open_.client.leaves()
    assert await open_.over() == [ACCEPT]
    assert watched == [1, 0]


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
async def test_an_application_that_ends_is_watched_no_longer(how) -> None:
    face = Face()

    async def app(scope, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        if how == "raises":
            raise LookupError
        if how == "is cancelled":
            await receive()

    open_ = await Open(app, face).begun()
    if how == "is cancelled":
        assert len(face.watched) == 1
        open_.task.cancel()
    await asyncio.wait([open_.task])
    assert face.watched == []
    assert open_.client.sent == [ACCEPT]
    assert open_.task.cancelled() == (how == "is cancelled")


async def test_an_anonymous_connection_is_not_watched() -> None:
    face = Face()
    open_ = await Open(Echo(), face, token=None, optional=True).begun()
    assert face.begun == 0
    with pytest.raises(InvalidTokenError, match="subject"):
        await extend(open_.scope, "alice")
    open_.client.leaves()
    await open_.over()


async def test_what_is_sent_after_the_end_raises_and_its_close_is_no_harm() -> None:
    face, raised = Face(), []

    async def app(scope, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        assert await receive() == ENDED
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as exc:
            raised.append(exc)
        await send({"type": CLOSE, "code": 1000})
        assert await receive() == ENDED

    open_ = await Open(app, face).begun()
    await face.end()
    assert [message["type"] for message in await open_.over()] == ["websocket.accept", CLOSE]
    assert len(raised) == 1


async def test_an_application_that_only_sends_ends_as_well() -> None:
    face = Face()

    async def app(scope, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        while True:
            await send({"type": "websocket.send", "text": "tick"})
            await asyncio.sleep(0)

    open_ = await Open(app, face).begun()
    await face.end()
    assert (await open_.over())[-1]["type"] == CLOSE


async def test_a_client_that_does_not_read_keeps_nobody() -> None:
    face = Face()

    async def app(scope, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "never read"})

    open_ = Open(app, face)
    open_.client.blocked = asyncio.Event()
    await open_.begun()
    await face.end()
    assert [message["type"] for message in await open_.over()] == ["websocket.accept", CLOSE]


async def test_what_the_client_says_in_that_moment_is_not_heard() -> None:
    app, face = Echo(), Face()
    open_ = await Open(app, face).begun()
    open_.client.says("do it")
    await face.end()
    await open_.over()
    assert [message["type"] for message in app.got] == ["websocket.connect", "websocket.disconnect"]


async def test_the_middleware_returns_when_the_close_was_sent() -> None:
    """The server takes the end of the application for the end of the connection."""
    face, gate = Face(), asyncio.Event()

    class Slow(Client):
        async def send(self, message: dict) -> None:
            if message["type"] == CLOSE:
                await gate.wait()
            await super().send(message)

    open_ = Open(Echo(), face, client=Slow())
    await open_.begun()
    ending = asyncio.create_task(face.end())
    await open_.begun()
    assert not open_.task.done()
    gate.set()
    await ending
    assert (await open_.over())[-1]["type"] == CLOSE


@pytest.mark.parametrize("failure", ["raises", "hangs"])
async def test_a_close_that_fails_is_left_to_the_server(failure, monkeypatch) -> None:
    monkeypatch.setattr("authcache_middleware.sockets._CLOSING", 0.01)
    app, face = Echo(), Face()

    class Gone(Client):
        async def send(self, message: dict) -> None:
            if message["type"] == CLOSE:
                if failure == "raises":
                    raise OSError
                await asyncio.Event().wait()
            await super().send(message)

    open_ = Open(app, face, client=Gone())
    await open_.begun()
    await face.end()
    assert await open_.over() == [ACCEPT]
    assert app.got[-1] == ENDED


async def test_an_end_after_the_application_sends_nothing() -> None:
    face = Face()
    open_ = await Open(Echo(), face).begun()
    (watch,) = face.watched
    open_.client.leaves()
    await open_.over()
    await watch.end("revoked")
    assert open_.client.sent == [ACCEPT]


async def test_errors_of_the_application_pass() -> None:
    async def app(scope, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        raise ConnectionAbortedError("its own")

    with pytest.raises(ConnectionAbortedError, match="its own"):
        await Open(app, Face()).task


# A fresh token


async def test_a_fresh_token_takes_the_place_of_the_old_one() -> None:
    fresh = identity("alice", "read", "write")
    face = Face(fresh=fresh)
    open_ = await Open(Echo(), face).begun()
    assert await extend(open_.scope, "fresh") is fresh
    assert face.watched[0].claims is fresh.auth.claims
    assert requires("write")(open_.scope) is fresh.user
    open_.client.leaves()
    await open_.over()


async def test_a_fresh_token_before_the_acceptance_is_the_one_that_is_watched() -> None:
    fresh, face = identity("alice"), None
    face = Face(fresh=fresh)

    async def app(scope, receive, send) -> None:
        await receive()
        await extend(scope, "fresh")
        await send(ACCEPT)
        assert face.watched[0].claims is fresh.auth.claims

    await Open(app, face).over()


@pytest.mark.parametrize("token", ["bob", "unknown", ""])
async def test_a_token_that_does_not_do_changes_nothing(token) -> None:
    face = Face(bob=identity("bob"))
    open_ = await Open(Echo(), face).begun()
    before = open_.scope["user"], open_.scope["auth"], face.watched[0].claims
    with pytest.raises(Exception, match=r"subject|unknown|malformed") as raised:
        await extend(open_.scope, token)
    assert raised.value.status in {400, 401}
    assert (open_.scope["user"], open_.scope["auth"], face.watched[0].claims) == before
    open_.client.leaves()
    await open_.over()


async def test_a_connection_that_has_ended_is_not_extended() -> None:
    face = Face()
    open_ = await Open(Echo(), face).begun()
    await face.end()
    await open_.over()
    with pytest.raises(InvalidTokenError, match="ended"):
        await extend(open_.scope, "alice")


async def test_a_scope_of_something_else_cannot_be_extended() -> None:
    with pytest.raises(ConfigurationError, match="scope: "):
        await extend({"type": "http"}, "alice")
