"""Tokens in cookies, subprotocols and queries: which of them count, and when a cookie does not."""

import pytest

from authcache_middleware import ConfigurationError, InvalidRequestError, TokenPlaces
from authcache_middleware.bearer.places import Sent

OURS, THEIRS = "https://app.example", "https://evil.example"
COOKIE = "__Host-access_token"


def sent(method="GET", *, authorization=(), cookie=(), origin=(), csrf=(), subprotocols=(), query=""):
    return Sent(method, *map(list, (authorization, cookie, origin, csrf, subprotocols)), query)


def found(places, request):
    """The credentials found, or the reason for which nothing is read; the same when it is asked twice."""
    headers = places.credentials(request)
    try:
        read = list(headers)
    except InvalidRequestError as refused:
        with pytest.raises(InvalidRequestError):
            list(headers)
        return refused.reason
    assert all(name == "Authorization" for name, _ in read)
    assert list(headers) == read
    return [credentials for _, credentials in read]


EVERYWHERE = TokenPlaces(cookie=True, origins=[OURS], subprotocol=True, query=True)
BY_COOKIE = TokenPlaces(cookie=True, origins=[OURS])
SUBMITTED = TokenPlaces(cookie=True, csrf_cookie=True)
BOTH = TokenPlaces(cookie=True, origins=[OURS], csrf_cookie="csrf")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (sent(), []),
        (sent(authorization=["Bearer a"]), ["Bearer a"]),
        (sent(authorization=["Basic a"]), ["Basic a"]),
        (sent(authorization=["Bearer a", "Bearer a"]), ["Bearer a", "Bearer a"]),
        (sent(cookie=[f"{COOKIE}=a"]), ["Bearer a"]),
        (sent(cookie=[f"x=1; {COOKIE}=a;y=2"]), ["Bearer a"]),
        (sent(cookie=["x=1", f"{COOKIE}=a.b-c_=="]), ["Bearer a.b-c_=="]),
        (sent(cookie=[f"{COOKIE}=a; {COOKIE}=b"]), ["Bearer a", "Bearer b"]),
        (sent(cookie=[f"{COOKIE}=a", f"{COOKIE}=a"]), ["Bearer a", "Bearer a"]),
        (sent(cookie=[f"{COOKIE}=a"], authorization=["Bearer a"]), ["Bearer a", "Bearer a"]),
        (sent(cookie=[f"{COOKIE}="], authorization=["Basic a"]), ["Basic a", "Bearer "]),
        (sent(cookie=[f"{COOKIE.lower()}=a; {COOKIE} =b; x{COOKIE}=c; {COOKIE}"]), "malformed"),
        (sent(cookie=[f"{COOKIE.lower()}=a; {COOKIE} =b; x{COOKIE}=c"]), []),
        *((sent(cookie=[f"{COOKIE}={value}"]), "malformed") for value in ("", '"a"', "a b", "a,b", "Bearer a", "é")),
        # subprotocols and query: of WebSockets only
        (sent(subprotocols=["bearer", "a"], query="access_token=a"), []),
        (sent(None, subprotocols=["bearer", "a"]), ["Bearer a"]),
        (sent(None, subprotocols=["chat", "bearer", "a", "chat2"]), ["Bearer a"]),
        (sent(None, subprotocols=["chat", "a"]), []),
        (sent(None, subprotocols=["Bearer", "a"]), []),
        (sent(None, subprotocols=["chat", "bearer"]), "malformed"),
        (sent(None, subprotocols=["bearer", "a!"]), "malformed"),
        (sent(None, subprotocols=["bearer", "a", "bearer", "b"]), ["Bearer a", "Bearer b"]),
        (sent(None, subprotocols=["bearer", "bearer", "b"]), ["Bearer bearer", "Bearer b"]),
        (sent(None, query="x=1&access_token=a"), ["Bearer a"]),
        (sent(None, query="access%5Ftoken=%61"), ["Bearer a"]),
        (sent(None, query="access_token=a&access_token=a"), ["Bearer a", "Bearer a"]),
        (sent(None, query="access_token"), "malformed"),
        (sent(None, query="access_token=+a"), "malformed"),
        (sent(None, query="access_token=%C3%A9"), "malformed"),
        (sent(None, query="Access_Token=a&xaccess_token=a&access_token[]=a"), []),
        (sent(None, query="access_token=a", authorization=["Bearer b"]), ["Bearer b", "Bearer a"]),
        (sent(None, query="access_token=a", subprotocols=["bearer", "b"]), ["Bearer b", "Bearer a"]),
        (sent(None, query="access_token=a", cookie=[f"{COOKIE}=b"], origin=[OURS]), ["Bearer b", "Bearer a"]),
    ],
)
def test_every_place_is_looked_into(request_, expected):
    assert found(EVERYWHERE, request_) == expected


@pytest.mark.parametrize("name", ["cookie", "subprotocol", "query"])
def test_places_that_are_off_are_not(name):
    names = {
        "cookie": {"cookie": True, "origins": [OURS]},
        "subprotocol": {"subprotocol": True},
        "query": {"query": True},
    }
    del names[name]
    places = TokenPlaces(**{option: value for options in names.values() for option, value in options.items()})
    off = {
        "cookie": {"cookie": [f"{COOKIE}=a"]},
        "subprotocol": {"subprotocols": ["bearer", "a"]},
        "query": {"query": "access_token=a"},
    }
    assert found(places, sent(None, origin=[OURS], **off[name])) == []


