"""What a request says, read off ASGI and WSGI; and the token taken out of the application's sight."""

import pytest
from conformance.drivers import Ask, http_scope, wsgi_environ

from authcache_middleware import TokenPlaces
from authcache_middleware.bearer.places import Sent
from authcache_middleware.bearer.sent import answered_subprotocol, asgi_sent, conceal, wsgi_sent

PLACES = TokenPlaces(cookie=True, csrf_cookie=True, csrf_header="X-Own", subprotocol=True, query=True)
FIELDS = (
    ("Authorization", "Bearer é"),
    ("Cookie", "a=1"),
    ("Origin", "https://x"),
    ("X-OWN", "s"),
    ("X-Csrf-Token", "t"),
)


def test_asgi_fields_in_any_case_and_as_often_as_they_came():
    scope = http_scope(Ask("PUT", headers=FIELDS, extra={"query_string": b"a=%61"}))
    assert asgi_sent(scope, PLACES) == Sent("PUT", ["Bearer é"], ["a=1"], ["https://x"], ["s"], [], "a=%61")
    scope["headers"] = [(b"COOKIE", b"a=1"), (b"cookie", b"b=2"), (b"Origin", b"x"), (b"origin", b"y")]
    assert asgi_sent(scope, PLACES) == Sent("PUT", [], ["a=1", "b=2"], ["x", "y"], [], [], "a=%61")


def test_a_websocket_has_no_method():
    scope = {"type": "websocket", "headers": [], "subprotocols": ("bearer", "t")}
    assert asgi_sent(scope, PLACES) == Sent(None, [], [], [], [], ["bearer", "t"], "")


def test_wsgi_fields():
    environ = wsgi_environ(Ask("PUT", headers=FIELDS))
    assert wsgi_sent(environ, PLACES) == Sent("PUT", ["Bearer é"], ["a=1"], ["https://x"], ["s"], [], "")
    assert wsgi_sent(wsgi_environ(Ask()), PLACES) == Sent("GET", [], [], [], [], [], "")


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (["bearer", "t"], ["bearer"]),
        (["chat", "bearer", "t", "chat2"], ["chat", "bearer", "chat2"]),
        (["bearer", "t", "bearer", "u"], ["bearer", "bearer"]),
        (["bearer", "bearer", "t"], ["bearer"]),
        (["chat", "bearer"], ["chat", "bearer"]),
        (["t", "chat"], ["t", "chat"]),
        ([], []),
    ],
)
def test_no_token_is_left_among_the_subprotocols(offered, left):
    scope = {"subprotocols": offered, "query_string": b""}
    conceal(scope, PLACES)
    assert scope["subprotocols"] == left


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"access_token=t", b""),
        (b"a=1&access_token=t&b=%2f", b"a=1&b=%2f"),
        (b"access_token=t&access%5ftoken=u&a", b"a"),
        (b"a=1&&b", b"a=1&&b"),
        (b"", b""),
        (b"\xff=1", b"\xff=1"),
    ],
)
def test_no_token_is_left_in_the_query(query, left):
    scope = {"subprotocols": [], "query_string": query}
    conceal(scope, PLACES)
    assert scope["query_string"] == left


def test_places_that_are_off_are_left_alone():
    scope = {"subprotocols": ["bearer", "t"], "query_string": b"access_token=t"}
    conceal(scope, TokenPlaces())
    assert scope == {"subprotocols": ["bearer", "t"], "query_string": b"access_token=t"}


@pytest.mark.parametrize(
    ("chosen", "offered", "answered"),
    [
        (None, ["bearer"], "bearer"),
        (None, ["chat", "bearer"], "bearer"),
        ("chat", ["chat", "bearer"], "chat"),
        ("bearer", ["chat", "bearer"], "bearer"),
        ("t", ["chat", "bearer"], "bearer"),
        (None, ["chat"], None),
        ("x", ["chat"], "x"),
        (None, [], None),
    ],
)
def test_the_answer_is_the_applications_choice_or_the_marker_and_never_the_token(chosen, offered, answered):
    assert answered_subprotocol(chosen, offered, PLACES) == answered
