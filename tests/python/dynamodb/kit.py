"""Clients, tables and checks that the tests of all operations share."""

import datetime
import http.client
import json
import os
import re
import time
import urllib.parse
import uuid
import zlib

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions

# How long a state may take to come about.
PATIENCE_SECONDS = 60

# Parameters of CreateTable for the usual tables.
HASH = {"key": {"pk": "S"}}
RANGED = {"key": {"pk": "S", "sk": "N"}}

NOT_FOUND = "Requested resource not found"
CONDITION_FAILED = "The conditional request failed"
KEY_MISMATCH = "The provided key element does not match the schema"
INVALID = "One or more parameter values were invalid: "


class Cluster:
    """The nodes of a development cluster's first region, and a key to sign with."""

    def __init__(self, description):
        region = description["regions"][0]
        keys = description.get("credentials") or region["credentials"]
        self.region = region["name"]
        self.nodes = [node["dynamodb"] for node in region["nodes"]]
        self.grpc = [node["grpc"] for node in region["nodes"]]
        self.admin = [node["admin"] for node in region["nodes"]]
        self.pids = [node["pid"] for node in region["nodes"]]
        self.access_key, self.secret_key = keys["access_key"], keys["secret_key"]

    @classmethod
    def from_environment(cls):
        path = os.environ["TOMBOLO_CLUSTER"]
        with open(path, encoding="utf-8") as file:
            cluster = cls(json.load(file))
        cluster.region_key = os.path.join(os.path.dirname(path), "config", "region.key")
        return cluster

    def client(self, service, node, attempts=1, **overrides):
        settings = {
            "endpoint_url": node,
            "region_name": self.region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
        }
        config = botocore.config.Config(
            parameter_validation=False,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=32,
        )
        return boto3.session.Session().client(service, **{"config": config, **settings, **overrides})


class Tables:
    """Makes tables with names that nobody else uses, and knows them until they are deleted."""

    def __init__(self, db, prefix):
        self._db, self._prefix, self._made = db, prefix, []

    def name(self):
        """A name for a table that the caller makes; it is deleted with the others."""
        name = f"{self._prefix}-{uuid.uuid4().hex[:12]}"
        self._made.append(name)
        return name

    def __call__(self, definition, **more):
        name = self.name()
        self._db.create_table(**table(name, **{**definition, **more}))
        wait_active(self._db, name)
        return name

    def delete_all(self):
        for name in self._made:
            try:
                self._db.delete_table(TableName=name)
            except botocore.exceptions.ClientError:
                pass  # never made, gone already, or left by a test that failed


def table(name, key, others=None, **more):
    """The parameters of CreateTable; `key` and `others` map attribute names to types."""
    roles = ("HASH", "RANGE")
    return {
        "TableName": name,
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": kind}
            for attribute, kind in {**key, **(others or {})}.items()
        ],
        "KeySchema": [
            {"AttributeName": attribute, "KeyType": role} for attribute, role in zip(key, roles)
        ],
        **({} if "BillingMode" in more or "ProvisionedThroughput" in more else {"BillingMode": "PAY_PER_REQUEST"}),
        **more,
    }


