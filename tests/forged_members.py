"""Headers and claims that are signed as they should be and must be refused all the same."""

import hashlib
import hmac
import json
import random
from collections.abc import Iterator
from typing import Any

from forger import (
    AUDIENCE,
    DAY,
    ISSUER,
    LEEWAY,
    NOW,
    Case,
    Family,
    b64,
    public_jwk,
    public_texts,
    refused,
    segment,
    without,
)


def forged_headers(family: Family, claims: dict[str, Any], rng: random.Random) -> Iterator[Case]:
    header = {"alg": family.algorithm, "typ": "JWT", "kid": "2026-a"}
    stranger = public_jwk(family.public("stranger"))
    changes: list[tuple[str, object, str]] = [
        *(("alg", alg, "algorithm") for alg in (None, "", 1, True, [family.algorithm], {"alg": family.algorithm})),
        *(("alg", alg, "algorithm") for alg in ("none", "None", "NONE", "nOnE", "HS1", "ES256K", "Ed25519", "dir")),
        *(("alg", alg, "algorithm") for alg in (family.algorithm.swapcase(), family.algorithm + " ", "HS384", "RS512")),
        *(
            ("typ", typ, "typ")
            for typ in ("logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", "JWS", "JWT ", "", "text/jwt")
        ),
        *(
            ("typ", typ, "typ")
            for typ in (None, 1, ["JWT"], {}, "application/", "application/application/jwt", "\uff2aWT")
        ),
        *(
            ("kid", kid, "key")
            for kid in ("", "2026-c", "2026-A", "2026-a ", "../../../../dev/null", "' UNION SELECT 'k")
        ),
        *(("kid", kid, "key") for kid in (None, 0, True, ["2026-a"], {}, "k" * 257, "2026-\u0430", "2026-a\0", "|id")),
        *(("crit", crit, "header") for crit in (["exp"], [], None, "exp", ["b64"])),
        *(("b64", b64_, "header") for b64_ in (False, True, None)),
        *(("zip", zip_, "header") for zip_ in ("DEF", None)),
    ]
    for name, value, reason in changes:
        token = family.token(claims, header | {name: value})
        yield refused(family, f"{name} {value!r:.24}", token, reason, "algorithm")
    for absent, reason in (("alg", "algorithm"), ("kid", "key")):
        yield refused(family, f"{absent} absent", family.token(claims, without(header, absent)), reason)
    for name in ("none", "None", "NONE", "nOnE"):
        unsigned = f"{segment(header | {'alg': name})}.{segment(claims)}."
        yield refused(family, f"{name} without signature", unsigned, "malformed")
        yield refused(family, f"{name} with some", unsigned + b64(rng.randbytes(32)), "algorithm")
    yield refused(family, "signed by a stranger", family.token(claims, header, "stranger"), "signature")
    yield refused(family, "signed by the other key", family.token(claims, header, "2026-b"), "signature")
    for name, lure in {
        "jwk": stranger,
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example",
        "x5c": ["MII="],
    }.items():
        token = family.token(claims, header | {name: lure}, "stranger")
        yield refused(family, f"a stranger's {name}", token, "signature")
    for number, text in enumerate(public_texts(family)):
        lure = header | {"alg": "HS256"}
        signed = f"{segment(lure)}.{segment(claims)}".encode()
        token = f"{signed.decode()}.{b64(hmac.digest(text, signed, hashlib.sha256))}"
        yield refused(family, f"HMAC under the public key, form {number}", token, "algorithm", "signature")
    plain = json.dumps(header).encode()
    for name, raw in _not_json(plain).items():
        yield refused(family, f"header {name}", family.token(claims, raw), "header")
    doubled = {
        "alg": plain[:-1] + b', "alg": "none"}',
        "escaped alg": plain[:-1] + b', "al\\u0067": "none"}',
        "kid": plain[:-1] + b', "kid": "x"}',
    }
    for name, raw in doubled.items():
        yield refused(family, f"header with {name} twice", family.token(claims, raw), "header")


def _not_json(plain: bytes) -> dict[str, bytes]:
    """Ways to write the object ``plain`` that some parser might take."""
    member = plain[:-1] + b', "x": '
    return {
        "cut": plain[:-1],
        "with a tail": plain + b"{}",
        "with a comma": plain[:-1] + b",}",
        "with a comment": plain + b"/**/",
        "in single quotes": plain.replace(b'"', b"'"),
        "with a BOM": b"\xef\xbb\xbf" + plain,
        "in UTF-16": plain.decode().encode("utf-16"),
        "in UTF-16 without BOM": plain.decode().encode("utf-16-le"),
        "in UTF-32": plain.decode().encode("utf-32-be"),
        "after a form feed": b"\x0c" + plain,
        "after a no-break space": b"\xc2\xa0" + plain,
        "before a NUL": plain + b"\0",
        "in Latin-1": member + b'"\xe9"}',
        "overlong UTF-8": member + b'"\xc0\xaf"}',
        "a surrogate in UTF-8": member + b'"\xed\xa0\x80"}',
        "a lone surrogate": member + b'"\\ud800"}',
        "a lone surrogate name": plain[:-1] + b', "\\udc00x": 1}',
        "surrogates the wrong way round": member + b'"\\udc00\\ud800"}',
        "a surrogate deep inside": member + b'[{"y": ["\\uDBFF"]}]}',
        "a control character": member + b'"\n"}',
        "NaN": member + b"NaN}",
        "Infinity": member + b"Infinity}",
        "-Infinity": member + b"[-Infinity]}",
        "1e999": member + b"1e999}",
        "-1e999": member + b'{"y": -1e999}}',
        "a leading zero": member + b"01}",
        "hexadecimal": member + b"0x1}",
        "a plus": member + b"+1}",
        "True": member + b"True}",
        "an inner double": member + b'{"y": 1, "y": 2}}',
        "open brackets": member + b"[" * 500,
        "open objects": member + b'{"":' * 120,
        "an array": b"[" + plain + b"]",
        "a string": json.dumps(plain.decode()).encode(),
        "null": b"null",
        "true": b"true",
        "a number": b"1",
        "spaces": b"  ",
        "random": bytes(range(128, 160)),
    }


