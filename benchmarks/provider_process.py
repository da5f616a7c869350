"""An identity provider that publishes keys and can be stopped and killed, for ``provider.py``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from authcache_middleware.testing import issue_token
from authcache_middleware.testing.server import free_port

__all__ = ["Provider", "published"]

_STARTED_S = 20.0


class Provider:
    """Publishes keys from a process of its own, which can be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.publish("one")

    def publish(self, *kids: str) -> None:
        """These keys and no others."""
        for kid in kids:
            self.keys.setdefault(kid, ec.generate_private_key(ec.SECP256R1()))
        described = [{**ECAlgorithm.to_jwk(self.keys[kid].public_key(), as_dict=True), "kid": kid} for kid in kids]
        (self._folder / "jwks.json").write_text(json.dumps({"keys": described}), encoding="utf-8")

    def be(self, way: str) -> None:
        """Well, gone, or hanging: stopped, so that the system goes on taking connections for it."""
        if way == "gone":
            self.end()
        elif self._process is None:
            serve = ["-m", "http.server", str(self.port), "--bind", "127.0.0.1", "--directory", str(self._folder)]
            command, nowhere = [sys.executable, *serve], subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)  # noqa: S603
            self._wait_until_it_answers()
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP if way == "hanging" else signal.SIGCONT)

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + _STARTED_S
        while time.monotonic() < end:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/jwks.json", trust_env=False)
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return
        raise SystemExit("the provider did not start")

    def end(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def tokens(self, kid: str, count: int, now: float, *, published: bool = True) -> list[list[tuple[str, str]]]:
        """Headers with tokens of this key, each another; or each of a key of its own that nobody has."""
        key = self.keys[kid]
        names = [kid if published else f"unknown-{number}" for number in range(count)]
        made = [issue_token(key, algorithm="ES256", kid=name, now=now, lifetime=2 * 3600) for name in names]
        return [[("Authorization", f"Bearer {token}")] for token in made]


@contextmanager
def published() -> Iterator[Provider]:
    """A provider with one key, which ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider(Path(folder))
        try:
            yield provider
        finally:
            provider.end()
