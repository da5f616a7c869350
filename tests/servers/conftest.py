"""One cluster and one group of Sentinels for all tests here that leave them as they were."""

import pytest
from servers.sentinel_group import SentinelGroup
from servers.valkey_cluster import Cluster


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as running:
        yield running


@pytest.fixture(scope="session")
def group():
    with SentinelGroup() as running:
        yield running
