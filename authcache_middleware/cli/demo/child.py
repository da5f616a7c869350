"""One service as a process: started with its settings, asked for its port, and always ended."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from authcache_middleware.cli.demo.settings import Settings

__all__ = ["Child", "StageError"]

_START_S = 30.0
_STOP_S = 5.0
_LAST_LINES = 12


class StageError(Exception):
    """The demo cannot go on; the message says why."""


class Child:
    """A module of this package that runs in a Python of its own, out of reach of the terminal's Ctrl-C."""

    def __init__(self, name: str, module: str, settings: Settings, directory: Path) -> None:
        self.name = name
        self.cached = settings.cached
        self.url = ""
        self._module = module
        self._settings = settings
        self._log = directory / f"{module.rpartition('.')[2]}-{'cached' if settings.cached else 'baseline'}.log"
        self._process: Process | None = None

    async def spawn(self) -> None:
        """Starts the process, and does not wait for it."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, stdin=PIPE, stdout=PIPE, stderr=log, start_new_session=True
            )
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(self._settings.to_line().encode())

    async def ready(self) -> None:
        """Waits until requests are taken, 30 s at most; raises ``StageError``."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        try:
            async with asyncio.timeout(_START_S):
                told = json.loads(await self._process.stdout.readline() or b"{}")
                if not told:
                    await self._process.wait()
                    raise StageError(self.obituary())
        except TimeoutError:
            raise StageError(f"{self.name} has not started within {_START_S:.0f} s") from None
        if "error" in told:
            raise StageError(f"{self.name}: {told['error']}")
        self.url = f"http://127.0.0.1:{told['port']}"

    async def ended(self) -> None:
        """Returns when the process has ended."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Ends the process: told to, 5 s later killed. May be called in any state."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended, by itself or not."""
        return self._process is not None and self._process.returncode is not None

    def obituary(self) -> str:
        """How it ended, and the last it said."""
        status = None if self._process is None else self._process.returncode
        last = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        return f"{self.name} has ended with status {status}" + (f":\n{last}" if last else "")
