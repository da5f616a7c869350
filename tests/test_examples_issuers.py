"""The example with several issuers beside the example of an identity provider, over real HTTPS."""

import ssl

import pytest
import trustme
from faces import wait_until
from test_examples import EXAMPLES, SECRET, running, token

from authcache_middleware.testing.server import free_port

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside these tests")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Files of an authority, and of a certificate that it has given: the authority's, the certificate's, its key's."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    given = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    given.private_key_pem.write_to_path(folder / "key.pem")
    for part in given.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)
    return folder


@pytest.fixture(scope="module")
def provider(authority):
    port = free_port()
    issuer = f"https://127.0.0.1:{port}"
    files = {"CERT_FILE": str(authority / "cert.pem"), "KEY_FILE": str(authority / "key.pem")}
    trusted = ssl.create_default_context(cafile=authority / "ca.pem")
    with running("identity_provider", port=port, verify=trusted, ISSUER=issuer, **files) as client:
        yield client


@pytest.fixture(scope="module")
def app(provider, authority, redis_url):
    environment = {"REDIS_URL": redis_url, "SECRET": SECRET, "CACHE_TTL": "0.2"}
    trust = {"PROVIDER": str(provider.base_url).rstrip("/"), "CA_FILE": str(authority / "ca.pem")}
    with running("issuers_app", **environment, **trust) as client:
        yield client


def given(provider, **asked):
    return bearer(provider.post("/token", data=asked).json()["access_token"])


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def said(answer):
    return answer.status_code, answer.json()


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
def test_a_token_of_the_provider_enters_until_it_is_logged_out(kind, provider, app):
    headers = given(provider, kind=kind, scope="orders:read orders:write")
    assert said(app.get("/", headers=headers)) == (200, {"name": "Grace", "scopes": ["orders:read", "orders:write"]})
    assert said(app.post("/orders", headers=headers)) == (201, {"ordered by": "grace@id.example"})
    assert app.post("/logout", headers=headers).status_code == 204
    assert said(app.get("/", headers=headers)) == (401, {"error": "invalid_token"})
    assert app.get("/", headers=given(provider, kind=kind)).status_code == 200


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
def test_what_is_required_is_asked_of_both(kind, provider, app):
    answer = app.post("/orders", headers=given(provider, kind=kind, scope="orders:read"))
    assert said(answer) == (403, {"error": "insufficient_scope"})
    assert 'scope="orders:write"' in answer.headers["www-authenticate"]
    assert app.get("/staff", headers=given(provider, kind=kind)).json() == {"name": "Grace"}
    assert app.get("/staff", headers=bearer(token())).status_code == 403


def test_one_subject_of_two_issuers_is_two_users(provider, app):
    assert app.get("/", headers=bearer(token(subject="1"))).json()["name"] == "Ada"
    assert app.get("/", headers=given(provider, sub="1")).json()["name"] == "Grace"
    assert app.get("/", headers=given(provider, sub="2", kind="opaque")).status_code == 401


def test_after_a_rotation_the_first_new_token_enters_and_the_old_ones_go_on(provider, app):
    before = given(provider)
    assert app.get("/", headers=before).status_code == 200
    assert len(provider.post("/rotate").json()) == 2
    assert app.get("/", headers=given(provider)).status_code == 200
    assert app.get("/", headers=before).status_code == 200


def test_what_the_provider_ends_is_seen_when_its_answer_is_too_old(provider, app):
    headers = given(provider, kind="opaque")
    assert app.get("/", headers=headers).status_code == 200
    provider.post("/revoke", data={"token": headers["authorization"].split()[1]})
    wait_until(lambda: app.get("/", headers=headers).status_code == 401)


def test_an_opaque_token_that_nobody_gave_is_refused_like_a_forged_one(app):
    answers = [app.get("/", headers=bearer(text)) for text in ("a-token", "a.b.c", token(audience="billing"))]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


def test_the_provider_tells_strangers_nothing(provider):
    answer = provider.post("/introspect", data={"token": "a"})
    assert (answer.status_code, answer.content) == (401, b"")
    assert provider.get("/jwks.json").json()["keys"][0].keys() >= {"kty", "kid", "x", "y"}
    assert "d" not in provider.get("/jwks.json").json()["keys"][0]
