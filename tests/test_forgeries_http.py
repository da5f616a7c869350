"""The forger's corpus through the middleware, over ASGI and WSGI, in a header and in a cookie.

What is answered, logged, counted or shown to a debugger is the same for all forgeries.
So nothing of a token, a key or a message of a library can be in it.
"""

import asyncio
import logging
import re

import pytest
from conformance.drivers import Ask, over_asgi, over_wsgi
from forgeries import ALGORITHMS, NOW, cases, options, seed_of_this_run

from authcache_middleware import AsyncAuthCache, AuthCache, TokenPlaces, asgi, wsgi
from authcache_middleware.testing import ManualClock, MemoryStore

WAYS = ("asgi", "wsgi", "cookie")
PLACES = TokenPlaces(cookie="token", origins=["https://app.example"])

REFUSED_HEADERS = [("content-type", "application/json"), ("cache-control", "no-store")]


def answer(status, error):
    body = f'{{"error": "{error}"}}'.encode()
    challenge = ("www-authenticate", f'Bearer realm="api", error="{error}"')
    return status, sorted([challenge, *REFUSED_HEADERS, ("content-length", str(len(body)))]), body


ANSWERS = {
    200: (200, [("content-type", "text/plain")], b"in"),
    401: answer(401, "invalid_token"),
    400: answer(400, "invalid_request"),
}
# What an operator may see: the class of a refusal and one of our own words for its reason.
EVENT = re.compile(r"\w+\((?:\w+=(?:'[a-z_ ]{1,24}'|None|True|False|[\d.e-]+)(?:, )?)*\)")


def expected(case):
    """The status over HTTP: what cannot be a credential at all (RFC 6750, section 2.1) is a bad request."""
    if case.accept:
        return 200
    return 401 if re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", case.token) else 400


def is_one_value(case):
    """Whether HTTP leaves the token as it is: spaces around a field's value are not its own (RFC 9110, section 5.5)."""
    return case.token == case.token.strip(" \t")


class Service:
    """One application behind the middleware, and all that could be seen of it from outside."""

    def __init__(self, way, seed, family):
        self.way = way
        self.shown = set()
        face = AuthCache if way == "wsgi" else AsyncAuthCache
        self.face = face(
            MemoryStore(),
            load_user=lambda user_id: {"id": user_id},
            observers=[lambda event: self.shown.add(repr(event))],
            clock=ManualClock(wall=NOW),
            **options(seed, family),
        )
        module = wsgi if way == "wsgi" else asgi
        app = self.wsgi_app if way == "wsgi" else self.asgi_app
        self.middleware = module.AuthCacheMiddleware(app, auth=self.face, tokens_in=PLACES if way == "cookie" else None)

    async def asgi_app(self, scope, receive, send):
        self.shown.add(re.sub(r"<Claims: [\w, ]+>", "<Claims>", repr((scope["user"], scope["auth"]))))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"in"})

    def wsgi_app(self, environ, start_response):
        user, auth = environ["authcache.user"], environ["authcache.auth"]
        self.shown.add(re.sub(r"<Claims: [\w, ]+>", "<Claims>", repr((user, auth))))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"in"]

    async def send(self, token):
        # As it would travel: octets, which servers hand on as Latin-1.
        octets = token.encode("utf-8", "surrogatepass").decode("latin-1")
        header = ("Cookie", f"token={octets}") if self.way == "cookie" else ("Authorization", f"Bearer {octets}")
        asked = Ask(headers=(header,))
        if self.way == "wsgi":
            reply = over_wsgi(self.middleware, asked, validated=False)
        else:
            reply = await over_asgi(self.middleware, asked)
        return reply.status, sorted((name.lower(), value) for name, value in reply.headers), reply.body


async def judged_wrongly(service, sent):
    wrong = []
    for case in sent:
        # twice those that are let in: the second time the token is remembered
        for _ in range(2 if case.accept else 1):
            got = await service.send(case.token)
            if got != ANSWERS[expected(case)]:
                wrong.append(f"{case}: {got[0]}, not {expected(case)}")
    await service.face.aclose() if service.way != "wsgi" else service.face.close()
    return wrong


@pytest.mark.parametrize("way", WAYS)
def test_every_forgery_is_answered_alike_and_shows_nothing(way, caplog, capsys):
    seed = seed_of_this_run()
    print(f"AUTHCACHE_SEED={seed}")
    caplog.set_level(logging.DEBUG)
    sent = [case for case in cases(seed) if is_one_value(case)]
    if way == "cookie":  # in which a semicolon ends a value, so that another token would be sent
        sent = [case for case in sent if ";" not in case.token]
    assert len(sent) >= 1500
    services = {family: Service(way, seed, family) for family in ALGORITHMS}

    async def all_of_them():
        return [
            line
            for family, service in services.items()
            for line in await judged_wrongly(service, [case for case in sent if case.family == family])
        ]

    wrong = asyncio.run(all_of_them())
    assert not wrong, f"AUTHCACHE_SEED={seed}: " + "; ".join(wrong[:20])

    assert [record for record in caplog.records if record.name != "asyncio"] == []
    assert capsys.readouterr().err == ""
    shown = set.union(*(service.shown for service in services.values()))
    identities = {line for line in shown if line.startswith("(")}
    assert identities == {"(<User with id>, <Credentials: <Claims>>)"}
    assert [line for line in shown - identities if not EVENT.fullmatch(line)] == []
    for family, service in services.items():
        name = type(service.face).__name__
        assert repr(service.face) == f"<{name}: <TokenVerifier: <KeySet: 2 for {family}>>, keys user:…>"
        assert repr(service.middleware) == object.__repr__(service.middleware)
        assert EVENT.fullmatch(repr(service.face.stats()))


def test_the_corpus_over_http_has_all_three_kinds():
    statuses = [expected(case) for case in cases(seed_of_this_run()) if is_one_value(case)]
    assert {status: statuses.count(status) > 90 for status in (200, 400, 401)} == {200: True, 400: True, 401: True}
