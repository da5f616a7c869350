"""TLS: links and looks use the settings of the client that the commands use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio.sentinel
import redis.sentinel
from faces import wait_until
from live import Live, living
from proxies import TlsProxy
from servers.on_groups import client_of
from servers.sentinel_group import SentinelGroup
from servers.valkey_cluster import Cluster

from authcache_middleware import UnavailableError
from authcache_middleware.testing.server import EmbeddedServer

PATIENT = {"store_timeout": 10.0, "deadline": 30.0, "max_staleness": 4.0}  # many handshakes, both ends of them here


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


def load(user_id: str) -> dict:
    return {"id": user_id}


@contextlib.contextmanager
def behind_tls(servers: list[EmbeddedServer], directory: Path) -> Iterator[tuple[dict[int, int], str]]:
    """From each server's port to that of its proxy, and the file of all their certificate authorities."""
    with contextlib.ExitStack() as running:
        proxies = {server.port: running.enter_context(TlsProxy(server.port)) for server in servers}
        authorities = directory / "authorities.pem"
        authorities.write_text("".join(Path(proxy.ca_certs).read_text() for proxy in proxies.values()))
        yield {port: proxy.port for port, proxy in proxies.items()}, str(authorities)


def hears(live: Live, server: EmbeddedServer, group: Any = None) -> None:
    """A user is remembered; a ``DEL`` at the server itself is heard."""
    live.remember()
    if group is None:
        with redis.Redis(port=server.port) as other:
            assert other.delete(live.face.key("1")) == 1
    else:
        assert group.ask(server, "DEL", live.face.key("1")) == 1
    wait_until(lambda: live.recall() is None)
    assert live.enter()["id"] == "1"
    assert live.stats().links_lost == 0


def test_one_server(kind, server, prefix, tmp_path) -> None:
    with behind_tls([server], tmp_path) as (ports, authorities):
        url = f"rediss://localhost:{ports[server.port]}?ssl_ca_certs={authorities}"
        with living(kind, url, prefix=prefix, load_user=load, connect_timeout=2.0, **PATIENT) as live:
            hears(live, server)


def test_a_certificate_that_nobody_vouches_for_is_refused(kind, server, prefix, tmp_path) -> None:
    with behind_tls([server], tmp_path) as (ports, _):
        url = f"rediss://localhost:{ports[server.port]}"
        with living(kind, url, prefix=prefix, load_user=load, connect_timeout=2.0, **PATIENT) as live:
            with pytest.raises(UnavailableError):
                live.enter()
            assert not live.is_trusted()


@pytest.mark.slow
def test_a_cluster(kind, cluster: Cluster, prefix, tmp_path) -> None:
    with behind_tls(cluster.servers, tmp_path) as (ports, authorities):
        source = client_of(
            kind,
            cluster,
            socket_timeout=10.0,
            socket_connect_timeout=10.0,
            ports=ports,
            ssl=True,
            ssl_ca_certs=authorities,
            address_remap=lambda address: (address[0], ports.get(address[1], address[1])),
        )
        with living(kind, source, prefix=prefix, load_user=load, **PATIENT) as live:
            hears(live, cluster.owner(cluster.slot(live.face.key("1"))), cluster)


@pytest.mark.slow
def test_what_sentinels_name(kind, group: SentinelGroup, prefix, tmp_path) -> None:
    with behind_tls(group.data, tmp_path) as (ports, authorities):
        module: Any = redis.asyncio.sentinel if kind == "async" else redis.sentinel

        class Mapped(module.SentinelManagedSSLConnection):  # type: ignore[misc, name-defined]
            """Goes to the proxy in front of the server that the Sentinels name."""

            def connect_to(self, address: tuple[str, int]) -> Any:
                return super().connect_to((address[0], ports.get(address[1], address[1])))

        source = client_of(kind, group, primary={"connection_class": Mapped, "ssl_ca_certs": authorities})
        with living(kind, source, prefix=prefix, load_user=load, **PATIENT) as live:
            hears(live, group.primary(), group)
