"""Up to when a row refuses its user's tokens."""

from __future__ import annotations

import datetime as dt
import decimal

import pytest

from authcache_middleware.users.row import UnreadableRowError, row_revoked_before

NOON = dt.datetime(2026, 1, 1, 12, 0, 0)  # noqa: DTZ001 - without a time zone, as SQLite gives it
NOON_S = 1_767_268_800


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (None, None),
        (0, 0),
        (1_700_000_000, 1_700_000_000),
        (1_700_000_000.0, 1_700_000_000),
        (1_700_000_000.001, 1_700_000_001),
        (decimal.Decimal("1700000000.5"), 1_700_000_001),
        (NOON, NOON_S),
        (NOON.replace(tzinfo=dt.UTC), NOON_S),
        (NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))), NOON_S - 7200),
        (NOON.replace(microsecond=1), NOON_S + 1),
    ],
)
def test_it_is_read_as_whole_seconds_rounded_up(moment, seconds) -> None:
    assert row_revoked_before({"revoked_before": moment}, "revoked_before") == seconds


def test_where_there_is_none_nothing_is_refused() -> None:
    assert row_revoked_before(None, "revoked_before") is None
    assert row_revoked_before({"other": 1}, "revoked_before") is None


@pytest.mark.parametrize(
    "odd",
    [True, False, "2026-01-01", b"1", float("nan"), float("inf"), decimal.Decimal("NaN"), [1], dt.date(2026, 1, 1)],
)
def test_what_cannot_be_read_is_no_moment_and_is_not_shown(odd) -> None:
    with pytest.raises(UnreadableRowError, match=r"^revoked_before is a \w+$"):
        row_revoked_before({"revoked_before": odd}, "revoked_before")
