"""What a worker of gunicorn serves: a Flask application, and around it a word on each answer of who gave it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from faces import headers, settings, token_for
from flask import Flask

from authcache_middleware import AuthCache
from authcache_middleware.flask import AuthCacheMiddleware, current_user

PAUSE = 0.02
"""Each request lasts so long at least, so that those who come meanwhile go to the other worker."""


def load_user(user_id: str) -> dict[str, Any]:
    time.sleep(0.01)
    return {"id": user_id, "name": Path(os.environ["ROW"]).read_text()}


auth = AuthCache(
    os.environ["REDIS"],
    load_user=load_user,
    **settings(
        prefix=os.environ["PREFIX"],
        max_staleness=float(os.environ["MAX_STALENESS"]),
        store_timeout=float(os.environ["STORE_TIMEOUT"]),
        connect_timeout=float(os.environ["STORE_TIMEOUT"]),
        deadline=20.0,
        leeway=0.0,
    ),
)
if os.environ.get("WARM"):  # in the master: what it has opened must not be shared by its children
    auth.authenticate(headers(token_for("1")))

app = Flask(__name__)
AuthCacheMiddleware.init_app(app, auth)


@app.get("/")
def me() -> str:
    return current_user().name


class Ticker:
    """Ticks in a thread of this process (a greenlet, under gevent), and knows the longest time between two ticks."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.process = os.getpid()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(0.005)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now


ticker: Ticker | None = None


def application(environ, start_response):
    global ticker
    if ticker is None or ticker.process != os.getpid():
        ticker = Ticker()

    def start(status, answer_headers, exc_info=None):
        stats = auth.stats()
        said = {"Pid": os.getpid(), "Hits": stats.memory_hits, "Trusted": stats.memory_trusted, "Gap": ticker.longest}
        return start_response(status, [*answer_headers, *((f"X-{k}", str(v)) for k, v in said.items())], exc_info)

    time.sleep(PAUSE)
    return app(environ, start)
