"""What a server's refusal says of the link: whether to try again soon."""

from __future__ import annotations

import pytest
import redis.exceptions as errors

from authcache_middleware.redis.wire import _lost


@pytest.mark.parametrize(
    "error",
    [
        errors.MovedError("7 10.0.0.1:1"),
        errors.AskError("7 10.0.0.1:1"),
        errors.ClusterDownError("CLUSTERDOWN The cluster is down"),
        errors.MasterDownError("MASTERDOWN Link with MASTER is down"),
        errors.TryAgainError("TRYAGAIN"),
        errors.ReadOnlyError("READONLY You can't write against a read only replica."),
        errors.BusyLoadingError("LOADING"),
        errors.ConnectionError("10.0.0.1"),
        errors.TimeoutError(),
        OSError(),
    ],
)
def test_a_server_that_is_not_the_one_to_ask_now_is_a_loss(error) -> None:
    lost = _lost(error)
    assert not lost.deaf
    assert lost.reason == type(error).__name__, "its text may hold an address"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.NoPermissionError("User limited has no permissions"), "NoPermissionError (User)"),
        (errors.ResponseError("ERR unknown command"), "ResponseError (ERR)"),
        (errors.ResponseError("10.0.0.1:7000 is odd"), "ResponseError"),
    ],
)
def test_a_server_that_refuses_will_go_on_refusing(error, reason) -> None:
    lost = _lost(error)
    assert lost.deaf
    assert lost.reason == reason
