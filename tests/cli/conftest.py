"""Demos as subprocesses, each with an empty directory for its files and a mark on every process it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GUARD_S = 60


class Demo:
    """One ``authcache demo``; ``lines`` is what it has printed."""

    def __init__(self, files: Path, *arguments: str) -> None:
        self.files = files
        self.lines: list[str] = []
        self.mark = uuid.uuid4().hex
        environment = {**os.environ, "TMPDIR": str(files), "AUTHCACHE_TEST_MARK": self.mark, "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [f"{sys.exec_prefix}/bin/authcache", "demo", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._guard = threading.Timer(GUARD_S, self.process.kill)
        self._guard.start()

    def read_until(self, text: str) -> str:
        """The first line with this text in it."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return line.rstrip("\n")
        pytest.fail(f"{text!r} was never printed:\n{self.output}")

    def end(self, number: signal.Signals | None = None) -> int:
        """The exit status, after everything was read."""
        if number is not None:
            self.process.send_signal(number)
        self.lines += [line.rstrip("\n") for line in self.process.stdout]
        return self.process.wait()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def left_behind(self) -> list[str]:
        """Files, and processes that carry the mark."""
        return [str(path) for path in self.files.iterdir()] + marked(self.mark)

    def close(self) -> None:
        self._guard.cancel()
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()


def marked(mark: str) -> list[str]:
    """The running processes that were started with this mark in their environment; where there is no /proc, none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended, or is not ours
            continue
    return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(*arguments: str) -> Demo:
        started.append(Demo(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()