def test_the_header_may_be_off():
    places = TokenPlaces(header=False, cookie="token", origins=[OURS])
    assert found(places, sent(authorization=["Bearer a"])) == []
    assert found(places, sent(authorization=["Bearer a"], cookie=["token=b"])) == ["Bearer b"]


# Cookies that another site may have sent

UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "get", "PROPFIND", "")


@pytest.mark.parametrize("places", [BY_COOKIE, SUBMITTED, BOTH])
@pytest.mark.parametrize("origin", [[], [OURS], [THEIRS]])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_are_anyones(places, origin, method):
    assert found(places, sent(method, cookie=[f"{COOKIE}=a"], origin=origin)) == ["Bearer a"]


@pytest.mark.parametrize("method", [*UNSAFE, None])
@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ([OURS], True),
        ([], False),
        ([THEIRS], False),
        (["null"], False),
        ([""], False),
        ([OURS, OURS], False),
        ([f"{OURS}, {OURS}"], False),
        ([OURS + "/"], False),
        ([OURS + ":443"], False),
        ([OURS.upper()], False),
        (["http://app.example"], False),
        ([OURS + ".evil.example"], False),
        (["https://evil-app.example"], False),
    ],
)
def test_unsafe_methods_and_websockets_must_come_from_our_pages(method, origin, ours):
    request = sent(method, cookie=[f"{COOKIE}=a"], origin=origin)
    assert found(BY_COOKIE, request) == (["Bearer a"] if ours else "origin")
    # a token that no browser adds by itself needs no origin
    assert found(BY_COOKIE, sent(method, authorization=["Bearer a"], origin=origin)) == ["Bearer a"]


CSRF = "__Host-csrf_token"


@pytest.mark.parametrize(
    ("cookie", "csrf", "ours"),
    [
        ([f"{CSRF}=s"], ["s"], True),
        ([f"x=1; {CSRF}=s=="], ["s=="], True),
        ([f"{CSRF}=é"], ["é"], True),
        ([f"{CSRF}=s"], [], False),
        ([], ["s"], False),
        ([f"{CSRF}=s"], ["S"], False),
        ([f"{CSRF}=s"], ["s", "s"], False),
        ([f"{CSRF}=s; {CSRF}=s"], ["s"], False),
        ([f"{CSRF}="], [""], False),
        ([CSRF], [""], False),
        ([], [""], False),
        ([], [], False),
    ],
)
@pytest.mark.parametrize("origin", [[], [THEIRS]])
def test_or_submit_the_cookie_twice(cookie, csrf, ours, origin):
    request = sent("POST", cookie=[f"{COOKIE}=a", *cookie], csrf=csrf, origin=origin)
    assert found(SUBMITTED, request) == (["Bearer a"] if ours else "origin")


@pytest.mark.parametrize(
    ("method", "origin", "expected"),
    [
        ("POST", [], ["Bearer a"]),
        ("POST", [OURS], ["Bearer a"]),
        ("POST", [THEIRS], "origin"),
        (None, [OURS], ["Bearer a"]),
        (None, [], "origin"),
    ],
)
def test_an_origin_that_is_known_decides(method, origin, expected):
    request = sent(method, cookie=[f"{COOKIE}=a; csrf=s"], csrf=["s"], origin=origin)
    assert found(BOTH, request) == expected


def test_a_websocket_is_not_opened_by_submitting_twice():
    assert found(SUBMITTED, sent(None, cookie=[f"{COOKIE}=a; {CSRF}=s"], csrf=["s"], origin=[OURS])) == "origin"


# Options


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("header", {"header": 1}),
        ("header", {"header": False}),
        *((name, {name: value}) for name in ("cookie", "subprotocol", "query") for value in ("", "a b", "a;", 1, None)),
        ("query", {"query": "a&b"}),
        ("cookie", {"cookie": True}),
        ("cookie", {"cookie": True, "origins": []}),
        ("origins", {"origins": [OURS]}),
        ("csrf_cookie", {"csrf_cookie": True}),
        ("csrf_cookie", {"cookie": "a", "csrf_cookie": "a"}),
        *(
            ("csrf_header", {"cookie": "a", "csrf_cookie": "b", "csrf_header": name})
            for name in ("", "a b", 1, "ORIGIN")
        ),
        *(
            ("origins", {"cookie": True, "origins": origins})
            for origins in (
                *(OURS, None, 1, [1], ["*"], ["null"], ["app.example"], ["https://"], [OURS + "/"], [OURS.upper()]),
                *(["https://*.app.example"], [OURS + ":443"], ["http://app.example:80"], [OURS + "?x"], ["https://u@h"]),
            )
        ),
    ],
)  # fmt: skip
def test_refuses_what_cannot_work(argument, options):
    with pytest.raises(ConfigurationError) as wrong:
        TokenPlaces(**options)
    assert wrong.value.argument == argument


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://[::1]:8443", "capacitor://localhost", "https://a.b:80"]
)
def test_takes_every_origin_that_a_browser_sends(origin):
    places = TokenPlaces(cookie=True, origins=(origin,))
    assert found(places, sent("POST", cookie=[f"{COOKIE}=a"], origin=[origin])) == ["Bearer a"]


def test_true_is_the_usual_name():
    places = TokenPlaces(cookie=True, csrf_cookie=True, subprotocol=True, query=True)
    names = places.cookie, places.csrf_cookie, places.subprotocol, places.query
    assert names == (COOKIE, CSRF, "bearer", "access_token")
    assert not places.is_header_alone
    assert TokenPlaces().is_header_alone
