import json
import logging

import pytest

from authcache_middleware.bearer.answers import Answers, Refusal
from authcache_middleware.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    UnavailableError,
)

SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    ("error", "status", "code", "challenge"),
    [
        (MissingTokenError(), 401, "unauthorized", 'Bearer realm="api"'),
        (MissingTokenError(absent=False), 401, "unauthorized", 'Bearer realm="api"'),
        (InvalidRequestError("x"), 400, "invalid_request", 'Bearer realm="api", error="invalid_request"'),
        (InvalidTokenError("x"), 401, "invalid_token", 'Bearer realm="api", error="invalid_token"'),
        (
            InsufficientScopeError("a", "b:c"),
            403,
            "insufficient_scope",
            'Bearer realm="api", error="insufficient_scope", scope="a b:c"',
        ),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_refusal_is_answered_with_a_challenge(error, status, code, challenge):
    answer = Answers().of(error)
    headers = dict(answer.headers)
    assert answer.status == status
    assert headers["WWW-Authenticate"] == challenge
    assert json.loads(answer.body) == {"error": code}
    assert "Retry-After" not in headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Length"] == str(len(answer.body))


def test_an_outage_says_when_to_try_again_and_challenges_nobody():
    answer = Answers().of(UnavailableError("redis", retry_after=7))
    headers = dict(answer.headers)
    assert answer.status == 503
    assert headers["Retry-After"] == "7"
    assert "WWW-Authenticate" not in headers
    assert json.loads(answer.body) == {"error": "temporarily_unavailable"}


def test_the_reasons_look_the_same():
    answers = {Answers().of(InvalidTokenError(reason)) for reason in ("unknown", "disabled", "revoked", "expired")}
    assert len(answers) == 1


def test_a_fault_of_ours_is_an_outage_and_logged_without_its_message(caplog):
    try:
        raise KeyError(SECRET)
    except KeyError as fault:
        answer = Answers().of(fault)
    assert answer.status == 503
    assert dict(answer.headers)["Retry-After"] == "1"
    assert "KeyError in test_a_fault_of_ours" in caplog.text
    assert SECRET not in caplog.text


def test_the_realm_is_said():
    assert dict(Answers(realm="orders (eu)").of(MissingTokenError()).headers)["WWW-Authenticate"] == (
        'Bearer realm="orders (eu)"'
    )


@pytest.mark.parametrize("realm", ["", 'a"b', "a\\b", "a\nb", "\u00e9", None, b"api"])
def test_refuses_a_realm_that_would_need_quoting(realm):
    with pytest.raises(ConfigurationError, match="realm: "):
        Answers(realm=realm)


def test_refuses_a_hook_that_cannot_be_called():
    with pytest.raises(ConfigurationError, match="refusal_body: "):
        Answers(refusal_body="text/plain")


def test_the_hook_shapes_the_body_and_sees_what_the_client_may_know():
    seen = []

    def problem(refusal):
        seen.append(refusal)
        return "application/problem+json", b'{"title": "no"}'

    answers = Answers(refusal_body=problem)
    answer = answers.of(InsufficientScopeError("a"))
    answers.of(UnavailableError("redis", retry_after=3))
    answers.of(InvalidTokenError("revoked"))
    assert dict(answer.headers)["Content-Type"] == "application/problem+json"
    assert dict(answer.headers)["Content-Length"] == "15"
    assert answer.body == b'{"title": "no"}'
    assert seen == [
        Refusal(403, "insufficient_scope", ("a",), None),
        Refusal(503, "temporarily_unavailable", (), 3),
        Refusal(401, "invalid_token", (), None),
    ]


def raising(refusal):
    raise ValueError(SECRET)


@pytest.mark.parametrize(
    "hook",
    [
        raising,
        lambda refusal: None,
        lambda refusal: b"body",
        lambda refusal: ("text/plain", SECRET),
        lambda refusal: (b"text/plain", b"body"),
        lambda refusal: ("text/plain\r\nX-Evil: 1", b"body"),
        lambda refusal: ("", b"body"),
    ],
    ids=["raises", "None", "bytes", "text body", "bytes type", "header injection", "no type"],
)
def test_a_failing_hook_costs_its_own_body_only_and_is_logged_once(hook, caplog):
    answers = Answers(refusal_body=hook)
    first, second = answers.of(InvalidTokenError("x")), answers.of(InvalidTokenError("x"))
    assert first == second == Answers().of(InvalidTokenError("x"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert SECRET not in caplog.text
