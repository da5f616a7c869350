"""Customers of one issuer and staff of another, with FastAPI, a Redis at REDIS_URL and examples/identity_provider.py:
export SECRET=$(openssl rand -hex 32); python examples/identity_provider.py & python examples/issuers_app.py
TOKEN=$(authcache token --key $SECRET --subject 1 --issuer https://id.example --audience orders --scope orders:write)
(or for staff: curl -d "sub=1&kind=opaque" http://127.0.0.1:9000/token) curl -H "Authorization: Bearer …" :8000/"""

import os
import ssl
import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request

from authcache_middleware import AsyncAuthCache, Introspection, Issuer, User
from authcache_middleware.fastapi import AuthCacheMiddleware, current_user, requires

CUSTOMERS = {"1": {"name": "Ada", "email": "ada@example.org"}}
STAFF = {"1": {"name": "Grace", "email": "grace@id.example"}}
PROVIDER = os.environ.get("PROVIDER", "http://127.0.0.1:9000")
SECRET = os.environ.get("SECRET") or sys.exit("SECRET must be set: see the first lines of this file")
trusted = ssl.create_default_context(cafile=os.environ.get("CA_FILE"))


async def load_customer(user_id: str) -> dict[str, str] | None:
    return CUSTOMERS.get(user_id)  # here stands your query


async def load_employee(user_id: str) -> dict[str, str] | None:
    return STAFF.get(user_id)


customers = Issuer(
    "https://id.example",
    keys=SECRET,
    algorithms=["HS256"],
    audience="orders",
    alias="shop",
    load_user=load_customer,
)
introspection = Introspection(
    f"{PROVIDER}/introspect",
    client_id="orders",
    client_secret=os.environ.get("CLIENT_SECRET", "for development"),
    cache_ttl=float(os.environ.get("CACHE_TTL", "60")),
    ssl_context=trusted,
)
staff = Issuer.discover(
    PROVIDER,
    algorithms=["ES256"],
    audience="orders",
    alias="staff",
    load_user=load_employee,
    introspection=introspection,
    ssl_context=trusted,
)
auth = AsyncAuthCache(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), issuers=[customers, staff])
app = FastAPI(title="Orders")
app.add_middleware(AuthCacheMiddleware, auth=auth, exempt=["/health"])


@app.get("/")
async def whoami(user: Annotated[User, Depends(current_user)], request: Request) -> dict[str, object]:
    return {"name": user.name, "scopes": request.auth.scopes}


@app.post("/orders", status_code=201)
async def order(user: Annotated[User, Depends(requires("orders:write"))]) -> dict[str, object]:
    return {"ordered by": user.email}


@app.get("/staff")
async def of_staff(
    user: Annotated[User, Depends(requires(allows=lambda _, auth: auth.alias == "staff"))],
) -> dict[str, object]:
    return {"name": user.name}


@app.post("/logout", status_code=204)
async def logout(request: Request) -> None:
    await auth.logout(request.headers["authorization"].split()[1])


@app.get("/health")
async def health() -> str:
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
