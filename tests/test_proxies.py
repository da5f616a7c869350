"""The proxies hold back, cut and refuse what they should, and lose nothing else."""

import contextlib
import errno
import gc
import os
import socket
import socketserver
import ssl
import struct
import threading

import pytest
import redis
import redis.asyncio
from faces import wait_until
from proxies import DOWN, UP, StallingProxy, TlsProxy

from authcache_middleware.testing.server import free_port

BYTES = os.urandom(300_000)


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while chunk := self.request.recv(65536):
                self.server.heard += len(chunk)
                self.request.sendall(chunk)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    heard = 0


@pytest.fixture
def echo():
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def proxy(echo):
    with StallingProxy(echo.server_address[1]) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy):
    with connected(proxy) as connection:
        assert echoed(connection, b"hello") == b"hello"
        yield connection


def connected(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def received(connection, length):
    parts = b""
    while len(parts) < length and (part := connection.recv(65536)):
        parts += part
    return parts


def echoed(connection, sent):
    connection.sendall(sent)
    return received(connection, len(sent))


def is_silent(connection):
    """Nothing has come, nor comes within the time in which it otherwise would many times over."""
    connection.settimeout(0.1)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)
    return False


def test_all_bytes_come_through_both_ways(proxy, connection):
    sender = threading.Thread(target=connection.sendall, args=(BYTES,))
    sender.start()
    assert received(connection, len(BYTES)) == BYTES
    sender.join(10)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b"", "the end comes through, too"
    wait_until(lambda: proxy.connections == 0)


@pytest.mark.parametrize(("directions", "heard"), [((), 0), ((UP, DOWN), 0), ((UP,), 0), ((DOWN,), 5)])
def test_a_stall_holds_back_and_keeps(proxy, connection, echo, directions, heard):
    before = echo.heard
    proxy.stall(*directions)
    connection.sendall(b"later")
    assert is_silent(connection)
    wait_until(lambda: echo.heard - before == heard)
    proxy.resume()
    assert received(connection, 5) == b"later"


@pytest.mark.parametrize("sent", [b"later", b""], ids=["bytes", "the end alone"])
def test_a_stalled_proxy_lets_connect_and_holds_even_the_end_back(proxy, sent):
    proxy.stall()
    with connected(proxy) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert is_silent(connection)
        proxy.resume()
        assert received(connection, len(sent) + 1) == sent


def test_a_cut_resets_and_loses_what_was_held_back(proxy, connection, echo):
    before = echo.heard
    proxy.stall()
    connection.sendall(b"never")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert proxy.connections == 0
    proxy.resume()
    with connected(proxy) as again:
        assert echoed(again, b"hello") == b"hello"
    assert echo.heard - before == 5


def test_refusing_spares_who_is_connected(proxy, connection):
    url = proxy.url
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    assert echoed(connection, b"still") == b"still"
    proxy.accept()
    assert proxy.url == url
    with connected(proxy) as again:
        assert echoed(again, b"hello") == b"hello"


def test_a_target_that_is_not_there_resets():
    # it may come while the connection is still being made
    with StallingProxy(free_port()) as proxy, pytest.raises(ConnectionResetError), connected(proxy) as connection:
        connection.recv(1)


def test_a_client_that_resets_leaves_no_connection_and_no_complaint(echo, caplog):
    with StallingProxy(echo.server_address[1]) as proxy:
        with connected(proxy) as connection:
            assert echoed(connection, b"hello") == b"hello"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: proxy.connections == 0)
    gc.collect()  # asyncio complains of a task when it is collected
    assert not caplog.records


def test_nothing_is_left_of_it(echo):
    before = threading.active_count()
    with StallingProxy(echo.server_address[1]) as proxy, connected(proxy) as connection:
        assert echoed(connection, b"hello") == b"hello"
        proxy.stall()
    assert threading.active_count() <= before + 1, "only the echo's thread may still be ending"
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)


# TLS


@pytest.fixture
def tls(server):
    with TlsProxy(server.port) as proxy:
        yield proxy


def test_a_blocking_client_that_trusts_the_ca_is_served(tls, prefix):
    with redis.Redis.from_url(tls.url, ssl_ca_certs=tls.ca_certs) as client:
        client.set(prefix, BYTES)
        assert client.get(prefix) == BYTES


async def test_an_asyncio_client_that_trusts_the_ca_is_served(tls, prefix):
    async with redis.asyncio.Redis.from_url(f"{tls.url}?ssl_ca_certs={tls.ca_certs}") as client:
        await client.set(prefix, BYTES)
        assert await client.get(prefix) == BYTES


def test_a_client_that_does_not_know_the_ca_refuses(tls):
    with redis.Redis.from_url(tls.url, retry=None) as client:
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            client.ping()


def test_another_name_is_not_certified(tls):
    context = ssl.create_default_context(cafile=tls.ca_certs)
    with connected(tls) as connection, pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        context.wrap_socket(connection, server_hostname="redis.example")


def test_a_client_without_tls_gets_nothing(tls):
    with redis.Redis(port=tls.port, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_tls_stalls_and_is_cut(tls):
    context = ssl.create_default_context(cafile=tls.ca_certs)
    with connected(tls) as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
        tls.stall()
        connection.sendall(b"PING\r\n")
        assert is_silent(connection)
        tls.resume()
        assert received(connection, 7) == b"+PONG\r\n"
        tls.cut()
        wait_until(lambda: connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)
        assert connection.recv(1) == b""


def test_a_handshake_that_never_comes_keeps_no_proxy_open(server):
    tls = TlsProxy(server.port)
    tls.start()
    with connected(tls) as connection:
        assert is_silent(connection)
        tls.close()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_handshake_can_be_stalled_by_a_proxy_in_front(tls):
    with StallingProxy(tls.port) as proxy:
        proxy.stall()
        with redis.Redis(
            port=proxy.port, ssl=True, ssl_ca_certs=tls.ca_certs, socket_timeout=0.2, retry=None
        ) as client:
            with pytest.raises(redis.TimeoutError):
                client.ping()
