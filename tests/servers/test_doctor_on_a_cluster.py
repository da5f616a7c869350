"""``authcache doctor --cluster``: each primary is looked at by keys of its own."""

from __future__ import annotations

import json

from click.testing import CliRunner

from authcache_middleware.cli.commands import authcache


def test_each_primary_of_a_cluster_is_fine_and_a_replica_is_none(cluster) -> None:
    primaries = cluster.primaries()
    for server in cluster.servers:
        ended = CliRunner().invoke(authcache, ["doctor", "--cluster", "--json", "--redis", server.url])
        found = [finding["name"] for finding in json.loads(ended.stdout)["findings"]]
        assert found == ([] if server in primaries else ["replica"])
