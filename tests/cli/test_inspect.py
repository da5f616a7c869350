"""``authcache inspect``: what it shows, what it never shows, and the line in which it says why."""

from __future__ import annotations

import base64
import json
import random
import time

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from forgeries import cases, seed_of_this_run
from jwt.algorithms import RSAAlgorithm
from provider import Provider, answering

from authcache_middleware.cli.commands import authcache
from authcache_middleware.testing import issue_token

KEY = "only-for-this-test-Mz4kQ9vX2pL7wT5s"
PRIVATE = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
DAY = 86_400


def run(*arguments, said=None, **environment):
    return CliRunner().invoke(
        authcache, ["inspect", *map(str, arguments)], input=said, env={"AUTHCACHE_KEY": None, **environment}
    )


def verdict(shown):
    """The line that begins with a verdict, of which there is one."""
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith(("accepted", "refused", "not verified"))]
    return line


def pem(key, *, private=False):
    if private:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def jwks(tmp_path):
    members = [
        {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}
        for kid, key in (("a", PRIVATE), ("b", OTHER))
    ]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": members}))
    return tmp_path / "jwks.json"


def test_a_good_token_is_shown_but_for_its_signature():
    token = issue_token(KEY, subject="jürgen", issuer="https://a", audience=["x", "y"], scope="read")
    for shown in (
        run(token, "--key", KEY, "--issuer", "https://a", "--audience", "y"),
        run(
            "-",
            "--issuer",
            "https://a",
            "--audience",
            "z",
            "--audience",
            "x",
            said=f" Bearer {token}\r\n",
            AUTHCACHE_KEY=KEY,
        ),
    ):
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert verdict(shown) == "accepted: its signature is good, and nothing speaks against it"
        assert '"sub": "jürgen"' in shown.stdout
        assert '"alg": "HS256"' in shown.stdout
        assert "\nexp: 20" in shown.stdout
        assert token.rpartition(".")[2] not in shown.stdout
        assert "not checked" not in shown.stdout


def test_what_was_not_said_is_not_checked_and_named():
    token = issue_token(KEY, issuer="https://a", audience="x")
    shown = run(token, "--key", KEY, "--issuer", "https://a")
    assert (shown.exit_code, shown.stdout.splitlines()[-1]) == (0, "not checked: audience (--audience)")
    shown = run(token)
    assert (shown.exit_code, verdict(shown).split(":")[0]) == (3, "not verified")
    assert shown.stdout.splitlines()[-1] == "not checked: issuer (--issuer), audience (--audience)"


@pytest.mark.parametrize("private", [False, True])
def test_either_half_of_a_key_will_do(tmp_path, private):
    (tmp_path / "key.pem").write_text(pem(PRIVATE, private=private))
    token = issue_token(PRIVATE, algorithm="PS256")
    assert run(token, "--keys", tmp_path / "key.pem").exit_code == 0
    assert run(token, "--key-file", tmp_path / "key.pem", "--algorithm", "RS256").exit_code == 1
    assert run(issue_token(OTHER, algorithm="RS256"), "--key-file", tmp_path / "key.pem").exit_code == 1


def test_a_published_set_of_keys(jwks):
    assert run(issue_token(OTHER, algorithm="RS256", kid="b"), "--jwks", jwks).exit_code == 0
    shown = run(issue_token(OTHER, algorithm="RS256", kid="c"), "--jwks", jwks)
    assert (shown.exit_code, verdict(shown)) == (1, 'refused: its kid "c" is not known for its alg; known are "a", "b"')
    shown = run(issue_token(OTHER, algorithm="RS256"), "--jwks", jwks)
    assert verdict(shown) == "refused: it names no key (kid), and several keys could be meant"
    shown = run(issue_token(OTHER, algorithm="RS256", kid="a"), "--jwks", jwks)
    assert verdict(shown) == "refused: its signature does not fit: another key, or it was changed"
    shown = run(issue_token(KEY), "--jwks", jwks)
    assert verdict(shown).startswith('refused: its alg is "HS256", which no key that was given serves (keys: ')


def now():
    return int(time.time())


