"""Watching the services while the story is told."""

from __future__ import annotations

import asyncio
from dataclasses import fields

import httpx
import pytest

from authcache_middleware.cli.demo.child import StageError
from authcache_middleware.cli.demo.stage import Stage


class FakeChild:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.is_dead = False
        self._end = asyncio.Event()

    def die(self) -> None:
        self.is_dead = True
        self._end.set()

    async def ended(self) -> None:
        await self._end.wait()

    def obituary(self) -> str:
        return "it has ended"


@pytest.fixture
async def stage() -> Stage:
    children = [FakeChild() for _ in range(4)]
    parts = dict.fromkeys(field.name for field in fields(Stage))
    return Stage(**{**parts, "fastapi": children[0], "flask": children[1], "baselines": tuple(children[2:])})


async def test_the_story_is_told_to_its_end(stage) -> None:
    told = []

    async def story() -> None:
        await asyncio.sleep(0)
        told.append("the end")

    await stage.watching(story())
    assert told == ["the end"]


@pytest.mark.parametrize("number", range(4))
async def test_a_service_that_ends_ends_the_story(stage, number) -> None:
    ended = asyncio.Event()

    async def story() -> None:
        try:
            [*stage.services, *stage.baselines][number].die()
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(StageError, match="it has ended"):
        await stage.watching(story())
    assert ended.is_set()


async def test_a_request_that_fails_since_its_service_has_ended_is_laid_to_that(stage) -> None:
    async def story() -> None:
        asyncio.get_running_loop().call_later(0.01, stage.flask.die)  # the request fails first
        raise httpx.ReadError("gone")

    with pytest.raises(StageError, match="it has ended"):
        await stage.watching(story())


async def test_a_request_that_fails_for_itself_is_said(stage) -> None:
    async def story() -> None:
        raise httpx.ReadTimeout("slow")

    with pytest.raises(StageError, match="a service did not answer: ReadTimeout"):
        await stage.watching(story())


async def test_a_fault_of_the_story_stays_what_it_is(stage) -> None:
    async def story() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stage.watching(story())
