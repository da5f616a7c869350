import pytest

from authcache_middleware.bearer.paths import ExemptPaths, asgi_path, wsgi_path
from authcache_middleware.errors import ConfigurationError

PATTERNS = ["/health", "/static/*", "/.well-known/jwks.json", "/\u00fcber", "/a/b", "/docs/"]


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/static/",
        "/static/app.js",
        "/static/a/b.c/d..e",
        "/static/x%y".replace("%", "_"),
        "/static/\u00fc/\u4e2d",
        "/.well-known/jwks.json",
        "/\u00fcber",
        "/a/b",
        "/docs/",
    ],
)
def test_matches(path):
    assert ExemptPaths(PATTERNS).match(path, path.encode())
    assert ExemptPaths(PATTERNS).match(path, None)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/health/",
        "/Health",
        "/health/x",
        "/healthy",
        "//health",
        "/health\x00",
        "/health?x",
        "/x/health",
        "/static",
        "/staticx/app.js",
        "/Static/app.js",
        "//static/app.js",
        "/static//app.js",
        "/static//",
        "/static/../orders",
        "/static/..",
        "/static/.",
        "/static/./x",
        "/static/.git/config",
        "/static/a/.env",
        "/static/a/../../orders",
        "/static/..;/orders",
        "/static/a\\..\\orders",
        "/static/%2e%2e/orders",
        "/static/a%00",
        "/static/a\x00.js",
        "/static/a\nb",
        "/static/a\x7f",
        "/static/a\x85",
        "/static/\ufffd",
        "/static/" + chr(0xDC80),
        "/a",
        "/a/b/c",
        "/docs",
    ],
)
def test_does_not_match(path):
    assert not ExemptPaths(PATTERNS).match(path, None)


@pytest.mark.parametrize("raw", [b"/static/..%2f..%2Forders", b"/static/a%2Fb", b"/static/a%5cb", b"/static/a%5Cb"])
def test_a_prefix_never_matches_an_encoded_slash(raw):
    assert not ExemptPaths(PATTERNS).match("/static/a", raw)


@pytest.mark.parametrize(
    "pattern",
    [
        "health",
        "",
        "*",
        "/*/x",
        "/a*",
        "/a/**",
        "/a/*/*",
        "/a?b",
        "/a#b",
        "/a%20b",
        "/a\\b",
        "//a",
        "/a//b",
        "/a//*",
        "/./a",
        "/a/..",
        "/a/../b",
        "/../*",
        "/a\nb",
        "http://x/a",
        b"/a",
        None,
        7,
    ],
)
def test_refuses_a_pattern_that_says_something_else(pattern):
    with pytest.raises(ConfigurationError, match="exempt: "):
        ExemptPaths([pattern])


@pytest.mark.parametrize("patterns", ["/health", b"/health", None, 7])
def test_refuses_what_is_no_list(patterns):
    with pytest.raises(ConfigurationError, match="exempt: "):
        ExemptPaths(patterns)


def test_no_patterns_are_false():
    assert not ExemptPaths()
    assert not ExemptPaths([])
    assert ExemptPaths(["/a"])
    assert ExemptPaths(["/a/*"])


def test_a_generator_is_read_once():
    exempt = ExemptPaths(pattern for pattern in ["/a", "/b/*"])
    assert exempt.match("/a")
    assert exempt.match("/b/c")


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/health"}, "/health"),
        ({"path": "/health", "root_path": ""}, "/health"),
        ({"path": "/api/health", "root_path": "/api"}, "/health"),
        ({"path": "/api", "root_path": "/api"}, ""),
        ({"path": "/health", "root_path": "/api"}, "/health"),
        ({"path": "/apihealth", "root_path": "/api"}, "/apihealth"),
        ({"path": "/api/api/health", "root_path": "/api"}, "/api/health"),
    ],
)
def test_asgi_path_is_relative_to_root_path(scope, path):
    assert asgi_path(scope) == path


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PATH_INFO": "/health", "SCRIPT_NAME": "/api"}, ("/health", None)),
        ({}, ("", None)),
        ({"PATH_INFO": "/\u00c3\u00bcber"}, ("/\u00fcber", None)),
        ({"PATH_INFO": "/\u00fcber"}, ("", None)),
        ({"PATH_INFO": "/\u4e2d"}, ("", None)),
        ({"PATH_INFO": "/a/b", "RAW_URI": "/a%2fb?c=%2f"}, ("/a/b", b"/a%2fb")),
        ({"PATH_INFO": "/a", "REQUEST_URI": "/a?x=%2f"}, ("/a", b"/a")),
        ({"PATH_INFO": "/a", "REQUEST_URI": "/\u4e2d"}, ("/a", b"/?")),
    ],
)
def test_wsgi_path_is_decoded(environ, expected):
    assert wsgi_path(environ) == expected