def forged_claims(family: Family, claims: dict[str, Any], rng: random.Random) -> Iterator[Case]:
    now = int(NOW)
    typed = ("1", True, False, None, [], {}, [now], -1, 1e300, 10**20)
    ids = ("", "x" * 256, "a\0", "a\nb", "\x1f", "\x7f", "\x85", 1, True, None, [], ["x"], {})
    issuers = (
        "",
        "https://other.example",
        ISSUER + "/",
        ISSUER.upper(),
        ISSUER + " ",
        ISSUER[:-1],
        "http" + ISSUER[5:],
    )
    audiences = (
        AUDIENCE + "/",
        AUDIENCE.upper(),
        f" {AUDIENCE}",
        AUDIENCE[:-1],
        f"{AUDIENCE} x",
        f"{AUDIENCE},x",
        "*",
        "",
    )
    lists = ([], ["x"], [AUDIENCE, 1], [AUDIENCE, None], [[AUDIENCE]], [AUDIENCE + "/"], {AUDIENCE: 1}, 1, True, None)
    changes: list[tuple[str, object, str]] = [
        *((name, value, "claims") for name in ("exp", "iat", "nbf") for value in typed),
        *(("sub", value, "subject") for value in ids),
        *((name, value, "claims") for name in ("jti", "sid") for value in ids),
        *(("scope", value, "claims") for value in (None, 1, True, ["read"], {"read": True})),
        *(("iss", value, "issuer") for value in (*issuers, None, 1, True, [ISSUER], {})),
        *(("aud", value, "audience") for value in (*audiences, *lists)),
        *(("cnf", value, "claims") for value in ({"jkt": "x"}, {"x5t#S256": "x"}, {}, None)),
        *(
            ("events", value, "claims")
            for value in ({"http://schemas.openid.net/event/backchannel-logout": {}}, {}, None)
        ),
        *(("exp", value, "expired") for value in (0, now - 3600, now - LEEWAY, now - LEEWAY - 0.5)),
        *(("exp", value, "lifetime") for value in (now + 31 * DAY, now - 9 + 30 * DAY, 253_402_300_799)),
        *((name, value, "not_yet_valid") for name in ("iat", "nbf") for value in (now + LEEWAY + 0.5, now + 200)),
    ]
    for name, value, reason in changes:
        yield refused(family, f"{name} {value!r:.40}", family.token(claims | {name: value}), reason)
    for name, reason in {
        "exp": "claims",
        "iat": "claims",
        "sub": "subject",
        "iss": "issuer",
        "aud": "audience",
    }.items():
        yield refused(family, f"{name} absent", family.token(without(claims, name)), reason)
    plain = json.dumps(claims).encode()
    for name, raw in _not_json(plain).items():
        yield refused(family, f"claims {name}", family.token(raw), "claims")
    for name, value in {"exp": now + 300, "sub": "admin", "aud": AUDIENCE, "iss": ISSUER}.items():
        raw = plain[:-1] + f', "{name}": {json.dumps(value)}}}'.encode()
        yield refused(family, f"claims with {name} twice", family.token(raw), "claims")
    for name, number in {
        "NaN": b"NaN",
        "Infinity": b"Infinity",
        "1e999": b"1e999",
        "huge": b"9" * 400,
        "very huge": b"9" * 4500,
    }.items():
        raw = plain.replace(str(claims["exp"]).encode(), number)
        yield refused(family, f"exp {name}", family.token(raw), "claims")
    yield refused(family, "no claims", family.token({}))
    event = {"http://schemas.openid.net/event/backchannel-logout": {}}
    logout = {**without(claims, "scope"), "exp": now + 120, "sid": "s", "events": event}
    for typ in ("logout+jwt", "JWT", "at+jwt", None):
        header = {"alg": family.algorithm, "kid": "2026-a", **({} if typ is None else {"typ": typ})}
        for name, members in {
            "": logout,
            " without sid": without(logout, "sid"),
            " and a nonce": logout | {"nonce": "n"},
        }.items():
            yield refused(
                family,
                f"a logout token{name}, typ {typ}",
                family.token(members, header),
                "typ" if typ == "logout+jwt" else "claims",
            )
