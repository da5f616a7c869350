"""Waiting that can be cut from outside."""

from __future__ import annotations

import asyncio

import pytest

from authcache_middleware.runtime import CutError, Line


class Source:
    """Hands out what is put, and remembers how its waiting ended."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.ended: list[str] = []

    async def get(self) -> str:
        try:
            return await self.queue.get()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            await asyncio.sleep(0.001)  # which a second cancellation would cut
            self.ended.append("cleaned up")
            raise


async def begun(line: Line, source: Source) -> asyncio.Task[str]:
    async def waiting() -> str:
        return await line.wait(source.get)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    return task


async def test_what_comes_is_given() -> None:
    line, source = Line(), Source()
    task = await begun(line, source)
    source.queue.put_nowait("a")
    assert await task == "a"
    assert (line._waits, source.ended) == ([], [])


async def test_a_wait_is_cut_and_cleans_up_while_its_task_lives_on() -> None:
    line, source = Line(), Source()
    lived_on = []

    async def waiting() -> None:
        with pytest.raises(CutError):
            await line.wait(source.get)
        await asyncio.sleep(0)
        lived_on.append(asyncio.current_task().cancelling())

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    line.cut()
    await task
    assert lived_on == [0]
    assert source.ended == ["cancelled", "cleaned up"]
    assert line._waits == []


async def test_several_waits_are_cut_at_once() -> None:
    line, source = Line(), Source()
    tasks = [await begun(line, source) for _ in range(3)]
    line.cut()
    assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [CutError] * 3


async def test_what_comes_in_the_moment_of_the_cut_is_not_given() -> None:
    line, source = Line(), Source()
    task = await begun(line, source)
    source.queue.put_nowait("too late")
    line.cut()
    with pytest.raises(CutError):
        await task


async def test_a_line_that_was_cut_begins_nothing() -> None:
    line, source = Line(), Source()
    line.cut()
    with pytest.raises(CutError):
        await line.wait(source.get)
    assert source.ended == []


async def test_a_cut_between_two_turns_reaches_the_next_wait() -> None:
    line, source = Line(), Source()

    async def turn_then_get() -> str:
        await asyncio.sleep(0)
        return await source.get()

    async def waiting() -> str:
        return await line.wait(turn_then_get)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    line.cut()
    async with asyncio.timeout(20):
        with pytest.raises(CutError):
            await task


async def test_the_tasks_own_cancellation_stays_one() -> None:
    line, source = Line(), Source()
    task = await begun(line, source)
    task.cancel()
    line.cut()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.ended == ["cancelled", "cleaned up"]
    assert line._waits == []


async def test_what_is_raised_passes() -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await Line().wait(failing)


async def test_a_wait_that_is_closed_closes_what_it_waits_for() -> None:
    line, closed = Line(), []

    async def source() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def waiting() -> None:
        await line.wait(source)

    coroutine = waiting()
    coroutine.send(None)
    coroutine.close()
    assert closed == [True]
    assert line._waits == []
