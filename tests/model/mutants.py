"""The fences, each taken away in a copy of the package: what is left must be found out by the check.

A mutant is a name, then either a weakness of the model's Redis, or texts of one file and what takes their places.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import authcache_middleware

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mutant:
    file: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    weak: str = ""


_FRESH = "not reading.is_marked and reading.epoch == self._epoch and now <= self.trusted_until"
_LOGOUT = (
    "            for mark in marks:\n",
    "        await self.cached(subject, by=by, mark=marks[0])\n",
)
_REVOKE = (
    "            await self._store.revoke_before(key, lifetime=self._user_lifetime, leeway=self.leeway)\n",
    '        await self.cached(subject, by="revoke_user")\n',
)

MUTANTS = {
    "compare-and-set is a set": Mutant(weak="set"),
    "a claim has no suffix of its own": Mutant(weak="claim"),
    "a flight answers whoever joined": Mutant(
        "cache/flow.py", (("case Answered(record, stamp) if seat.ticket < stamp:", "case Answered(record, stamp):"),)
    ),
    "a refused load answers at once": Mutant(
        "cache/flow.py", (("if refusals > 1 and seat.ticket < stamp:", "if True:"),)
    ),
    "the fill is stamped after it": Mutant(
        "cache/flow.py",
        (("return Answered(record, stamp) if filled", "return Answered(record, flight.commands + 1) if filled"),),
    ),
    "memory keeps what is marked": Mutant(
        "cache/memory.py", ((_FRESH, _FRESH.replace("not reading.is_marked", "True")),)
    ),
    "memory answers without trust": Mutant(
        "cache/memory.py",
        (("        if now > self.trusted_until:\n            return None\n        entry", "        entry"),),
    ),
    "one link up is enough": Mutant(
        "cache/memory.py", (("min(self._heard.values(), default", "max(self._heard.values(), default"),)
    ),
    "an answer credits its own PING": Mutant(
        "cache/heartbeat.py",
        (("credited, self._before = self._before, answered", "credited = self._before = answered"),),
    ),
    "a PONG credits the moment it is read": Mutant(
        "cache/link.py",
        (("self._memory.credit(self._primary.name, credited)", "self._memory.credit(self._primary.name, now)"),),
    ),
    "a new link does not empty memory": Mutant(
        "cache/link.py",
        (("            self._memory.flush()\n            await self._hear", "            await self._hear"),),
    ),
    "FLUSHALL does not empty memory": Mutant(
        "cache/link.py", (("            self._memory.flush()\n            return []", "            return []"),)
    ),
    "the DEL goes before what is revoked": Mutant(
        "sessions/revocation.py",
        tuple(edit for write, drop in (_LOGOUT, _REVOKE) for edit in ((drop, ""), (write, f"    {drop}{write}"))),
    ),
    "the DEL goes before the session that begins": Mutant(
        "sessions/logins.py",
        (
            ('                await self._revoker.cached(subject, by="login", mark=mark)\n', ""),
            (
                "            begun = await self._store",
                '            await self._revoker.cached(subject, by="login")\n            begun = await self._store',
            ),
        ),
    ),
    "memory refuses whom it does not know": Mutant(
        "users/policy.py", (('return verdict != "session"', "return True"),)
    ),
    "who knows of no sessions is believed": Mutant(
        "cache/flow.py", (("if self._needs_sessions and record.revocations.sessions is None:", "if False:"),)
    ),
    "the session that makes room is not revoked": Mutant(weak="end"),
    "there is one session more than may be": Mutant(
        "sessions/logins.py", (("                most=self._most,\n", "                most=self._most + 1,\n"),)
    ),
    "one's own memory is not dropped": Mutant(
        "sessions/revocation.py", (("            self._forget(key)", "            pass"),)
    ),
}
"""Every one of them lets somebody in who has been thrown out, or keeps somebody out who has just come."""


PACKAGE = Path(authcache_middleware.__file__).parent


def edited(mutant: Mutant) -> str:
    """The text of its file with the fence taken away."""
    text = (PACKAGE / mutant.file).read_text()
    for old, new in mutant.edits:
        assert text.count(old) == 1, f"{mutant.file} has changed: {old!r} stands there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def plant(mutant: Mutant, where: Path) -> None:
    """A copy of the package with the mutant in it."""
    package = where / "authcache_middleware"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant.file:
        (package / mutant.file).write_text(edited(mutant))


def hunt(mutant: Mutant, where: Path, seeds: int) -> subprocess.CompletedProcess[str]:
    """Play so many seeds against a mutant, in a process of its own; without replicas, which none of them is about."""
    plant(mutant, where)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= {"PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(HERE / "play.py"), "0", str(seeds), "--weak", mutant.weak, "--replicas", "0"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
