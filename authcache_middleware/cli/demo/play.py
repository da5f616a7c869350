"""One run of the demo, from its options to its exit status."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from authcache_middleware.cli.demo.child import StageError
from authcache_middleware.cli.demo.plan import Plan
from authcache_middleware.cli.demo.report import Report
from authcache_middleware.cli.demo.stage import Stage, opened
from authcache_middleware.cli.demo.story import ADMIN, SERVED, tell

__all__ = ["play"]

_SIGNALLED = 128
_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def play(plan: Plan) -> int:
    """The exit status: 0, 1 where a claim did not hold or the demo could not go on, 128 and the signal that ended it.

    With ``serve`` a signal after the story is the usual end, and changes nothing.
    """
    return asyncio.run(_Run(plan).status())


class _Run:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._report = Report()
        self._signal: int | None = None
        self._verdict: int | None = None

    async def status(self) -> int:
        playing = asyncio.ensure_future(self._play())

        def stop(number: int) -> None:
            if self._signal is None:  # a second one must not interrupt the cleaning up
                self._signal = number
                playing.cancel()

        for number in _STOPS:
            with suppress(NotImplementedError):  # Windows: Ctrl-C cancels all the same
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            await playing
        except StageError as exc:
            self._report.trouble(str(exc))
            return 1
        except asyncio.CancelledError:
            if self._signal is None:
                raise
        if self._verdict is None:
            self._report.trouble("stopped, and everything with it")
            return _SIGNALLED + (self._signal or 0)
        return self._verdict

    async def _play(self) -> None:
        self._report.note("Starting Redis, a database with 1,000 users, and four services ...")
        async with opened(self._plan) as stage:
            for service in stage.services:
                self._report.note(f"{service.name} at {service.url}")
            await stage.watching(tell(stage, self._report, self._plan))
            self._verdict = self._report.verdict()
            if self._plan.serve:
                self._show_commands(stage)
                await stage.watching(asyncio.Event().wait())

    def _show_commands(self, stage: Stage) -> None:
        self._report.act("Both services keep running. Ctrl-C stops everything.")
        token, admin = stage.token(SERVED), stage.token(ADMIN, "admin")
        shown = [
            *(f"curl -i -H 'Authorization: Bearer {token}' {service.url}/me" for service in stage.services),
            f"curl -i -X POST -H 'Authorization: Bearer {token}' {stage.fastapi.url}/logout",
            f"curl -i -X POST -H 'Authorization: Bearer {admin}' {stage.flask.url}/users/{SERVED}/disable",
        ]
        for line in shown:
            self._report.command(line)
