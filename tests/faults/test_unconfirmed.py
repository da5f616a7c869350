"""The limit that the README states: what Redis has not confirmed may still happen, and by its clock of then."""

import time

import pytest
import redis
from faces import settings, wait_until

from authcache_middleware import AuthCache, UnavailableError
from authcache_middleware.testing.server import EmbeddedServer


def test_a_revocation_that_failed_is_carried_out_when_the_server_goes_on() -> None:
    with EmbeddedServer() as server, AuthCache(server.url, load_user=dict, **settings(leeway=0.0)) as auth:
        auth.invalidate("1")  # connected
        server.freeze()
        with pytest.raises(UnavailableError):
            auth.revoke_user("1")
        failed = time.time()
        wait_until(lambda: time.time() > failed + 1.1)
        server.thaw()
        with redis.Redis.from_url(server.url) as other:
            before_s = int(wait_until(lambda: other.hget("revoked:1", "before")))
    assert before_s > failed + 1, "logins made since it failed are ended too"
