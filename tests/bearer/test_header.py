import sys
import time

import pytest

from authcache_middleware.bearer.header import bearer_token
from authcache_middleware.errors import InvalidRequestError, MissingTokenError

TOKEN = "eyJh.eyJz-_.c2ln"


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATIOn"])
@pytest.mark.parametrize("as_bytes", [False, True], ids=["str", "bytes"])
def test_finds_the_header_in_any_case_as_str_or_bytes(name, as_bytes):
    header = (name.encode(), f"Bearer {TOKEN}".encode()) if as_bytes else (name, f"Bearer {TOKEN}")
    others = [(b"host", b"x"), ("x-authorizati", "Bearer other"), (b"accept", b"*/*")]
    assert bearer_token([*others, header, *others]) == TOKEN


@pytest.mark.parametrize(
    ("field", "token"),
    [
        (f"bearer {TOKEN}", TOKEN),
        (f"BEARER {TOKEN}", TOKEN),
        (f"Bearer     {TOKEN}", TOKEN),
        (f" \tBearer {TOKEN}\t  ", TOKEN),
        ("Bearer AZaz09-._~+/", "AZaz09-._~+/"),
        ("Bearer abc==", "abc=="),
    ],
)
def test_reads_every_form_the_grammar_allows(field, token):
    assert bearer_token([("authorization", field)]) == token


@pytest.mark.parametrize(
    "field",
    [
        "Bearer",
        "bearer ",
        f"Bearer\t{TOKEN}",
        f"Bearer \t{TOKEN}",
        f"Bearer {TOKEN},",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Bearer {TOKEN},Basic dTpw",
        f"Basic dTpw, Bearer {TOKEN}",
        f"Basic dTpw,bearer {TOKEN}",
        f", Bearer {TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN}\n",
        f"Bearer {TOKEN}\x00",
        f"Bearer: {TOKEN}",
        f'Bearer "{TOKEN}"',
        f"Bearer,{TOKEN}",
        "Bearer ==",
        "Bearer a=b",
        "Bearer ab\u00e9",
        "B\u00e9arer ab",
        "\u00e9",
        "Bearer a%20b",
        "Bearer a\u017fb",
        "Bearer \u212aey",
    ],
)
def test_refuses_what_the_grammar_does_not_allow(field):
    with pytest.raises(InvalidRequestError) as refused:
        bearer_token([("authorization", field)])
    assert refused.value.reason == "malformed"


def test_refuses_bytes_that_are_no_ascii():
    with pytest.raises(InvalidRequestError):
        bearer_token([(b"authorization", b"Bearer \xff\xfe")])


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", f"Bearer {TOKEN}"), (b"Authorization", f"Bearer {TOKEN}".encode())],
        [("Authorization", "Basic dTpw"), ("authorization", f"Bearer {TOKEN}")],
        [("authorization", ""), ("authorization", f"Bearer {TOKEN}")],
    ],
    ids=["same", "two schemes", "empty first"],
)
def test_refuses_the_header_twice(headers):
    with pytest.raises(InvalidRequestError) as refused:
        bearer_token(headers)
    assert refused.value.reason == "duplicate"


@pytest.mark.parametrize("headers", [[], [("host", "x")], [("proxy-authorization", f"Bearer {TOKEN}")]])
def test_no_header_is_no_credentials(headers):
    with pytest.raises(MissingTokenError) as missing:
        bearer_token(headers)
    assert missing.value.absent


@pytest.mark.parametrize(
    "field", ["", "  \t", "Basic dTpw", "Basic", f"Bearer{TOKEN}", 'Digest username="x, bearerish"', "Basic \u00e9"]
)
def test_another_scheme_is_not_the_same_as_no_credentials(field):
    with pytest.raises(MissingTokenError) as missing:
        bearer_token([("authorization", field)])
    assert not missing.value.absent


@pytest.mark.parametrize("filling", ["a", "=", " ", ",", "a=", ", bearer", "\t", "Bearer "])
def test_a_hostile_value_costs_one_pass(filling):
    field = "Bearer " + filling * (1_000_000 // len(filling)) + "!"
    started = time.process_time()
    with pytest.raises(InvalidRequestError):
        bearer_token([("authorization", field)])
    assert time.process_time() - started < (2.0 if sys.gettrace() else 0.5)
