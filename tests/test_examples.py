"""Each example as its reader runs it: a process of its own, asked over HTTP."""

import ast
import os
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from authcache_middleware.cli.commands import authcache
from authcache_middleware.testing import issue_token
from authcache_middleware.testing.server import free_port
from authcache_middleware.tokens.verifier import TokenVerifier

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ["starlette_app", "fastapi_app", "flask_app", "raw_asgi", "raw_wsgi", "issuers_app"]
LONGER = {"issuers_app": 90, "identity_provider": 90}
SECRET = "a secret of the examples' tests, long enough for HS256 and more"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside these tests")


def token(**changed):
    said = {"issuer": "https://id.example", "audience": "orders", "scope": "orders:write", **changed}
    return issue_token(SECRET, **said)


def ended(process):
    """What it has said; killed where it does not end by itself, so that nobody waits for ever."""
    try:
        return process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@contextmanager
def running(name, *, port=None, verify=True, **environment):
    """The example in a process of its own, and a client of it."""
    port, scheme = port or free_port(), "https" if "CERT_FILE" in environment else "http"
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env={**os.environ, "PORT": str(port), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process, httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", verify=verify) as client:
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if f"{scheme}://127.0.0.1:{port}" in line:
                    break
            else:
                pytest.fail("".join(said))
            yield client
        finally:
            client.close()  # over TLS a server waits for that
            process.terminate()  # not SIGINT, which a shell's background jobs inherit as ignored
            said = ended(process)
    assert "Exception" not in said, said


@pytest.fixture(scope="module", params=NAMES)
def client(request, redis_url):
    with running(request.param, REDIS_URL=redis_url, SECRET=SECRET) as client:
        yield client


def test_without_a_token_nobody_enters(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="api"')


def test_with_one_it_knows_who_asks(client):
    answer = client.get("/", headers={"authorization": f"Bearer {token()}"})
    assert answer.json() == {"name": "Ada", "scopes": ["orders:write"]}


def test_an_unknown_user_and_a_forged_token_look_the_same(client):
    answers = [
        client.get("/", headers={"authorization": f"Bearer {refused}"})
        for refused in (token(subject="2"), token(audience="billing"), token(lifetime=-60.0))
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


def test_scopes_are_required(client):
    headers = {"authorization": f"Bearer {token()}"}
    assert client.post("/orders", headers=headers).json() == {"ordered by": "ada@example.org"}
    answer = client.post("/orders", headers={"authorization": f"Bearer {token(scope=None)}"})
    assert (answer.status_code, answer.json()) == (403, {"error": "insufficient_scope"})


def test_after_the_logout_the_token_is_refused_and_another_is_not(client):
    headers, other = ({"authorization": f"Bearer {token()}"} for _ in range(2))
    assert client.get("/", headers=headers).status_code == 200
    assert client.post("/logout", headers=headers).is_success
    answer = client.get("/", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_token"})
    assert client.get("/", headers=other).status_code == 200


def test_the_health_check_needs_none(client):
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_without_a_secret_it_does_not_start_and_says_so(name):
    environment = {variable: value for variable, value in os.environ.items() if variable != "SECRET"}
    ended = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], env=environment, capture_output=True, text=True, timeout=10
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "SECRET must be set: see the first lines of this file\n"


@pytest.mark.parametrize("name", NAMES)
def test_its_first_lines_tell_how_to_mint_a_token_that_enters(name):
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()))
    assert f"python examples/{name}.py" in text
    command = next(line for line in text.splitlines() if line.startswith("TOKEN="))
    arguments = shlex.split(command.removeprefix("TOKEN=$(authcache ").removesuffix(")"))
    minted = CliRunner().invoke(authcache, [SECRET if argument == "$SECRET" else argument for argument in arguments])
    verifier = TokenVerifier(keys=SECRET, algorithms=["HS256"], issuer="https://id.example", audience="orders")
    claims = verifier.verify(minted.stdout.strip(), time.time())
    assert (claims.subject, claims.scopes) == ("1", ("orders:write",))


def test_they_are_short():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NAMES, *LONGER}
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < LONGER.get(path.stem, 60)
