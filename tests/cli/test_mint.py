"""``authcache token``: what it prints, and what it refuses to."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authcache_middleware.cli.commands import authcache
from authcache_middleware.tokens.verifier import TokenVerifier

KEY = "only-for-this-test-Mz4kQ9vX2pL7wT5s"


def run(*arguments, **environment):
    return CliRunner().invoke(authcache, ["token", *map(str, arguments)], env={"AUTHCACHE_KEY": None, **environment})


def claims(printed: str, *, keys: object = KEY, algorithm: str = "HS256", **options):
    assert printed.endswith("\n")
    options = {"issuer": None, "audience": None, **options}
    return TokenVerifier(keys=keys, algorithms=[algorithm], **options).verify(printed.removesuffix("\n"), time.time())


def test_the_token_alone_is_printed() -> None:
    minted = run("--key", KEY, "--subject", "42")
    assert (minted.exit_code, minted.stderr, minted.stdout.count("\n")) == (0, "", 1)
    read = claims(minted.stdout)
    assert read.subject == "42"
    assert read.expires_at - read.issued_at == 3600
    assert read.token_id


def test_every_option_stands_in_the_token() -> None:
    minted = run(
        *("--key", KEY, "--algorithm", "HS256", "--subject", "jürgen", "--issuer", "https://a", "--lifetime", "60"),
        *("--audience", "x", "--audience", "y", "--scope", "read write", "--scope", "admin", "--kid", "k1"),
        *("--typ", "at+jwt", "--claim", "admin=true", "--claim", 'name="Ann"', "--claim", 'list=[1,{"a":null}]'),
        *("--claim", 'jti="mine"', "--claim", 'equal="a=b"'),
    )
    read = claims(minted.stdout, keys={"k1": KEY, "k2": KEY + "2"}, issuer="https://a", audience="y", typ=["at+jwt"])
    assert (read.subject, read.scopes, read.token_id) == ("jürgen", ("read", "write", "admin"), "mine")
    assert read.expires_at - read.issued_at == 60
    further = {"aud": ("x", "y"), "admin": True, "name": "Ann", "list": (1, {"a": None}), "equal": "a=b"}
    assert {name: read.members[name] for name in further} == further


def test_one_audience_is_a_string() -> None:
    assert claims(run("--key", KEY, "--subject", 1, "--audience", "x").stdout, audience="x").members["aud"] == "x"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_key_may_stand_in_a_file(tmp_path, ending) -> None:
    (tmp_path / "key").write_bytes(KEY.encode() + ending.encode())
    assert claims(run("--key-file", tmp_path / "key", "--subject", 1).stdout).subject == "1"


def test_the_key_may_stand_in_the_environment_and_a_file_goes_before_it(tmp_path) -> None:
    assert claims(run("--subject", 1, AUTHCACHE_KEY=KEY).stdout).subject == "1"
    (tmp_path / "key").write_text(KEY)
    assert claims(run("--subject", 1, "--key-file", tmp_path / "key", AUTHCACHE_KEY="other" * 9).stdout).subject == "1"


PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_private_key_signs_what_its_public_half_verifies(tmp_path, algorithm) -> None:
    private = PRIVATE[algorithm]
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    minted = run("--key-file", tmp_path / "key.pem", "--algorithm", algorithm, "--subject", 1)
    assert claims(minted.stdout, keys=private.public_key(), algorithm=algorithm).subject == "1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--subject", "1"], "AUTHCACHE_KEY"),
        (["--key", "", "--subject", "1"], "AUTHCACHE_KEY"),
        (["--key", KEY], "--subject"),
        (["--key", "short", "--subject", "1"], "shorter than the hash"),
        (["--key", "0123456789" * 4, "--subject", "1"], "pattern"),
        (["--key", KEY, "--subject", ""], "subject"),
        (["--key", KEY, "--subject", "a\nb"], "subject"),
        (["--key", KEY, "--subject", "x" * 256], "subject"),
        (["--key", KEY, "--subject", "1", "--algorithm", "none"], "--algorithm"),
        (["--key", KEY, "--subject", "1", "--algorithm", "RS256"], "is not a key for RS256"),
        (["--key", KEY, "--subject", "1", "--algorithm", "HS512"], "shorter than the hash"),
        (["--key", KEY, "--subject", "1", "--lifetime", "0"], "--lifetime"),
        (["--key", KEY, "--subject", "1", "--lifetime", "-5"], "--lifetime"),
        (["--key", KEY, "--subject", "1", "--lifetime", "nan"], "--lifetime"),
        (["--key", KEY, "--subject", "1", "--lifetime", "inf"], "--lifetime"),
        (["--key", KEY, "--subject", "1", "--lifetime", "soon"], "--lifetime"),
        (["--key", KEY, "--subject", "1", "--scope", "read  write"], "scope"),
        (["--key", KEY, "--subject", "1", "--scope", 'a"b'], "scope"),
        (["--key", KEY, "--subject", "1", "--issuer", ""], "issuer"),
        (["--key", KEY, "--subject", "1", "--audience", ""], "audience"),
        (["--key", KEY, "--subject", "1", "--kid", "k" * 10_000], "refuse this token"),
        (["--key", KEY, "--subject", "1", "--typ", "logout+jwt"], "typ"),
        (["--key", KEY, "--subject", "1", "--claim", "admin"], "NAME=JSON"),
        (["--key", KEY, "--subject", "1", "--claim", "=1"], "NAME=JSON"),
        (["--key", KEY, "--subject", "1", "--claim", "name=Ann"], "needs quotes"),
        (["--key", KEY, "--subject", "1", "--claim", "a=NaN"], "not JSON"),
        (["--key", KEY, "--subject", "1", "--claim", "a=" + "[" * 100_000], "not JSON"),
        (["--key", KEY, "--subject", "1", "--claim", "a=null"], "leave it out"),
        (["--key", KEY, "--subject", "1", "--claim", "a=1", "--claim", "a=2"], "twice"),
        (["--key", KEY, "--subject", "1", "--claim", 'sub="2"'], "--subject"),
        (["--key", KEY, "--subject", "1", "--claim", "exp=1"], "--lifetime"),
        (["--key", KEY, "--subject", "1", "--claim", "nbf=99999999999"], "not_yet_valid"),
        (["--key", KEY, "--subject", "1", "--claim", "jti=5"], "refuse this token"),
        (["--key", KEY, "--subject", "a\udcff"], "not UTF-8"),
        (["--key", KEY, "--subject", "1", "--issuer", "a\udcff"], "not UTF-8"),
        (["--key", KEY, "--subject", "1", "--kid", "a\udcff"], "not UTF-8"),
        (["--key", KEY, "--subject", "1", "--claim", 'x="\\ud800"'], "not UTF-8"),
        (["--key", KEY, "--subject", "1", "--claim", "x\udcff=1"], "not UTF-8"),
        (["--key", KEY, "--subject", "1", "--key-file", __file__], "not both"),
        (["--key-file", "/nowhere/key", "--subject", "1"], "--key-file"),
        (["--key", KEY, "--subject", "1", "extra"], "extra"),
    ],
)
def test_nonsense_is_refused_and_nothing_is_printed(arguments, said) -> None:
    refused = run(*arguments)
    assert refused.exit_code in {1, 2}
    assert isinstance(refused.exception, SystemExit)
    assert refused.stdout == ""
    assert said in refused.stderr
    assert KEY not in refused.stderr


def test_a_key_file_that_is_no_text_is_refused(tmp_path) -> None:
    (tmp_path / "key").write_bytes(b"\xff" * 64)
    refused = run("--key-file", tmp_path / "key", "--subject", 1)
    assert refused.exit_code == 2
    assert "--key-file cannot be read" in refused.stderr


def test_a_public_key_signs_nothing(tmp_path) -> None:
    from cryptography.hazmat.primitives.serialization import PublicFormat

    pem = PRIVATE["EdDSA"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    refused = run("--key-file", tmp_path / "key.pem", "--algorithm", "EdDSA", "--subject", 1)
    assert refused.exit_code == 1
    assert "cannot sign with EdDSA" in refused.stderr
