"""The report: what a claim looks like that holds, and one that does not."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from authcache_middleware.cli.demo.report import Report


@pytest.fixture
def page() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def report(page: io.StringIO) -> Report:
    return Report(Console(file=page, width=60, highlight=False))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (200, "200"),
        (2000, "2,000"),
        ((401, 401), "401 and 401"),
        (Counter({"get": 1950}), "1,950 x get"),
        (Counter({200: 3, 503: 1}), "3 x 200, 1 x 503"),
        (Counter(), "none"),
        ("User [4]", "User [4]"),
    ],
)
def test_a_claim_that_holds_shows_what_was_seen(report, page, seen, words) -> None:
    report.claim("seen", seen, seen)
    assert page.getvalue() == f"  ok     seen: {words}\n"
    assert report.verdict() == 0
    assert "All 1 claims hold." in page.getvalue()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (500, 503),
        ((200, 401), (401, 401)),
        (Counter(get=2), Counter(get=1)),
        (Counter({200: 1, 500: 1}), Counter({200: 2})),
    ],
)
def test_a_claim_that_does_not_hold_is_said_twice_and_ends_in_1(report, page, seen, expected) -> None:
    report.act("An act")
    report.claim("kept", 1, 1)
    report.claim("seen", seen, expected)
    assert "\n  FALSE  seen: " in page.getvalue()
    assert ", and should be " in page.getvalue()
    assert report.verdict() == 1
    assert "1 of 2 claims do not hold:\n  An act: seen: " in page.getvalue()


def test_a_narrow_terminal_loses_nothing() -> None:
    page = io.StringIO()
    report = Report(Console(file=page, width=32))
    report.table(["", "req/s", "p50 ms", "p99 ms"], [["FastAPI, database", "1,234", "12.3", "45.6"]])
    report.command("curl -H 'Authorization: Bearer " + "x" * 50 + "'")
    printed = page.getvalue()
    assert "\u2026" not in printed
    assert all(figure in printed for figure in ("1,234", "12.3", "45.6"))
    assert "x" * 50 + "'\n" in printed
