"""When a link is asked, and what its answers prove."""

from __future__ import annotations

from authcache_middleware.cache.heartbeat import Heartbeat


def test_the_first_two_are_asked_at_once_and_then_four_in_each_bound() -> None:
    heartbeat = Heartbeat(1.0)
    assert heartbeat.is_due(100.0)
    heartbeat.sent(100.0)
    assert not heartbeat.is_due(200.0), "one at a time"
    assert heartbeat.answered(100.01) is None, "the first answer proves nothing"
    assert heartbeat.is_due(100.01)
    heartbeat.sent(100.01)
    assert heartbeat.answered(100.02) == 100.0
    assert not heartbeat.is_due(100.25)
    assert heartbeat.is_due(100.26)


def test_an_answer_credits_the_question_before_it() -> None:
    heartbeat = Heartbeat(1.0)
    credited = []
    for sent in (10.0, 10.1, 10.4, 10.7):
        heartbeat.sent(sent)
        credited.append(heartbeat.answered(sent + 0.05))
    assert credited == [None, 10.0, 10.1, 10.4]


def test_an_answer_that_takes_as_long_as_the_bound_is_a_loss() -> None:
    heartbeat = Heartbeat(1.0)
    assert not heartbeat.is_lost(99.0)
    heartbeat.sent(100.0)
    assert not heartbeat.is_lost(100.99)
    assert heartbeat.is_lost(101.0)
    heartbeat.answered(100.5)
    assert not heartbeat.is_lost(105.0)


def test_how_long_to_wait() -> None:
    heartbeat = Heartbeat(1.0)
    assert heartbeat.wait(100.0) <= 0
    heartbeat.sent(100.0)
    assert heartbeat.wait(100.25) == 0.75
    assert heartbeat.lag(100.25) == 0.25
    heartbeat.answered(100.3)
    heartbeat.sent(100.3)
    heartbeat.answered(100.4)
    assert round(heartbeat.wait(100.45), 6) == 0.1
    assert heartbeat.lag(100.45) == 0.0
