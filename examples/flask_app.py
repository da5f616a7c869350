"""Flask on waitress, with a Redis at REDIS_URL and tokens signed with SECRET:
export SECRET=$(openssl rand -hex 32); python examples/flask_app.py
TOKEN=$(authcache token --key $SECRET --subject 1 --issuer https://id.example --audience orders --scope orders:write)
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/"""

import logging
import os
import sys

import waitress
from flask import Flask, request

from authcache_middleware import AuthCache
from authcache_middleware.flask import AuthCacheMiddleware, current_user, requires

USERS = {"1": {"name": "Ada", "email": "ada@example.org", "is_active": True}}


def load_user(user_id: str) -> dict[str, object] | None:
    return USERS.get(user_id)  # here stands your query


auth = AuthCache(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"),
    load_user=load_user,
    keys=os.environ.get("SECRET") or sys.exit("SECRET must be set: see the first lines of this file"),
    algorithms=["HS256"],
    issuer="https://id.example",
    audience="orders",
)
app = Flask(__name__)
AuthCacheMiddleware.init_app(app, auth, exempt=["/health"])


@app.get("/")
def whoami() -> dict[str, object]:
    return {"name": current_user().name, "scopes": request.environ["authcache.auth"].scopes}


@app.post("/orders")
@requires("orders:write")
def order() -> tuple[dict[str, object], int]:
    return {"ordered by": current_user().email}, 201


@app.post("/logout")
def logout() -> tuple[str, int]:
    auth.logout(request.headers["Authorization"].split()[1])
    return "", 204


@app.get("/health")
def health() -> str:
    return "ok"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    waitress.serve(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
