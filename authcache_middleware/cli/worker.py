"""``authcache worker``: brings last activity from a queue to the application's database."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from authcache_middleware.activity import run_worker, run_worker_async
from authcache_middleware.cli.stopping import stopping
from authcache_middleware.queue import AsyncQueue, Queue
from authcache_middleware.runtime import is_async_callable

__all__ = ["function_named", "work"]


def function_named(target: str) -> Callable[..., Any]:
    """The function that ``module:name`` names, looked for from the current directory too; or ``click.UsageError``."""
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise click.BadParameter("must be module:function", param_hint="SAVE_ACTIVITY")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise  # something that the module itself imports
        raise click.BadParameter(f"there is no module {exc.name}", param_hint="SAVE_ACTIVITY") from None
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise click.BadParameter(f"{module_name} has no function {path}", param_hint="SAVE_ACTIVITY")
    return found  # type: ignore[no-any-return]


def work(save: Callable[..., Any], url: str, name: str, *, consumer: str | None, as_json: bool, **options: Any) -> None:
    """Calls ``save`` for each batch until SIGINT or SIGTERM; what is under way is finished first."""
    with stopping() as is_stopped:
        click.echo(f"working on the queue {name}, until Ctrl-C", err=True)
        if is_async_callable(save):
            saved = asyncio.run(_work_async(AsyncQueue(url, name, **options), save, is_stopped, consumer))
        else:
            queue = Queue(url, name, **options)
            try:
                saved = run_worker(queue, save, until=is_stopped, consumer=consumer)
            finally:
                queue.close()
    click.echo(json.dumps({"saved": saved}) if as_json else f"{saved} batches saved")


async def _work_async(
    queue: AsyncQueue, save: Callable[..., Any], is_stopped: Callable[[], bool], consumer: str | None
) -> int:
    async with queue:
        return await run_worker_async(queue, save, until=is_stopped, consumer=consumer)
