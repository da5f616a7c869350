"""The ways to wait: asyncio and blocking. The only place that knows asyncio, threads, and the time of day.

The flow is written once, as coroutines over a ``Runtime``. ``AsyncRuntime`` suspends them. ``BlockingRuntime`` never
does: it blocks the calling thread (or greenlet, where gevent has patched it) inside them, so that ``finish`` runs any
of them to its end with a single ``send``.
"""

from authcache_middleware.runtime.in_a_thread import BlockingPlaces, BlockingRuntime, cut_off
from authcache_middleware.runtime.in_turn import InTurn
from authcache_middleware.runtime.line import CutError, Gate, Line
from authcache_middleware.runtime.on_a_loop import AsyncPlaces, AsyncRuntime, at_most
from authcache_middleware.runtime.ports import (
    Background,
    Cell,
    Clock,
    Places,
    Runtime,
    Stop,
    SystemClock,
    Work,
    WorkClosedError,
    finish,
    is_async_callable,
)
from authcache_middleware.runtime.together import Together

__all__ = [
    "AsyncPlaces",
    "AsyncRuntime",
    "Background",
    "BlockingPlaces",
    "BlockingRuntime",
    "Cell",
    "Clock",
    "CutError",
    "Gate",
    "InTurn",
    "Line",
    "Places",
    "Runtime",
    "Stop",
    "SystemClock",
    "Together",
    "Work",
    "WorkClosedError",
    "at_most",
    "cut_off",
    "finish",
    "is_async_callable",
]
