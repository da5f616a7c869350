"""Scopes, roles and profiles as options of the faces and of each issuer, up to ``requires``."""

import pytest
from conformance.drivers import Ask, over_asgi, over_wsgi
from conformance.faces import bearer
from faces import AUDIENCE, ISSUER, SECRET, driven, token_for

from authcache_middleware import ConfigurationError, InvalidTokenError, Issuer, asgi, wsgi
from authcache_middleware.testing import MemoryStore

ROLES = {"realm_access": {"roles": ["clerk", "boss"]}}
KINDS = ("async", "blocking")


def load_user(user_id):
    return {"id": user_id}


def one_issuer(**options):
    return {"load_user": load_user, **options}


def a_list_of_issuers(**options):
    """The same said in ``issuers``, beside a second one."""
    said = {"keys": SECRET, "algorithms": ["HS256"], "audience": AUDIENCE, "load_user": load_user}
    other = Issuer("https://other.example", alias="other", **said)
    return {"issuers": [Issuer(ISSUER, alias="ours", **said, **options), other]}


@pytest.fixture(params=[one_issuer, a_list_of_issuers], ids=["one", "several"])
def options(request):
    return request.param


def face(kind, options):
    return driven(kind, MemoryStore(), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_roles_and_scopes_reach_the_application(kind, options):
    with face(kind, options(roles_claim="realm_access.roles")) as auth:
        user, credentials = auth.enter("1", claims={**ROLES, "scp": ["a", "b"]})
        assert (user.id, credentials.roles, credentials.scopes) == ("1", ("clerk", "boss"), ("a", "b"))
        assert auth.enter("1").auth.roles == ()


@pytest.mark.parametrize("kind", KINDS)
def test_and_decide_who_may_enter(kind, options):
    with face(kind, options(roles_claim="realm_access.roles")) as auth:

        async def asgi_app(scope, receive, send):
            asgi.requires(roles=["boss"])(scope)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        def wsgi_app(environ, start_response):
            wsgi.requires(roles=["boss"])(environ)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b""]

        def status(token):
            asked = Ask(headers=bearer(token))
            if kind == "async":
                return auth._run(over_asgi(asgi.AuthCacheMiddleware(asgi_app, auth=auth.face), asked)).status
            return over_wsgi(wsgi.AuthCacheMiddleware(wsgi_app, auth=auth.face), asked).status

        assert status(token_for(claims=ROLES)) == 200
        assert status(token_for(claims={"realm_access": {"roles": ["clerk"]}})) == 403
        assert status(token_for(claims={"realm_access": []})) == 401


@pytest.mark.parametrize("kind", KINDS)
def test_the_profile_is_each_issuers(kind, options):
    with face(kind, options(profile="rfc9068")) as auth:
        assert auth.enter("1", typ="at+jwt", claims={"client_id": "app"}).user.id == "1"
        for other in ({}, {"typ": "at+jwt"}, {"claims": {"client_id": "app"}}):
            with pytest.raises(InvalidTokenError):
                auth.enter("1", **other)


def test_one_of_several_has_its_own_profile():
    with face("blocking", a_list_of_issuers(profile="rfc9068")) as auth:
        assert auth.enter("1", issuer="https://other.example").user.id == "1"


@pytest.mark.parametrize("option", [{"profile": "rfc9068"}, {"roles_claim": "roles"}, {"scope_claims": ["scp"]}])
def test_they_are_not_said_beside_issuers(option):
    with (
        pytest.raises(ConfigurationError, match=f"{next(iter(option))}: "),
        face("blocking", {**a_list_of_issuers(), **option}),
    ):
        pass
