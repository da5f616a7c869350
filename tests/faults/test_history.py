"""The check of a history, on histories that are made up."""

import pytest
from faults.history import History, Request, Shut, Valid


def history(*facts) -> History:
    made = History(max_staleness=1.0)
    for fact in facts:
        {Request: made.requests, Shut: made.shut, Valid: made.valid}[type(fact)].append(fact)
    return made


def request(begun, status, *, token=1, user="ann", ended=None) -> Request:
    return Request("a", user, token, begun, begun + 0.1 if ended is None else ended, status)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (request(11.01, 200), 1),
        (request(11.01, 401), 0),
        (request(11.0, 200), 0),  # max_staleness after it returned is soon enough
        (request(10.9, 200, ended=15.0), 0),  # what counts is when it began
        (request(11.01, 200, token=2), 0),  # he has logged in again
        (request(11.01, 200, user="bob"), 0),
    ],
)
def test_a_revoked_token(asked, found) -> None:
    assert len(history(asked, Shut("ann", 1, 10.0)).violations()) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (request(12.0, 200, token=7), 1),
        (request(19.8, 200), 1),
        (request(19.95, 200), 0),  # he may have been enabled in time
        (request(20.5, 200), 0),
    ],
)
def test_a_user_who_is_disabled_for_a_while(asked, found) -> None:
    assert len(history(asked, Shut("ann", None, 10.0, opened=20.0)).violations()) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (request(12.0, 401), 1),
        (request(12.0, 200), 0),
        (request(12.0, 503), 0),
        (request(9.9, 401), 0),
        (request(19.95, 401), 0),  # the ending had begun
        (request(12.0, 401, token=2), 0),
    ],
)
def test_a_valid_user(asked, found) -> None:
    assert len(history(asked, Valid("ann", 1, 10.0, until=20.0)).wrongly_refused()) == found
