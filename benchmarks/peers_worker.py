"""The fresh process that measures, in the environment of one group of peers or in that of whoever runs ``peers.py``.

It prints one line of JSON. It is started by ``peers.py``; the server runs elsewhere and costs it nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import peers_faces
from measured import Case, measure, versions
from peers_counted import KINDS, requests, room, storm
from peers_ours import Ours
from peers_requests import SUBJECT, Peer, Stage, asgi_status, bare_asgi, bare_wsgi, wsgi_status

_OWN = ("redis", "pyjwt", "msgpack", "cryptography", "starlette", "fastapi", "flask")


_TRIAL: dict[str, int] = {"tokens": 16, "cold": 4}
_TRIAL_SLICE_S = 0.0005


def _measure_ours(url: str, rounds: int, *, trial: bool) -> dict[str, Any]:
    with asyncio.Runner() as runner:
        ours = runner.run(_made(url, **(_TRIAL if trial else {})))
        others, missing = ours.framework_cases()
        slices = {"slice_s": _TRIAL_SLICE_S} if trial else {}
        costs = measure([*ours.cases(), *others], rounds, runner, **slices)
        runner.run(ours.aclose())
    return {"costs": costs, "skipped": missing, "versions": versions(*_OWN)}


async def _made(url: str, **amounts: int) -> Ours:
    return Ours(url, **amounts)


def _measure_peers(url: str, rounds: int, names: Sequence[str], distributions: Sequence[str]) -> dict[str, Any]:
    modules = {name: importlib.import_module(f"peers_apps.{name}") for name in names}
    (protocol,) = {module.PROTOCOL for module in modules.values()}
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        stage_auth: Any = peers_faces.ours(url) if protocol == "asgi" else peers_faces.ours_blocking(url)
        stage = Stage(url, Path(directory), stage_auth)
        peers = {name: _peer(module.make, stage, runner) for name, module in modules.items()}
        for name, peer in peers.items():
            _refuses_and_admits(name, peer, protocol, runner)
        costs = measure(_peer_cases(peers, protocol, stage_auth), rounds, runner)
        closing = stage_auth.aclose() if protocol == "asgi" else None
        if closing is not None:
            runner.run(closing)
    shown = {name: module.NAME for name, module in modules.items()}
    return {"costs": costs, "names": shown, "versions": versions(*_OWN, *distributions)}


def _peer(make: Any, stage: Stage, runner: asyncio.Runner) -> Peer:
    made = make(stage)
    if inspect.iscoroutine(made):
        made = runner.run(made)
    assert isinstance(made, Peer)  # noqa: S101 - a module of peers_apps
    return made


def _peer_cases(peers: dict[str, Peer], protocol: str, auth: Any) -> list[Case]:
    make: Any = peers_faces.asgi_case if protocol == "asgi" else peers_faces.wsgi_case
    bare: Any = bare_asgi if protocol == "asgi" else bare_wsgi
    token = peers_faces.token_of(SUBJECT)
    cases = [make("bare", bare, token)]
    for name, peer in peers.items():
        cases += [
            make(f"{name}: plain", peer.plain, token),
            make(f"{name}: peer", peer.peer, peer.token),
            make(f"{name}: ours", peer.ours, token, auth),
        ]
    return cases


def _refuses_and_admits(name: str, peer: Peer, protocol: str, runner: asyncio.Runner) -> None:
    """A peer that lets everybody in, or nobody, is not to be compared with."""

    def status(app: Any, token: str | None) -> int:
        if protocol == "asgi":
            return runner.run(asgi_status(app, token))
        return wsgi_status(app, token)

    good = peers_faces.token_of(SUBJECT)
    well, refused = HTTPStatus.OK, HTTPStatus.UNAUTHORIZED
    found = {
        "plain": status(peer.plain, None) == well,
        "peer admits": status(peer.peer, peer.token) == well,
        "peer refuses": status(peer.peer, peer.token[:-8] + "AAAAAAAA") != well,
        "ours admits": status(peer.ours, good) == well,
        "ours refuses": status(peer.ours, None) == refused,
    }
    if not all(found.values()):
        raise RuntimeError(f"{name}: {', '.join(key for key in found if not found[key])}: not so")


def _parsed() -> argparse.Namespace:
    """The arguments; argparse, since click is not everywhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name in ("ours", "peers", "storm"):
        kind = kinds.add_parser(name)
        kind.add_argument("url")
        kind.add_argument("rounds", type=int)
    kinds.choices["ours"].add_argument("--trial", action="store_true", help="so little that it says nothing")
    kinds.choices["peers"].add_argument("names", nargs="+")
    kinds.choices["peers"].add_argument("--distribution", action="append", default=[])
    kind = kinds.add_parser("requests")
    kind.add_argument("of", choices=KINDS)
    kind.add_argument("count", type=int)
    kind = kinds.add_parser("room")
    kind.add_argument("users", type=int)
    kind.add_argument("tokens", type=int)
    return parser.parse_args()


def main() -> None:
    """One line of JSON."""
    logging.getLogger("authcache_middleware").setLevel(logging.ERROR)
    given = _parsed()
    found: Any = {}
    match given.kind:
        case "ours":
            found = _measure_ours(given.url, given.rounds, trial=given.trial)
        case "peers":
            found = _measure_peers(given.url, given.rounds, given.names, given.distribution)
        case "storm":
            found = [asdict(asyncio.run(storm(given.url))) for _ in range(given.rounds)]
        case "requests":
            asyncio.run(requests(given.of, given.count))
        case "room":
            found = asdict(asyncio.run(room(given.users, given.tokens)))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
