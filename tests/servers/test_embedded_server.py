"""The embedded server: its life, what it forgets and what it leaves behind."""

import os
from pathlib import Path

import pytest
import redis

from authcache_middleware.testing.server import EmbeddedServer, free_ports


def asked(server: EmbeddedServer, *command: object) -> object:
    with redis.Redis(port=server.port, protocol=3, socket_timeout=0.3, retry=None) as client:
        return client.execute_command(*command)


def home(server: EmbeddedServer) -> Path:
    return Path(asked(server, "CONFIG", "GET", "dir")[b"dir"].decode())


def test_it_keeps_its_port_and_forgets_its_data():
    with EmbeddedServer() as server:
        asked(server, "SET", "a", "1")
        url = server.url
        server.stop()
        assert not server.running
        server.start()
        assert (server.url, server.running, asked(server, "GET", "a")) == (url, True, None)


def test_what_was_saved_outlives_a_kill_and_not_a_stop():
    with EmbeddedServer() as server:
        asked(server, "SET", "a", "1")
        asked(server, "SAVE")
        server.kill()
        server.start()
        assert asked(server, "GET", "a") == b"1"
        server.stop()
        server.start()
        assert asked(server, "GET", "a") is None


def test_a_frozen_server_is_silent_and_runs_on():
    with EmbeddedServer() as server:
        server.freeze()
        assert not server.running
        with pytest.raises(redis.TimeoutError):
            asked(server, "PING")
        server.thaw()
        assert server.running
        assert asked(server, "PING") is True


@pytest.mark.parametrize("end", ["stop", "kill", "freeze"])
def test_nothing_is_left_of_it(end):
    with EmbeddedServer() as server:
        pid = asked(server, "INFO")["process_id"]
        directory = home(server)
        assert directory.is_dir()
        getattr(server, end)()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not directory.exists()


def test_a_server_that_is_dropped_takes_its_directory_along():
    server = EmbeddedServer()
    server.start()
    directory = home(server)
    server.kill()
    assert directory.exists()
    del server
    assert not directory.exists()


def test_settings_are_those_of_valkey_conf():
    with EmbeddedServer(
        maxmemory="5mb", appendonly=True, aclfile="", client_output_buffer_limit="pubsub 1mb 1mb 5"
    ) as server:
        for name, setting in {"maxmemory": b"5242880", "appendonly": b"yes", "save": b""}.items():
            assert asked(server, "CONFIG", "GET", name)[name.encode()] == setting
    with EmbeddedServer(requirepass="sesame") as server, pytest.raises(redis.AuthenticationError):
        asked(server, "PING")


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="no-such-setting"):
        EmbeddedServer(no_such_setting=1).start()
    with EmbeddedServer() as server, pytest.raises(RuntimeError, match="before"):
        server.start()


def test_the_same_binary_is_a_sentinel_that_remembers_what_it_watches():
    with EmbeddedServer(sentinel=True) as server:
        asked(server, "SENTINEL", "MONITOR", "main", "127.0.0.1", 9, 1)
        assert asked(server, "ROLE") == [b"sentinel", [b"main"]]
        server.kill()
        server.start()
        assert asked(server, "ROLE") == [b"sentinel", [b"main"]]


def test_free_ports_are_all_different():
    assert len(set(free_ports(50))) == 50