# With a key and without: all but the signature is judged the same.
@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"claims": {"iat": None}}, "it has no iat (require_iat=False would take it)"),
        ({"claims": {"exp": None}}, "it has no exp"),
        ({"claims": {"exp": "soon"}}, 'its exp is "soon", not a number of seconds since 1970'),
        ({"claims": {"exp": 10**30}}, f"its exp is {10**30}, not a number of seconds since 1970"),
        ({"claims": {"iat": True}}, "its iat is true, not a number"),
        ({"claims": {"jti": 5}}, "its jti is 5, not 1 to 255 characters"),
        ({"claims": {"scope": ["a"]}}, 'its scope is ["a"], not words in one text'),
        ({"claims": {"cnf": {}}}, "it is bound to a key of its sender (cnf)"),
        ({"claims": {"events": {}}}, "it is a security event or logout token"),
        ({"subject": None}, "its sub is absent, not 1 to 255 characters"),
        ({"subject": "a\x1b[31m\u202e"}, 'its sub is "a\\u001b[31m\\u202e", not 1 to 255'),
        ({"audience": "other"}, 'its aud is "other", where "x" or "y" is taken'),
        ({"audience": None}, 'its aud is absent, where "x" or "y" is taken'),
        ({"issuer": "https://b"}, 'its iss is "https://b", where "https://a" is taken'),
        ({"lifetime": 90 * DAY}, "it lives for 90 days, 0:00:00, where 30 days, 0:00:00 is the most"),
        ({"lifetime": -3600}, "it has expired: 20"),
        ({"now": time.time() + 3600}, "it was issued after now (iat), at 20"),
        ({"claims": {"nbf": now() + 7200}}, "it is not valid before (nbf) 20"),
        ({"typ": "logout+jwt"}, 'its typ is "logout+jwt", where JWT, at+jwt or none is taken'),
        ({"headers": {"crit": ["x"]}}, "its header is not strict JSON in UTF-8, or names crit"),
        ({"headers": {"alg": "none"}}, 'its alg is "none", where a signature of HS*'),
        ({"headers": {"alg": 5}}, "its alg is 5, where a signature"),
    ],
)  # fmt: skip
def test_one_line_says_why(options, said, keyed):
    token = issue_token(KEY, **{"issuer": "https://a", "audience": "x", **options})
    key = ["--key", KEY] if keyed else []
    shown = run(token, *key, "--issuer", "https://a", "--audience", "x", "--audience", "y")
    assert shown.exit_code == 1
    assert verdict(shown).startswith(f"refused: {said}")
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout


@pytest.mark.parametrize(
    ("options", "arguments", "said"),
    [
        ({}, ["--typ", "at+jwt"], 'refused: its typ is "JWT", where at+jwt is taken'),
        ({"typ": None}, ["--typ", "JWT", "--typ", "at+jwt"], "refused: its typ is absent, where JWT or at+jwt is"),
        ({"typ": None}, ["--typ", "none"], "accepted"),
        ({"typ": "x+jwt"}, ["--typ", "X+JWT"], "accepted"),
        ({}, ["--profile", "rfc9068"], 'refused: its typ is "JWT", where at+jwt is taken'),
        ({"typ": "at+jwt"}, ["--profile", "rfc9068"], "refused: it has no client_id, which RFC 9068 asks for"),
        ({"typ": "at+jwt", "claims": {"client_id": 5}}, ["--profile", "rfc9068"], "refused: its client_id is 5, not"),
        ({"typ": "at+jwt", "claims": {"client_id": "a"}}, ["--profile", "rfc9068"], "accepted"),
        ({"typ": "at+jwt", "issuer": None}, ["--profile", "rfc9068"], "refused: it has no iss, which RFC 9068 asks"),
        ({"typ": "at+jwt", "audience": None}, ["--profile", "rfc9068"], "refused: it has no aud, which RFC 9068 asks"),
    ],
)  # fmt: skip
def test_kinds_of_tokens(options, arguments, said):
    token = issue_token(KEY, **{"issuer": "https://a", "audience": "x", **options})
    assert verdict(run(token, "--key", KEY, *arguments)).startswith(said)


