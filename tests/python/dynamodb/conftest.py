"""What every test has at hand: clients of a running cluster, and tables of its own.

Environment: TOMBOLO_CLUSTER is the cluster.json of a development cluster; TOMBOLO_PROGRAM, where
credentials are made and revoked, the program itself. A file of tests talks to one node of the first
region, chosen by the file's name, so that all zones meet all kinds of requests.
"""

import zlib

import pytest

import kit


@pytest.fixture(scope="session")
def cluster():
    return kit.Cluster.from_environment()


@pytest.fixture(scope="module")
def node(cluster, request):
    nodes = cluster.nodes
    return nodes[zlib.crc32(request.module.__name__.encode()) % len(nodes)]


@pytest.fixture(scope="module")
def db(cluster, node):
    """DynamoDB through the AWS SDK. The SDK's own check of parameters is off: the service's is tested."""
    return cluster.client("dynamodb", node)


@pytest.fixture(scope="module")
def streams(cluster, node):
    return cluster.client("dynamodbstreams", node)


@pytest.fixture(scope="module")
def wire(cluster, node):
    """Signed requests with any bytes as body, where the SDK would not send them."""
    return kit.Wire(cluster, node)


@pytest.fixture(scope="module")
def make(db, request):
    """Makes tables that are this file's own and are deleted after it."""
    maker = kit.Tables(db, request.module.__name__)
    yield maker
    maker.delete_all()


@pytest.fixture(scope="module")
def simple(make):
    """A table with a partition key `pk` of type S."""
    return make(kit.HASH)


@pytest.fixture(scope="module")
def ranged(make):
    """A table with a partition key `pk` of type S and a sort key `sk` of type N."""
    return make(kit.RANGED)
