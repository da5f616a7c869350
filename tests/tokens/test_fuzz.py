"""Anything at all for a header, a token, a document or an answer: refused in the words that are documented, and soon.

A slow case is measured three more times, and the least counts: how long a thread was kept off the processor says
nothing of the package.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from forgeries import seed_of_this_run
from hypothesis import strategies as st
from provider import trusting

from authcache_middleware import Introspection, InvalidTokenError
from authcache_middleware.bearer.header import bearer_token
from authcache_middleware.errors import RefusedError
from authcache_middleware.tokens.answers import read_answer
from authcache_middleware.tokens.jwk_set import UnusableAnswerError, read_jwk_set
from authcache_middleware.tokens.keys import allowed_algorithms
from authcache_middleware.tokens.router import TokenRouter
from authcache_middleware.tokens.sealed import Answer, AnswerSeal
from authcache_middleware.tokens.strict import is_opaque, parse_object, split_token
from authcache_middleware.tokens.verifier import TokenVerifier

SECRET = b"a development secret of more than thirty-two bytes"
NOW = 1_700_000_000
ISSUERS = ("https://id.example", "https://shop.example")
EXAMPLES = 50_000  # of each of the four below

VERIFIERS = {
    name: TokenVerifier(keys=SECRET, algorithms=["HS256"], issuer=name, audience="orders", roles_claim="realm.roles")
    for name in ISSUERS
}
ROUTER = TokenRouter(VERIFIERS)
TERMS = Introspection(
    "https://id.example/introspect", client_id="a", client_secret="b", ssl_context=trusting(), require_audience=False
)
SEAL = AnswerSeal(SECRET, "a")
ALLOWED = allowed_algorithms(["ES256", "ES384"])

odd = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, NOW, NOW + 60, NOW + 60.5, 1e308, 10**400, "", "orders", "1", *ISSUERS, [], {}]
    ),
    st.text(max_size=12),
    st.floats(),
    st.lists(st.sampled_from(["orders", "1", 1, None, {}]), max_size=3),
    st.dictionaries(st.sampled_from(["roles", "jkt", ""]), st.sampled_from(["a", ["a"], [1], {}]), max_size=2),
)
GOOD = {"iss": ISSUERS[0], "aud": "orders", "sub": "1", "iat": NOW, "exp": NOW + 60, "jti": "a"}
NAMES = (*GOOD, "nbf", "sid", "scope", "scp", "realm", "cnf", "events", "nonce", "client_id")
members = st.dictionaries(st.sampled_from(NAMES), odd, max_size=4).map(lambda changed: {**GOOD, **changed})
octets = st.binary(max_size=60)


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


def edited(pair: tuple[bytes, list[tuple[int, int]]]) -> bytes:
    """A document in which some octets are others."""
    text = bytearray(pair[0])
    for at, octet in pair[1]:
        text[at % len(text)] = octet
    return bytes(text)


edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)
documents = st.one_of(
    octets,
    st.tuples(members.map(lambda said: json.dumps(said).encode(errors="surrogatepass")), edits).map(edited),
    st.integers(0, 3000).map(nested),
    st.sampled_from([b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\\ud800"}']),
    st.integers(1, 5000).map(lambda count: b'{"exp":' + b"9" * count + b"}"),
)


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def signed(parts: tuple[bytes, bytes]) -> str:
    text = f"{segment(parts[0])}.{segment(parts[1])}"
    return f"{text}.{segment(hmac.digest(SECRET, text.encode(), hashlib.sha256))}"


headers = st.one_of(
    st.just(b'{"alg":"HS256","typ":"JWT"}'),
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "jku", "b64"]), odd, max_size=4).map(
        lambda said: json.dumps({"alg": "HS256", **said}).encode(errors="surrogatepass")
    ),
    documents,
)
characters = st.text(alphabet="ABCXYZabcxyz0189-_.+/=~ \t\n\x00\xe4\u0663", max_size=60)
tokens = st.one_of(
    st.tuples(headers, documents).map(signed),
    st.tuples(headers, documents, octets).map(lambda parts: ".".join(map(segment, parts))),
    characters,
    st.integers(1, 9000).map(lambda count: "A" * count),
    st.integers(1, 4000).map(lambda count: "e30." * count),
)
fields = st.one_of(
    octets,
    characters.map(lambda text: f"Bearer {text}"),
    st.integers(1, 9000).map(lambda count: "Bearer" + " " * count),
    st.integers(1, 9000).map(lambda count: b"Bearer " + b"a=" * count),
    st.integers(1, 9000).map(lambda count: "bearer,bearer " * count),
)
pairs = st.lists(
    st.tuples(st.sampled_from(["Authorization", b"authorization", "AUTHORIZATION", b"Host", "Cookie"]), fields),
    max_size=3,
)


def refusal(read: Callable[..., Any], *arguments: Any) -> Exception | None:
    """With which of the documented errors it refuses, to which nothing is attached; ``None`` where it does not."""
    try:
        read(*arguments)
    except (RefusedError, UnusableAnswerError) as refused:
        return refused if refused.__context__ is refused.__cause__ is None else AssertionError("it says too much")
    return None


def read_headers(given: list[tuple[str | bytes, str | bytes]]) -> None:
    refused = refusal(bearer_token, given)
    assert refused is None or str(refused) in {"no credentials", "scheme", "duplicate", "malformed"}


def read_token(token: str) -> None:
    """What a verifier takes is not shown to anybody, nor is what could be a JWT that is broken."""
    verifiers = [verifier.verify for verifier in VERIFIERS.values()]
    refused = [refusal(verify, token, NOW) for verify in (*verifiers, _routed)]
    assert {type(each) for each in refused} <= {type(None), InvalidTokenError}
    if is_opaque(token):
        assert None not in refused
    else:
        split = refusal(split_token, token)
        assert split is None or str(split) == "oversized" or "." in token


def _routed(token: str, now: float) -> Any:
    return ROUTER.pick(token).verify(token, now)


def read_documents(text: bytes) -> None:
    refused = refusal(parse_object, text, "claims")
    assert refused is None or str(refused) == "claims"
    assert isinstance(refusal(read_jwk_set, text, ALLOWED), UnusableAnswerError), "it has no keys"
    assert SEAL.open(SEAL.name("a"), text) is None


def read_answers(text: bytes) -> None:
    for whole in (text, b'{"active":true,' + text[1:]):
        try:
            said = read_answer(Answer(whole, NOW), "token", VERIFIERS[ISSUERS[0]], TERMS)
        except (InvalidTokenError, UnusableAnswerError):
            continue
        assert json.loads(whole)["active"] is True
        assert said.until <= min(NOW + TERMS.cache_ttl, said.claims.expires_at)
        assert said.claims.subject


FUZZED: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "headers": (pairs, read_headers),
    "tokens": (tokens, read_token),
    "documents": (documents, read_documents),
    "answers": (documents, read_answers),
}


def size(example: Any) -> int:
    return len(example) if isinstance(example, str | bytes) else sum(len(part) for pair in example for part in pair)


def measured(check: Callable[[Any], None], example: Any) -> float:
    began = time.thread_time()
    check(example)
    return time.thread_time() - began


def fuzz(name: str, examples: int) -> None:
    strategy, check = FUZZED[name]
    seed, seen, slowest = seed_of_this_run(), 0, 0.0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(strategy)
    def run(example: Any) -> None:
        nonlocal seen, slowest
        seen += 1
        spent, most = measured(check, example), 0.004 + 2e-6 * size(example)
        if spent > most:
            spent = min(measured(check, example) for _ in range(3))
        slowest = max(slowest, spent)
        assert spent <= most, "its cost is not linear in its bytes"

    run()
    print(f"{name}: {seen} examples, the slowest took {slowest * 1000:.1f} ms; AUTHCACHE_SEED={seed}")
    assert seen >= examples


@pytest.mark.parametrize("name", FUZZED)
def test_anything_is_refused_in_our_words_and_soon(name) -> None:
    fuzz(name, 120)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZED)
def test_two_hundred_thousand_things_are(name) -> None:
    fuzz(name, EXAMPLES)
