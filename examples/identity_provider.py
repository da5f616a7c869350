"""A small identity provider for development, which gives anybody any token: discovery, rotating keys, introspection.
python examples/identity_provider.py
curl -d "sub=1&scope=orders:write" http://127.0.0.1:9000/token (with kind=opaque for an opaque one)
curl -X POST http://127.0.0.1:9000/rotate (a new key; the one before is published until the next)"""

import os
import secrets
import time
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qsl, quote_plus

import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request, Response
from jwt.algorithms import ECAlgorithm

from authcache_middleware.testing import issue_token

PORT = int(os.environ.get("PORT", "9000"))
ISSUER = os.environ.get("ISSUER", f"http://127.0.0.1:{PORT}")
CLIENT = f"orders:{quote_plus(os.environ.get('CLIENT_SECRET', 'for development'))}"
keys = {"1": ec.generate_private_key(ec.SECP256R1())}  # by kid, the newest last
opaque: dict[str, dict[str, Any]] = {}
app = FastAPI(title="Identity provider")


async def form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode()))


@app.get("/.well-known/openid-configuration")
def discovery() -> dict[str, str]:
    return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks.json", "introspection_endpoint": f"{ISSUER}/introspect"}


@app.get("/jwks.json")
def jwks() -> dict[str, Any]:
    described = {kid: ECAlgorithm.to_jwk(key.public_key(), as_dict=True) for kid, key in keys.items()}
    return {"keys": [{**jwk, "kid": kid, "use": "sig", "alg": "ES256"} for kid, jwk in described.items()]}


@app.post("/rotate")
def rotate() -> list[str]:
    for kid in list(keys)[:-1]:
        del keys[kid]
    keys[secrets.token_hex(4)] = ec.generate_private_key(ec.SECP256R1())
    return list(keys)


@app.post("/token")
async def token(request: Request) -> dict[str, str]:
    asked = {"sub": "1", "scope": "", "kind": "jwt", **await form(request)}
    said = {"sub": asked["sub"], "scope": asked["scope"], "aud": "orders", "client_id": "shop"}
    kid, made = list(keys)[-1], secrets.token_urlsafe(32)
    if asked["kind"] == "jwt":
        made = issue_token(keys[kid], algorithm="ES256", kid=kid, typ="at+jwt", issuer=ISSUER, claims=said)
    else:
        now = int(time.time())
        opaque[made] = {
            "active": True,
            "iss": ISSUER,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
            **said,
        }
    return {"access_token": made, "token_type": "Bearer"}


@app.post("/introspect")
async def introspect(request: Request) -> Any:
    if request.headers.get("authorization") != f"Basic {b64encode(CLIENT.encode()).decode()}":
        return Response(status_code=401, headers={"www-authenticate": "Basic"})
    said = opaque.get((await form(request)).get("token", ""), {"exp": 0})
    return said if time.time() < said["exp"] else {"active": False}


@app.post("/revoke")
async def revoke(request: Request) -> None:
    opaque.pop((await form(request)).get("token", ""), None)


if __name__ == "__main__":
    cert, key = os.environ.get("CERT_FILE"), os.environ.get("KEY_FILE")
    uvicorn.run(app, port=PORT, ssl_certfile=cert, ssl_keyfile=key)
