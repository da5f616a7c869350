"""Who asks, and who ends and gives back access, all the while; each writes down what he did, and when."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

import httpx
from faces import token_for
from faults.history import NO_ANSWER, SOMEBODY_ELSE, History, Request, Shut, Valid
from faults.world import USERS, Service, World

RATE = 45.0
"""Requests a second that each service is sent, whether or not it has answered those before."""
MOST_WAITING = 80
PATIENCE = 20.0
ENDING_PATIENCE = 2.5
AFTERWARDS = 2.0


class Drivers:
    """Clients of all services. For one event loop; ``close`` waits until everything is answered."""

    def __init__(self, world: World, history: History, chance: random.Random) -> None:
        self.world = world
        self.history = history
        self.endings = self.failed_endings = 0
        self.fault_over = asyncio.Event()
        self.fault_over.set()
        self._chance = chance
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=30)
        self._clients = {
            name: httpx.AsyncClient(base_url=service.url, timeout=PATIENCE, limits=limits, trust_env=False)
            for name, service in world.services.items()
        }
        self._waiting: dict[str, set[asyncio.Task]] = {name: set() for name in world.services}
        self._tokens = {user: [self._token(user, 0)] for user in USERS}
        self._running: list[asyncio.Task] = []

    def start(self) -> None:
        self._running += [asyncio.create_task(self._change(user)) for user in USERS]
        self._running += [asyncio.create_task(self._ask_all(service)) for service in self.world.services.values()]

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        outcomes = await asyncio.gather(*self._running, return_exceptions=True)
        answers = await asyncio.gather(*set().union(*self._waiting.values()), return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()
        failed = [each for each in outcomes + answers if isinstance(each, Exception)]  # a cancellation is none
        if failed:
            raise ExceptionGroup("drivers", failed)

    async def state(self, service: Service) -> dict:
        return (await self._clients[service.name].get("/state")).json()

    async def ask(self, service: Service, user: str, number: int, token: str) -> Request:
        """One request, written down."""
        asked = Request(service.name, user, number, time.monotonic(), math.inf, NO_ANSWER)
        try:
            answer = await self._clients[service.name].get("/", headers={"Authorization": f"Bearer {token}"})
            asked.status = answer.status_code if answer.status_code != 200 or answer.text == user else SOMEBODY_ELSE
        except httpx.HTTPError as exc:
            asked.error = type(exc).__name__
        asked.ended = time.monotonic()
        self.history.requests.append(asked)
        return asked

    async def _ask_all(self, service: Service) -> None:
        waiting = self._waiting[service.name]
        while not service.is_dead:
            await asyncio.sleep(self._chance.expovariate(RATE))
            if len(waiting) < MOST_WAITING:
                user = self._chance.choice(USERS)
                tokens = self._tokens[user]
                # mostly the newest; those that were ended must stay so
                number = len(tokens) - 1 if self._chance.random() < 0.7 else self._chance.randrange(len(tokens))
                task = asyncio.create_task(self.ask(service, user, number, tokens[number]))
                waiting.add(task)
                task.add_done_callback(waiting.discard)

    # -- what is changed

    async def _change(self, user: str) -> None:
        """Let the user be, end his access, let him be refused for a while, give it back; again and again."""
        endings = [self._revoke, self._disable, *([self._log_out, self._replace] if self.world.sessions else [])]
        await self._log_in(user, 0)
        while True:
            await asyncio.sleep(self._chance.uniform(0.3, 2.0))
            await self._chance.choice(endings)(user)

    def _token(self, user: str, number: int) -> str:
        return token_for(user, claims={"sid": f"{user}-{number}"} if self.world.sessions else {})

    async def _log_in(self, user: str, number: int) -> float:
        """With this token he gets in from now on, wherever he asks; when that was so."""
        returned = time.monotonic()
        if self.world.sessions:
            returned, _ = await self._end("login", user, token=self._token(user, number))
        if number == len(self._tokens[user]):
            self._tokens[user].append(self._token(user, number))
        self.history.valid.append(Valid(user, number, time.monotonic()))
        return returned

    async def _log_out(self, user: str) -> None:
        number = len(self._tokens[user]) - 1
        self._is_valid_no_more(user)
        returned, _ = await self._end("logout", f"{user}/{user}-{number}")
        self.history.shut.append(Shut(user, number, returned))
        await self._refused_for_a_while()
        await self._log_in(user, number + 1)

    async def _replace(self, user: str) -> None:
        """By another session, where there may be only one."""
        number = len(self._tokens[user]) - 1
        self._is_valid_no_more(user)
        self.history.shut.append(Shut(user, number, await self._log_in(user, number + 1)))
        await self._refused_for_a_while()

    async def _revoke(self, user: str) -> None:
        number = len(self._tokens[user]) - 1
        self._is_valid_no_more(user)
        returned, failures = await self._end("revoke", user)
        self.history.shut.append(Shut(user, number, returned))
        cutoff = math.ceil(time.time())
        await self._refused_for_a_while()
        if failures:
            # One that failed may be carried out later all the same, by the server's clock of then: it would end the
            # login that comes now.
            await self.fault_over.wait()
            await asyncio.sleep(AFTERWARDS)
            cutoff = math.ceil(time.time())
        while int(time.time()) <= cutoff:  # as the token's iat will be
            await asyncio.sleep(0.05)
        await self._log_in(user, number + 1)

    async def _disable(self, user: str) -> None:
        self._is_valid_no_more(user)
        self.world.database.enable(user, is_active=False)
        returned, _ = await self._end("invalidate", user)
        shut = Shut(user, None, returned)
        self.history.shut.append(shut)
        await self._refused_for_a_while()
        shut.opened = time.monotonic()
        self.world.database.enable(user, is_active=True)
        await self._end("invalidate", user)
        known = time.monotonic() + self.history.max_staleness
        self.history.valid.append(Valid(user, len(self._tokens[user]) - 1, known))

    def _is_valid_no_more(self, user: str) -> None:
        now = time.monotonic()
        next(valid for valid in reversed(self.history.valid) if valid.user == user).until = now

    async def _refused_for_a_while(self) -> None:
        await asyncio.sleep(self.history.max_staleness + self._chance.uniform(0.3, 1.5))

    async def _end(self, what: str, who: str, token: str = "") -> tuple[float, int]:
        """Ask any service, until one of them says that it is done; when it was, and how many could not say so."""
        failures = 0
        while True:
            service = self._chance.choice(self.world.living)
            try:
                answer = await self._clients[service.name].post(
                    f"/{what}/{who}", timeout=ENDING_PATIENCE, headers={"X-Token": token}
                )
                if answer.status_code == 204:
                    self.endings += 1
                    return float(answer.headers["x-returned"]), failures
                assert answer.status_code == 503
            except httpx.HTTPError:
                pass
            failures += 1
            self.failed_endings += 1
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], Awaitable[bool]], *, guard: float) -> float:
    """Wait until the condition is true, ``guard`` seconds at most; the moment when it was."""
    end = time.monotonic() + guard
    while not await condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.02)
    return time.monotonic()
