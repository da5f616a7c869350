"""One table of requests, run over both protocols and both faces."""

import pytest
from conformance.cases import CHALLENGES, Case
from conformance.headers import header_cases
from conformance.paths import path_cases
from conformance.stories import story_cases
from conformance.tokens import token_cases
from conformance.world import WAYS, World

TABLE = [*header_cases(), *token_cases(), *path_cases(), *story_cases()]


def test_the_table_is_large_and_names_each_case_once():
    names = [case.name for case in TABLE]
    assert len(names) == len(set(names)) >= 150


@pytest.mark.parametrize(
    ("way", "case"),
    [
        pytest.param(way, case, id=f"{way}: {case.name}")
        for case in TABLE
        for way in WAYS
        if not (case.protocols_only and way in {"async", "blocking"})
    ],
)
async def test_conformance(way: str, case: Case, redis_url, prefix, caplog):
    world = World(way, case.url or redis_url, prefix, case.options, case.middleware)
    try:
        ask = await case.request(world)
        seen = await world.ask(ask)
    finally:
        await world.close()

    assert seen.status == case.status
    assert seen.user == case.user
    assert seen.challenge == CHALLENGES.get((case.status, case.error))
    assert (seen.retry_after is not None) == (case.status == 503)
    if case.user and isinstance(row := world.loader.rows[case.user], dict):
        assert seen.fields.keys() == row.keys()
        assert seen.fields.get("name") == row.get("name")
    if seen.reply is not None and case.status != 200:
        reply = seen.reply
        code = {401: case.error or "unauthorized", 400: case.error, 503: "temporarily_unavailable"}[case.status]
        assert reply.header("cache-control") == "no-store"
        if ask.method != "HEAD":
            assert reply.error == code
            assert reply.header("content-length") == str(len(reply.body))
        assert len(reply.headers) == 4, "nothing else that could tell the reasons apart"
    for _, value in ask.headers:
        assert len(value) < 20 or value[7:] not in caplog.text
