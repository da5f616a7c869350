"""One question at a time for a key, whatever becomes of the thread that asks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from faces import living, wait_until

from authcache_middleware.errors import UnavailableError
from authcache_middleware.runtime import InTurn, finish, in_turn

PATIENCE = 20.0


class Asked:
    """Answers with the number of the question when it is let; what is raised instead may be said beforehand."""

    def __init__(self) -> None:
        self.questions: list[str] = []
        self.lets = threading.Semaphore(0)
        self.failures: dict[int, BaseException] = {}

    async def __call__(self, key: str) -> int:
        self.questions.append(key)
        number = len(self.questions)
        assert self.lets.acquire(timeout=PATIENCE)
        if number in self.failures:
            raise self.failures[number]
        return number


class Threads:
    def __init__(self, turns: InTurn[int]) -> None:
        self.turns = turns
        self.found: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []

    def ask(self, name: str, key: str = "a") -> None:
        def run() -> None:
            try:
                self.found[name] = finish(self.turns.get(key))
            except BaseException as exc:
                self.found[name] = exc

        self.threads.append(threading.Thread(target=run, name=name))
        self.threads[-1].start()

    def waiting(self, key: str = "a") -> int:
        """How many wait for the next question, its asker too."""
        question = self.turns._next.get(key)
        if question is None:
            return 0
        return sum(len(cell._filled._cond._waiters) for cell in (question.may_be_asked, question.is_answered))

    def join(self) -> dict[str, Any]:
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads)
        assert not self.turns._next, "nothing is left in the table"
        return self.found


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def threads(asked: Asked) -> Iterator[Threads]:
    threads = Threads(InTurn(asked))
    yield threads
    asked.lets.release(100)
    threads.join()


def three_behind_one(threads: Threads, asked: Asked) -> None:
    threads.ask("first")
    wait_until(lambda: asked.questions)
    for name in ("second", "third", "fourth"):
        threads.ask(name)
    wait_until(lambda: threads.waiting() == 3)


def test_one_alone_asks(threads: Threads, asked: Asked) -> None:
    asked.lets.release(2)
    assert [finish(threads.turns.get("a")) for _ in range(2)] == [1, 2]


def test_who_comes_meanwhile_shares_the_next_question(threads: Threads, asked: Asked) -> None:
    three_behind_one(threads, asked)
    assert asked.questions == ["a"]
    asked.lets.release(2)
    assert threads.join() == {"first": 1, "second": 2, "third": 2, "fourth": 2}


def test_a_question_on_its_way_takes_in_nobody(threads: Threads, asked: Asked) -> None:
    three_behind_one(threads, asked)
    asked.lets.release()
    wait_until(lambda: len(asked.questions) == 2)
    threads.ask("late")
    wait_until(lambda: threads.waiting() == 1)
    asked.lets.release(2)
    assert threads.join() == {"first": 1, "second": 2, "third": 2, "fourth": 2, "late": 3}


def test_other_keys_do_not_wait(threads: Threads, asked: Asked) -> None:
    threads.ask("first")
    wait_until(lambda: asked.questions)
    threads.ask("other", "b")
    assert wait_until(lambda: asked.questions == ["a", "b"])


def test_what_is_raised_is_shared_by_those_who_shared_the_question(threads: Threads, asked: Asked) -> None:
    asked.failures = {1: ValueError(), 2: UnavailableError("gone")}
    three_behind_one(threads, asked)
    asked.lets.release(2)
    found = threads.join()
    raised = [found[name] for name in ("second", "third", "fourth")]
    assert [type(found["first"]), *map(type, raised)] == [ValueError, *[UnavailableError] * 3]
    assert len(set(map(id, raised))) == 3, "each has one of his own"


@pytest.mark.parametrize("number", [1, 2])
def test_who_is_killed_while_he_asks_leaves_it_to_others(threads: Threads, asked: Asked, number: int) -> None:
    asked.failures[number] = SystemExit()
    three_behind_one(threads, asked)
    asked.lets.release(4)
    found = threads.join()
    assert sum(isinstance(each, SystemExit) for each in found.values()) == 1
    assert sum(isinstance(each, int) for each in found.values()) == 3


def test_nobody_waits_for_ever(threads: Threads, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_turn, "_LONGEST", 0.05)
    three_behind_one(threads, asked)
    wait_until(lambda: len(asked.questions) == 4)  # each of them by himself
    asked.lets.release(4)
    assert sorted(threads.join().values()) == [1, 2, 3, 4]


def test_who_gives_up_in_the_very_moment_of_his_turn_passes_it_on(threads: Threads) -> None:
    turns, question = threads.turns, in_turn._Question()
    turns._next["a"] = None  # as the asker before him has left it
    turns._give_up("a", question)
    assert not turns._next


def test_many_threads_for_one_cold_user_ask_redis_a_few_times(server: Any, prefix: str) -> None:
    began, loads = threading.Barrier(60), []

    def load(user_id: str) -> dict[str, str]:
        loads.append(user_id)
        threading.Event().wait(0.1)
        return {"id": user_id}

    patient = {"store_timeout": 10.0, "connect_timeout": 10.0, "loader_timeout": 20.0, "deadline": 100.0}
    with living("blocking", server.url, prefix=prefix, load_user=load, **patient) as live:
        live.enter("another")
        loads.clear()

        def enter() -> None:
            began.wait(PATIENCE)
            live.enter("cold")

        with redis.Redis.from_url(server.url) as client:
            client.config_resetstat()
            running = [threading.Thread(target=enter) for _ in range(60)]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join(PATIENCE)
            calls = {name: each["calls"] for name, each in client.info("commandstats").items()}
    assert loads == ["cold"]
    assert calls["cmdstat_get"] - calls["cmdstat_eval"] <= 10  # each script asks once itself