def local_index(name, sort, projection="ALL", partition="pk", **more):
    """One member of LocalSecondaryIndexes."""
    return {
        "IndexName": name,
        "KeySchema": [
            {"AttributeName": partition, "KeyType": "HASH"},
            {"AttributeName": sort, "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": projection, **more},
    }


def eventually(what, probe):
    """Waits until `probe` gives something true, and gives it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {PATIENCE_SECONDS} s still not: {what}"
        time.sleep(0.02)


def wait_active(db, name):
    def active():
        # AWS: DescribeTable is eventually consistent, and may not know a table that was made just now.
        try:
            described = db.describe_table(TableName=name)["Table"]
        except db.exceptions.ResourceNotFoundException:
            return None
        return described if described["TableStatus"] == "ACTIVE" else None

    return eventually(f"{name} is ACTIVE", active)


def wait_gone(db, name):
    def gone():
        try:
            db.describe_table(TableName=name)
        except db.exceptions.ResourceNotFoundException:
            return True
        return False

    eventually(f"{name} is gone", gone)


# AWS moves its regions, one after another, to answers that put this before a text of old: both are DynamoDB's.
ENVELOPE = "1 validation error detected: "


def check_message(wanted, message):
    """`wanted` is the whole text, or a pattern that the text must contain."""
    if isinstance(wanted, re.Pattern):
        assert wanted.search(message), f"\n  wanted /{wanted.pattern}/\n  got    {message}"
    elif wanted is not None:
        assert message in (wanted, ENVELOPE + wanted), f"\n  wanted {wanted}\n  got    {message}"


def refused(call, code, message=None, /, status=400, **parameters):
    """Asserts that the call is refused with this exception, text and status; gives the parsed answer."""
    try:
        answer = call(**parameters)
    except botocore.exceptions.ClientError as error:
        answer = error.response
    else:
        raise AssertionError(f"not refused: {answer}")
    got = answer["Error"]
    assert got["Code"] == code, f"{got['Code']}: {got.get('Message')}"
    check_message(message, got.get("Message", ""))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    return answer


def invalid(call, message=None, /, **parameters):
    return refused(call, "ValidationException", message, **parameters)


def violations(call, wanted, /, **parameters):
    """Asserts exactly these violations of the API model, in any order."""
    message = invalid(call, **parameters)["Error"]["Message"]
    plural = "s" if len(wanted) > 1 else ""
    prefix = f"{len(wanted)} validation error{plural} detected: "
    assert message.startswith(prefix), message
    assert sorted(message[len(prefix) :].split("; ")) == sorted(wanted), message


def violation(value, at, constraint):
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{at}' failed to satisfy constraint: Member must {constraint}"


def pages(call, **parameters):
    """All answers of a paged operation."""
    while True:
        answer = call(**parameters)
        yield answer
        if "LastEvaluatedKey" not in answer:
            return
        parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def items(call, **parameters):
    return [item for page in pages(call, **parameters) for item in page["Items"]]


def text_of_size(size):
    return {"S": "x" * size}


def nested(levels):
    """A value with so many lists around it."""
    value = {"S": "x"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


class Answer:
    """An HTTP answer as it came over the wire."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    @property
    def kind(self):
        """The exception's name, without its namespace."""
        return self.json()["__type"].split("#")[-1]

    @property
    def message(self):
        document = self.json()
        return document.get("message", document.get("Message", ""))

    def check_crc(self):
        assert int(self.headers["x-amz-crc32"]) == zlib.crc32(self.body), self.headers


class Wire:
    """Requests whose every byte is the test's choice; signed unless said otherwise."""

    TARGETS = {"dynamodb": "DynamoDB_20120810", "streams": "DynamoDBStreams_20120810"}

    def __init__(self, cluster, node):
        self.cluster, self.node = cluster, node
        self.host = urllib.parse.urlsplit(node).netloc

    def connect(self, timeout=30):
        return http.client.HTTPConnection(self.host, timeout=timeout)

    def signed(self, body, headers, keys=None, at=None, region=None, service="dynamodb", path="/"):
        """The headers of a request, with those of its signature by the SDK, at a time of ours."""
        access_key, secret_key = keys or (self.cluster.access_key, self.cluster.secret_key)
        request = botocore.awsrequest.AWSRequest("POST", self.node + path, data=body, headers=headers)
        signer = botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(access_key, secret_key),
            service,
            region or self.cluster.region,
        )
        at = at or now()
        request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
        signer._modify_request_before_signing(request)
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        signer._inject_signature_to_request(request, signature)
        return dict(request.headers.items())

    def headers(self, operation, api="dynamodb"):
        return {
            "Host": self.host,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{self.TARGETS[api]}.{operation}",
        }

    def send(self, body, headers, method="POST", path="/", connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body=body, headers=headers)
            return Answer(connection.getresponse())
        finally:
            if own:
                connection.close()

    def call(self, operation, body, api="dynamodb", connection=None, extra=None, **signing):
        """Sends one operation; `body` is a document, text or bytes."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        headers = self.headers(operation, api) | (extra or {})
        return self.send(body, self.signed(body, headers, **signing), connection=connection)

    def refused(self, operation, body, kind, message=None, status=400, **more):
        answer = self.call(operation, body, **more)
        assert answer.status == status, (answer.status, answer.body[:500])
        assert answer.kind == kind, answer.body[:500]
        check_message(message, answer.message)
        answer.check_crc()
        return answer


def now():
    return datetime.datetime.now(datetime.timezone.utc)
