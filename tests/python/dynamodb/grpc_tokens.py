"""Access keys on gRPC: the metadata `authorization: Bearer <access key>.<secret>`, at every router."""

import json
import os
import subprocess

import grpc
import pytest

from kit import eventually


def credentials(cluster, *arguments):
    command = [os.environ["TOMBOLO_PROGRAM"], "credentials", *arguments, "--admin", cluster.admin[0],
               "--region-key", cluster.region_key]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def pair(cluster):
    made = json.loads(credentials(cluster, "create", "--name", f"token-{os.getpid()}"))
    return made["access_key"], made["secret_key"]


def ask(endpoint, *authorization):
    """The code that ListTables ends with; an empty body is a request without parameters."""
    with grpc.insecure_channel(endpoint.removeprefix("http://")) as channel:
        call = channel.unary_unary("/tombolo.v1.Tables/ListTables")
        try:
            call(b"", metadata=[("authorization", value) for value in authorization], timeout=10)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()


def test_a_key_is_good_until_it_is_revoked(cluster, pair):
    access_key, secret = pair
    token = f"Bearer {access_key}.{secret}"
    for endpoint in cluster.grpc:
        eventually("the new key works at every router", lambda endpoint=endpoint:
                   ask(endpoint, token) == grpc.StatusCode.OK)
        # Plain text on loopback asks for no token, and takes no wrong one.
        assert ask(endpoint) == grpc.StatusCode.OK
        for wrong in (token + "x", token[:-1], f"Bearer {access_key}", f"Basic {access_key}.{secret}",
                      f"Bearer AKIANOBODYKNOWSTHIS.{secret}", ""):
            assert ask(endpoint, wrong) == grpc.StatusCode.UNAUTHENTICATED, wrong
        assert ask(endpoint, token, token) == grpc.StatusCode.UNAUTHENTICATED
    credentials(cluster, "revoke", access_key)
    for endpoint in cluster.grpc:
        eventually("the revoked key is refused by every router", lambda endpoint=endpoint:
                   ask(endpoint, token) == grpc.StatusCode.UNAUTHENTICATED)


def test_the_program_takes_a_token(cluster, pair):
    def table_list(token):
        command = [os.environ["TOMBOLO_PROGRAM"], "table", "list", "--endpoint", cluster.grpc[0]]
        environment = os.environ | {"TOMBOLO_TOKEN": token}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    token = ".".join(pair)
    eventually("the new key works", lambda: table_list(token).returncode == 0)
    wrong = table_list(token + "x")
    assert wrong.returncode == 2 and "security token" in wrong.stderr, wrong.stderr
    unusable = table_list("s3cret-without-a-dot")
    assert unusable.returncode == 2 and "s3cret" not in unusable.stderr, unusable.stderr
