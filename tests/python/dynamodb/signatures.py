"""Signatures: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
Every operation is refused alike to a caller who is nobody, before anything else of the request is looked at."""

import datetime
import json
import os
import re
import subprocess

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
import pytest

from kit import check_message, eventually, invalid, now, refused

# What is served, of AWS's models.
OPERATIONS = [("dynamodb", name) for name in (
    "BatchExecuteStatement", "BatchGetItem", "BatchWriteItem", "CreateTable", "DeleteItem", "DeleteTable",
    "DescribeContinuousBackups", "DescribeEndpoints", "DescribeLimits", "DescribeTable", "DescribeTimeToLive",
    "ExecuteStatement", "GetItem", "ListTables", "ListTagsOfResource", "PutItem", "Query", "Scan", "TagResource",
    "UntagResource", "UpdateItem", "UpdateTable", "UpdateTimeToLive",
)] + [("streams", name) for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")]

MISSING = ("MissingAuthenticationTokenException", re.compile("(?i)missing authentication token"))
MISMATCH = ("InvalidSignatureException", re.compile(
    "^The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."))
EXPIRED = ("InvalidSignatureException", re.compile("^Signature expired: [0-9TZ]+ is now earlier than "))
FUTURE = ("InvalidSignatureException", re.compile("^Signature not yet current: [0-9TZ]+ is still later than "))
UNKNOWN = ("UnrecognizedClientException", "The security token included in the request is invalid.")
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def revoked(cluster, db):
    """A key that worked and was revoked."""
    def credentials(*arguments):
        command = [os.environ["TOMBOLO_PROGRAM"], "credentials", *arguments, "--admin", cluster.admin[0],
                   "--region-key", cluster.region_key]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    made = json.loads(credentials("create", "--name", f"revoked-{os.getpid()}"))
    keys = {"aws_access_key_id": made["access_key"], "aws_secret_access_key": made["secret_key"]}
    for node in cluster.nodes:
        def works(node=node):
            try:
                return cluster.client("dynamodb", node, **keys).describe_limits()
            except db.exceptions.ClientError:
                return None
        eventually("the new key works at every router", works)
    credentials("revoke", made["access_key"])

    def refused_everywhere():
        for node in cluster.nodes:
            try:
                cluster.client("dynamodb", node, **keys).describe_limits()
                return False
            except db.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "UnrecognizedClientException", error
        return True
    eventually("the revoked key is refused by every router", refused_everywhere)
    return made["access_key"], made["secret_key"]


def check(answer, wanted):
    kind, message = wanted
    assert (answer.status, answer.kind) == (400, kind), answer.body[:500]
    check_message(message, answer.message)
    answer.check_crc()


@pytest.mark.parametrize("api, operation", OPERATIONS)
def test_nobody_gets_anything(wire, cluster, api, operation):
    headers = wire.headers(operation, api)
    check(wire.send(b"{}", headers), MISSING)
    for signing, wanted in (
        ({"keys": (cluster.access_key, "not the secret")}, MISMATCH),
        ({"at": now() - HOUR}, EXPIRED),
        ({"at": now() + HOUR}, FUTURE),
        ({"keys": ("AKIANOBODYKNOWSTHIS", "x" * 40)}, UNKNOWN),
    ):
        check(wire.call(operation, {}, api=api, **signing), wanted)


def test_a_revoked_key_opens_nothing(wire, revoked):
    for api, operation in OPERATIONS:
        check(wire.call(operation, {}, api=api, keys=revoked), UNKNOWN)


def test_the_models_know_these_operations():
    session = botocore.session.get_session()
    names = {api: set(session.get_service_model(service).operation_names)
             for api, service in (("dynamodb", "dynamodb"), ("streams", "dynamodbstreams"))}
    assert all(operation in names[api] for api, operation in OPERATIONS)


# What the signature covers.

def test_what_was_signed_is_what_arrives(wire):
    body = b'{"Limit": 1}'
    headers = wire.signed(body, wire.headers("ListTables"))
    assert wire.send(body, headers).status == 200
    check(wire.send(b'{"Limit": 2}', headers), MISMATCH)
    check(wire.send(body, headers | {"X-Amz-Target": "DynamoDB_20120810.DescribeLimits"}), MISMATCH)
    check(wire.send(body, headers, path="/?a=b"), MISMATCH)
    check(wire.send(body, headers | {"Authorization": headers["Authorization"][:-1] + "x"}), MISMATCH)
    check(wire.send(body, headers | {"Authorization": headers["Authorization"][:-64]}),
          ("IncompleteSignatureException", re.compile("Authorization header requires 'Signature' parameter")))


def test_scopes_of_other_services(wire):
    kind, message = "InvalidSignatureException", re.compile("Credential should be scoped to correct service: 'dynamodb'")
    check(wire.call("ListTables", {}, service="s3"), (kind, message))


def test_session_tokens_that_nobody_gave(wire):
    headers = wire.headers("ListTables") | {"X-Amz-Security-Token": "token"}
    check(wire.send(b"{}", wire.signed(b"{}", headers)), ("UnrecognizedClientException", re.compile("security token")))


PARTS = ["Credential", "SignedHeaders", "Signature"]


@pytest.mark.parametrize("missing", PARTS)
def test_headers_that_lack_a_part(wire, missing):
    headers = wire.signed(b"{}", wire.headers("ListTables"))
    algorithm, _, rest = headers["Authorization"].partition(" ")
    kept = ", ".join(part for part in rest.split(", ") if not part.startswith(missing + "="))
    check(wire.send(b"{}", headers | {"Authorization": f"{algorithm} {kept}"}),
          ("IncompleteSignatureException", re.compile(f"Authorization header requires '{missing}' parameter. ")))


@pytest.mark.parametrize("authorization, wanted", [
    ("", MISSING), ("nonsense", MISSING), ("Bearer token", MISSING), ("Basic eDp5", MISSING), ("AWS4", MISSING),
    ("AWS4-HMAC-SHA256", ("IncompleteSignatureException", re.compile("'Credential' parameter.*'Signature' parameter.*"
                                                                     "'SignedHeaders' parameter"))),
])
def test_headers_that_are_none(wire, authorization, wanted):
    check(wire.send(b"{}", wire.headers("ListTables") | {"Authorization": authorization,
                                                         "X-Amz-Date": now().strftime("%Y%m%dT%H%M%SZ")}), wanted)


def test_dates(wire):
    headers = wire.signed(b"{}", wire.headers("ListTables"))
    without = {name: value for name, value in headers.items() if name.lower() != "x-amz-date"}
    check(wire.send(b"{}", without), ("IncompleteSignatureException", re.compile("X-Amz-Date")))
    check(wire.send(b"{}", headers | {"X-Amz-Date": "yesterday"}),
          ("IncompleteSignatureException", re.compile("Date must be in ISO-8601 'basic format'. Got 'yesterday'")))
    # Clocks differ a little.
    for minutes in (-4, 4):
        at = now() + datetime.timedelta(minutes=minutes)
        assert wire.call("ListTables", {"Limit": 1}, at=at).status == 200


def test_signatures_in_the_query(wire, cluster):
    """As of presigned URLs: the signer leaves nothing in the body, so there is no document to carry out."""
    request = botocore.awsrequest.AWSRequest("POST", wire.node + "/", data=b"", headers=wire.headers("ListTables"))
    keys = botocore.credentials.Credentials(cluster.access_key, cluster.secret_key)
    botocore.auth.SigV4QueryAuth(keys, "dynamodb", cluster.region, expires=60).add_auth(request)
    path = "/" + request.url.split("/", 3)[3]
    headers = dict(request.headers.items())
    assert wire.send(b"", headers, path=path).kind == "SerializationException"
    check(wire.send(b"{}", headers, path=path), MISMATCH)
    check(wire.send(b"", wire.signed(b"", wire.headers("ListTables")), path=path), ("InvalidSignatureException", re.compile(
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")))


def test_the_signature_comes_before_the_body(wire, cluster):
    for body in (b"not json", b'{"TableName": 5}', b'{"TableName": "no-such-table", "Key": {"a": {"S": "b"}}}'):
        headers = wire.signed(body, wire.headers("GetItem"), keys=(cluster.access_key, "not the secret"))
        answer = wire.send(body, headers)
        assert answer.kind in ("InvalidSignatureException", "SerializationException") and answer.status == 400
        assert "table" not in answer.message.lower()


def test_an_sdk_without_the_right_key(cluster, node, db):
    stranger = cluster.client("dynamodb", node, aws_access_key_id="AKIANOBODYKNOWSTHIS")
    refused(stranger.list_tables, *UNKNOWN)
    refused(stranger.describe_table, *UNKNOWN, TableName="no-such-table")
    refused(cluster.client("dynamodb", node, aws_secret_access_key="x" * 40).list_tables, *MISMATCH)
    invalid(db.list_tables, Limit=0)
