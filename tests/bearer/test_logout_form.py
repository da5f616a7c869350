"""The form of a logout token, and what a provider is answered."""

from __future__ import annotations

import json
import logging

import pytest

from authcache_middleware.bearer.logout_form import LOGOUT_DONE, NOT_POST, logout_answer, logout_token_of
from authcache_middleware.errors import InvalidRequestError, InvalidTokenError, UnavailableError

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("content_type", [FORM, FORM.upper(), f"{FORM}; charset=utf-8", f" {FORM} ;x"])
@pytest.mark.parametrize("body", [b"logout_token=a.b.c", b"state=x&logout_token=a.b.c&state=y&z="])
def test_the_token_of_a_form(content_type, body) -> None:
    assert logout_token_of(content_type, body) == "a.b.c"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"logout_token=a"),
        ("application/json", b"logout_token=a"),
        (f"{FORM}x", b"logout_token=a"),
        (FORM, b""),
        (FORM, b"logout_token"),
        (FORM, b"token=a"),
        (FORM, b"Logout_Token=a"),
        (FORM, b"logout_token=a&logout_token=a"),
        (FORM, b"logout_token=a&logout_token="),
        (FORM, b"logout_token=\xc3\xa9"),
        (FORM, b"&".join([b"a=b"] * 40 + [b"logout_token=a"])),
    ],
)
def test_what_is_no_such_form(content_type, body) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        logout_token_of(content_type, body)
    assert refused.value.__context__ is None


def test_what_a_provider_is_answered(caplog) -> None:
    caplog.set_level(logging.INFO)
    assert (LOGOUT_DONE.status, dict(LOGOUT_DONE.headers)["Cache-Control"], LOGOUT_DONE.body) == (
        200,
        "no-store",
        b"{}",
    )
    assert dict(NOT_POST.headers)["Allow"] == "POST"
    for error, status, told, level in (
        (InvalidTokenError("audience"), 400, "invalid_request", "INFO"),
        (InvalidRequestError("form"), 400, "invalid_request", "INFO"),
        (UnavailableError("redis", retry_after=7), 503, "temporarily_unavailable", None),
        (ZeroDivisionError("user-42"), 503, "temporarily_unavailable", "ERROR"),
    ):
        caplog.clear()
        answer = logout_answer(error)
        fields = dict(answer.headers)
        assert (answer.status, json.loads(answer.body)) == (status, {"error": told})
        assert fields["Cache-Control"] == "no-store"
        assert fields["Content-Length"] == str(len(answer.body))
        assert fields.get("Retry-After") == (None if status == 400 else "7" if level is None else "1")
        assert [record.levelname for record in caplog.records] == ([] if level is None else [level])
        assert "user-42" not in caplog.text