def test_keys_that_a_provider_publishes():
    with Provider(tls=False) as provider:
        provider.rotate("one", "two")
        token = provider.token("two")
        assert verdict(run(token, "--jwks", provider.url)).startswith("accepted")
        assert provider.fetches == 1
        assert verdict(run(provider.token("three"), "--jwks", provider.url)).startswith('refused: its kid "three" is')
        for answer, said in (
            (answering(status=500), "Error: --jwks could not be fetched: status 500"),
            (answering(status=302, Location=provider.url), "Error: --jwks could not be fetched: status 302"),
            (answering(b"<html>"), "--jwks cannot be read"),
        ):
            provider.answer = answer
            shown = run(token, "--jwks", provider.url)
            assert (shown.exit_code in {1, 2}, said in shown.stderr) == (True, True)
    shown = run(token, "--jwks", provider.url)
    assert (shown.exit_code, shown.stderr) == (1, "Error: --jwks could not be fetched: ConnectError\n")
    assert "must be https" in run(token, "--jwks", "http://id.example/jwks").stderr


def segment(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "it is not three segments"),
        ("opaque-token", "it is opaque, no JWT: taken only where introspection is configured"),
        ("a.b.c=", "it is opaque, no JWT"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.AB", "it is not three segments"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", "it is not three segments"),
        ("é.b.c", "it is not three segments"),
        ("a" * 9000, "it is longer than 8 KiB"),
        (f"{segment(b'[]')}.{segment(b'{}')}.AA", "its header is not strict JSON"),
        (f"{segment(b'{}')}.{segment(b'[1]')}.AA", "its claims are not strict JSON"),
        (f"{segment(b'{}')}.{segment(b'{}')}.AA", "its alg is absent"),
    ],
)
def test_what_is_no_token_is_not_shown(token, said):
    shown = run("-", "--key", KEY, said=token)
    assert shown.exit_code == 1
    assert verdict(shown).startswith(f"refused: {said}")


def test_standard_input_may_be_anything():
    for octets in (b"\xff\xfe", b"\0" * 100, b"a" * (2 << 20)):
        assert run("-", said=octets).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.b.c", "--key", KEY, "--jwks", __file__], "not both"),
        (["a.b.c", "--key", KEY, "--key-file", __file__], "not both"),
        (["a.b.c", "--jwks", __file__], "--jwks cannot be read"),
        (["a.b.c", "--jwks", "/nowhere"], "--jwks"),
        (["a.b.c", "--key", "-----BEGIN PRIVATE KEY-----\nMz4kQ9vX2pL7wT5s"], "the private key cannot be read"),
        (["a.b.c", "--algorithm", "none"], "--algorithm"),
        (["a.b.c", "--leeway", "61"], "--leeway"),
        ([issue_token(KEY), "--key", KEY, "--algorithm", "HS256", "--algorithm", "RS256"], "algorithms: "),
        ([issue_token(KEY), "--key", KEY, "--issuer", ""], "issuer: "),
        ([], "TOKEN"),
    ],
)
def test_nonsense_is_refused(arguments, said):
    refused = run(*arguments)
    assert refused.exit_code in {1, 2}
    assert isinstance(refused.exception, SystemExit)
    assert said in refused.stderr
    assert KEY not in refused.stderr
    assert "Mz4kQ9vX2pL7wT5s" not in refused.stderr


@pytest.mark.parametrize("text", ["[]", "{}", "5", '{"keys": 5}', "[" * 100_000])
def test_a_file_that_holds_no_keys(tmp_path, text):
    (tmp_path / "jwks.json").write_text(text)
    refused = run("a.b.c", "--jwks", tmp_path / "jwks.json")
    assert (refused.exit_code, "--jwks" in refused.stderr) == (2, True)


def test_an_elliptic_key_for_another_family():
    shown = run(issue_token(KEY), "--key", pem(ec.generate_private_key(ec.SECP256R1())))
    assert verdict(shown).startswith('refused: its alg is "HS256", which no key that was given serves')


def test_no_forgery_breaks_it_and_no_signature_is_shown():
    seed = seed_of_this_run()
    print(f"AUTHCACHE_SEED={seed}")
    sendable = [case for case in cases(seed) if "\0" not in case.token]
    for case in random.Random(seed).sample(sendable, 60):
        shown = run("-", "--key", KEY, said=case.token.encode("utf-8", "surrogatepass"))
        assert isinstance(shown.exception, SystemExit), case
        assert (shown.exit_code, len(verdict(shown)) > 20) == (1, True), case
        signature = case.token.rpartition(".")[2]
        assert len(signature) < 20 or signature not in shown.stdout, case
