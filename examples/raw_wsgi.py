"""WSGI without a framework, with a Redis at REDIS_URL and tokens signed with SECRET:
export SECRET=$(openssl rand -hex 32); python examples/raw_wsgi.py
TOKEN=$(authcache token --key $SECRET --subject 1 --issuer https://id.example --audience orders --scope orders:write)
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import make_server

from authcache_middleware import AuthCache
from authcache_middleware.wsgi import AuthCacheMiddleware, requires

USERS = {"1": {"name": "Ada", "email": "ada@example.org", "is_active": True}}
may_order = requires("orders:write")


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


def orders(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    status, user = "200 OK", environ["authcache.user"]
    answer = {"name": user.display_name, "scopes": environ["authcache.auth"].scopes}
    if environ["PATH_INFO"] == "/orders":
        status, answer = "201 Created", {"ordered by": may_order(environ).email}
    elif environ["PATH_INFO"] == "/logout":
        auth.logout(environ["HTTP_AUTHORIZATION"].split()[1])
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


app = AuthCacheMiddleware(orders, auth=auth, exempt=["/health"])

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        print(f"Serving on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
