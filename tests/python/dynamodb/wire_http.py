"""The protocol below the SDKs: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html"""

import gzip
import json
import re
import socket
import zlib

import pytest

from kit import check_message

REQUEST_ID = re.compile("[0-9A-Z]{52}")
CORAL = "com.amazon.coral.service#"
SERVICE = "com.amazonaws.dynamodb.v20120810#"
VALIDATION = "com.amazon.coral.validate#ValidationException"


@pytest.fixture(scope="module")
def item(db, simple):
    db.put_item(TableName=simple, Item={"pk": {"S": "k"}, "v": {"S": "x" * 5000}})
    return {"TableName": simple, "Key": {"pk": {"S": "k"}}, "ConsistentRead": True}


# Answers.

def test_headers_of_an_answer(wire, item):
    answer = wire.call("GetItem", item)
    assert answer.status == 200
    answer.check_crc()
    assert REQUEST_ID.fullmatch(answer.headers["x-amzn-requestid"])
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(answer.body)["Item"]["pk"] == {"S": "k"}


def test_every_answer_has_another_id(wire, item):
    assert len({wire.call("GetItem", item).headers["x-amzn-requestid"] for _ in range(20)}) == 20


def test_an_empty_answer_is_an_empty_document(wire, simple):
    answer = wire.call("PutItem", {"TableName": simple, "Item": {"pk": {"S": "empty"}}})
    assert answer.body == b"{}"


def test_compression_when_asked_for(wire, item):
    answer = wire.call("GetItem", item, extra={"Accept-Encoding": "gzip"})
    assert answer.status == 200
    # The checksum covers what went over the wire.
    answer.check_crc()
    if answer.headers.get("content-encoding") == "gzip":
        assert json.loads(gzip.decompress(answer.body))["Item"]["v"]["S"] == "x" * 5000
    else:
        assert json.loads(answer.body)["Item"]["v"]["S"] == "x" * 5000
    plain = wire.call("GetItem", item, extra={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json()["Item"]


def test_times_are_seconds(wire, simple):
    created = wire.call("DescribeTable", {"TableName": simple}).json()["Table"]["CreationDateTime"]
    assert isinstance(created, (int, float)) and 1.6e9 < created < 4e9


def test_types_in_json(wire, simple):
    wire.call("PutItem", {"TableName": simple, "Item": {"pk": {"S": "types"}, "b": {"B": "AP8="}, "n": {"N": "1.50"},
                                                        "bs": {"BS": ["AA=="]}, "t": {"BOOL": True}, "z": {"NULL": True}}})
    got = wire.call("GetItem", {"TableName": simple, "Key": {"pk": {"S": "types"}}, "ConsistentRead": True}).json()
    assert got["Item"] == {"pk": {"S": "types"}, "b": {"B": "AP8="}, "n": {"N": "1.5"}, "bs": {"BS": ["AA=="]},
                           "t": {"BOOL": True}, "z": {"NULL": True}}


@pytest.mark.parametrize("content_type", ["application/json", "application/x-amz-json-1.0"])
def test_the_answer_has_the_type_of_the_request(wire, item, content_type):
    answer = wire.call("GetItem", item, extra={"Content-Type": content_type})
    assert answer.status == 200 and answer.headers["content-type"] == content_type


# Shapes of errors.

def shape(answer):
    answer.check_crc()
    assert REQUEST_ID.fullmatch(answer.headers["x-amzn-requestid"])
    return answer.status, answer.json()


def test_shapes_of_errors(wire, simple):
    validation = "1 validation error detected: Value null at 'item' failed to satisfy constraint: Member must not be null"
    assert shape(wire.call("PutItem", {"TableName": simple})) == (400, {"__type": VALIDATION, "message": validation})
    assert shape(wire.call("GetItem", {"TableName": "no-such-table", "Key": {"pk": {"S": "k"}}})) == (
        400, {"__type": SERVICE + "ResourceNotFoundException", "message": "Requested resource not found"})
    failed = {"TableName": simple, "Item": {"pk": {"S": "shape"}}, "ConditionExpression": "attribute_exists(pk)"}
    assert shape(wire.call("PutItem", failed)) == (
        400, {"__type": SERVICE + "ConditionalCheckFailedException", "message": "The conditional request failed"})
    status, body = shape(wire.call("PutItem", {"TableName": 5}))
    # This exception alone has a capital letter.
    assert (status, body) == (400, {"__type": CORAL + "SerializationException",
                                    "Message": "NUMBER_VALUE cannot be converted to String"})


def test_an_item_in_an_error(wire, simple):
    wire.call("PutItem", {"TableName": simple, "Item": {"pk": {"S": "in error"}}})
    failed = {"TableName": simple, "Item": {"pk": {"S": "in error"}}, "ConditionExpression": "attribute_not_exists(pk)",
              "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    status, body = shape(wire.call("PutItem", failed))
    assert status == 400 and body["Item"] == {"pk": {"S": "in error"}}


# Requests that are none of ours.

@pytest.mark.parametrize("target", [None, "", "nonsense", "DynamoDB_20120810", "DynamoDB_20120810.", "DynamoDB_20120810.Fly",
                                    "DynamoDB_20111111.GetItem", "dynamodb_20120810.GetItem", "DynamoDB_20120810.getItem",
                                    "DynamoDB_20120810.GetItem.x", "DynamoDBStreams_20120810.GetItem",
                                    "DynamoDB_20120810.GetRecords"])
def test_operations_that_there_are_not(wire, target):
    headers = wire.headers("GetItem")
    del headers["X-Amz-Target"]
    if target is not None:
        headers["X-Amz-Target"] = target
    answer = wire.send(b"{}", wire.signed(b"{}", headers))
    status, body = shape(answer)
    assert (status, body["__type"]) == (400, CORAL + "UnknownOperationException"), answer.body


def test_a_get_says_healthy(wire):
    answer = wire.send(None, {}, method="GET")
    assert answer.status == 200 and answer.body.startswith(b"healthy: ")
    answer.check_crc()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods(wire, method):
    answer = wire.send(b"{}", {"Content-Type": "application/x-amz-json-1.0"}, method=method)
    assert answer.status in (404, 405)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/xml", "application/x-amz-json-1.1x"])
def test_bodies_of_other_types(wire, content_type):
    headers = wire.headers("ListTables")
    del headers["Content-Type"]
    if content_type:
        headers["Content-Type"] = content_type
    answer = wire.send(b"{}", wire.signed(b"{}", headers))
    assert answer.status in (400, 404), answer.body


def test_pages_of_other_origins(wire):
    answer = wire.send(b"{}", wire.signed(b"{}", wire.headers("ListTables")) | {"Origin": "http://elsewhere"})
    assert answer.headers.get("access-control-allow-origin") in ("*", None)


# Bodies that do not say what they should.

@pytest.mark.parametrize("body", ["", "hi", "{", "[]", "null", "5", '"text"', "{'a': 1}", '{"a": }', '{"a": 1,}', "{} {}",
                                  '{"TableName": "abc" "Item": {}}', "\ufeff{}", '{"TableName": tru}', "{\"a\": 01}"])
def test_bodies_that_are_no_document(wire, body):
    answer = wire.call("PutItem", body)
    status, document = shape(answer)
    assert (status, document["__type"]) == (400, CORAL + "SerializationException"), answer.body


STRUCTURE = "Start of structure or map found where not expected"
ATTRIBUTE_MAP = ("Unrecognized collection type java.util.Map<java.lang.String, "
                 "com.amazonaws.dynamodb.v20120810.AttributeValue>")
ATTRIBUTE = "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue"

TYPES = [
    ("PutItem", {"TableName": True}, "TRUE_VALUE cannot be converted to String"),
    ("PutItem", {"TableName": False}, "FALSE_VALUE cannot be converted to String"),
    ("PutItem", {"TableName": 23}, "NUMBER_VALUE cannot be converted to String"),
    ("PutItem", {"TableName": 34.56}, "DECIMAL_VALUE cannot be converted to String"),
    ("PutItem", {"TableName": []}, "Unrecognized collection type class java.lang.String"),
    ("PutItem", {"TableName": {}}, STRUCTURE),
    ("GetItem", {"ConsistentRead": 23}, "NUMBER_VALUE cannot be converted to Boolean"),
    ("GetItem", {"ConsistentRead": 34.56}, "DECIMAL_VALUE cannot be converted to Boolean"),
    ("GetItem", {"ConsistentRead": "23"}, "Unexpected token received from parser"),
    ("GetItem", {"ConsistentRead": []}, "Unrecognized collection type class java.lang.Boolean"),
    ("GetItem", {"ConsistentRead": {}}, STRUCTURE),
    ("Scan", {"Limit": "23"}, "STRING_VALUE cannot be converted to Integer"),
    ("Scan", {"Limit": True}, "TRUE_VALUE cannot be converted to Integer"),
    ("Scan", {"Limit": []}, "Unrecognized collection type class java.lang.Integer"),
    ("Scan", {"Limit": {}}, STRUCTURE),
    ("CreateTable", {"ProvisionedThroughput": {"ReadCapacityUnits": "1"}}, "STRING_VALUE cannot be converted to Long"),
    ("CreateTable", {"ProvisionedThroughput": "x"}, "Unexpected field type"),
    ("CreateTable", {"ProvisionedThroughput": []},
     "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.ProvisionedThroughput"),
    ("CreateTable", {"AttributeDefinitions": "x"}, "Unexpected field type"),
    ("CreateTable", {"AttributeDefinitions": {}}, STRUCTURE),
    ("CreateTable", {"AttributeDefinitions": ["x"]}, "Unexpected value type in payload"),
    ("CreateTable", {"AttributeDefinitions": [[]]},
     "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeDefinition"),
    ("GetItem", {"AttributesToGet": "x"}, "Unexpected field type"),
    ("GetItem", {"AttributesToGet": [1]}, "NUMBER_VALUE cannot be converted to String"),
    ("PutItem", {"Item": "x"}, "Unexpected field type"),
    ("PutItem", {"Item": 1}, "Unexpected field type"),
    ("PutItem", {"Item": []}, ATTRIBUTE_MAP),
    ("PutItem", {"Item": {"a": "x"}}, "Unexpected value type in payload"),
    ("PutItem", {"Item": {"a": 5}}, "Unexpected value type in payload"),
    ("PutItem", {"Item": {"a": []}}, ATTRIBUTE),
    ("PutItem", {"Item": {"a": {"S": 5}}}, "NUMBER_VALUE cannot be converted to String"),
    ("PutItem", {"Item": {"a": {"N": 5}}}, "NUMBER_VALUE cannot be converted to String"),
    ("PutItem", {"Item": {"a": {"B": 5}}}, "only base-64-encoded strings are convertible to bytes"),
    ("PutItem", {"Item": {"a": {"B": "23456"}}},
     "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
    ("PutItem", {"Item": {"a": {"B": "+/+="}}}, "Invalid last non-pad Base64 character dectected"),
    ("PutItem", {"Item": {"a": {"BOOL": "23"}}}, "Unexpected token received from parser"),
    ("PutItem", {"Item": {"a": {"SS": "x"}}}, "Unexpected field type"),
    ("PutItem", {"Item": {"a": {"SS": [1]}}}, "NUMBER_VALUE cannot be converted to String"),
    ("PutItem", {"Item": {"a": {"L": {}}}}, STRUCTURE),
    ("PutItem", {"Item": {"a": {"L": ["x"]}}}, "Unexpected value type in payload"),
    ("PutItem", {"Item": {"a": {"M": []}}}, ATTRIBUTE_MAP),
    ("PutItem", {"Item": {"a": {"M": {"b": {"S": True}}}}}, "TRUE_VALUE cannot be converted to String"),
    ("BatchWriteItem", {"RequestItems": "x"}, re.compile("ParameterizedTypeImpl|Unexpected field type")),
]


@pytest.mark.parametrize("operation, body, message", TYPES)
def test_members_of_the_wrong_type(wire, operation, body, message):
    status, document = shape(wire.call(operation, body))
    assert (status, document["__type"]) == (400, CORAL + "SerializationException"), document
    check_message(message, document["Message"])


def test_null_is_nothing(wire, simple):
    answer = wire.call("PutItem", {"TableName": simple, "Item": {"pk": {"S": "null"}}, "ConditionExpression": None,
                                   "Expected": None, "ReturnValues": None})
    assert answer.status == 200, answer.body


def test_types_come_before_limits_and_limits_before_tables(wire):
    # Everything is wrong with it: the type is told.
    wire.refused("PutItem", {"TableName": "a b", "Item": 5, "ReturnValues": "x"}, "SerializationException")
    # Then the model's limits, all of them; then what the operation alone knows; the table last.
    wire.refused("PutItem", {"TableName": "no-such-table", "ReturnValues": "x"}, "ValidationException",
                 re.compile("^2 validation errors detected: "))
    wire.refused("PutItem", {"TableName": "no-such-table", "Item": {"a": {"N": "x"}}}, "ValidationException",
                 "The parameter cannot be converted to a numeric value: x")
    wire.refused("PutItem", {"TableName": "no-such-table", "Item": {"a": {"N": "1"}}, "ConditionExpression": ""},
                 "ValidationException", "Invalid ConditionExpression: The expression can not be empty;")
    wire.refused("PutItem", {"TableName": "no-such-table", "Item": {"a": {"N": "1"}}}, "ResourceNotFoundException")


def test_at_most_ten_violations_are_told(wire):
    definitions = [{"AttributeName": "x", "AttributeType": "?"} for _ in range(20)]
    answer = wire.call("CreateTable", {"TableName": "many-violations", "AttributeDefinitions": definitions,
                                       "KeySchema": [{"AttributeName": "x", "KeyType": "?"}]})
    assert answer.message.startswith("10 validation errors detected: "), answer.message[:200]
    assert answer.message.count("failed to satisfy constraint") == 10


# Connections.

def test_one_connection_for_many_requests(wire, item):
    connection = wire.connect()
    connection.connect()
    first = connection.sock.getsockname()
    for _ in range(50):
        assert wire.call("GetItem", item, connection=connection).status == 200
        # An error does not end it.
        assert wire.call("GetItem", "nonsense", connection=connection).status == 400
    assert connection.sock.getsockname() == first
    connection.close()


def test_requests_before_their_answers(wire, item):
    """Pipelining, as HTTP/1.1 allows: answers come in the order of the requests."""
    body = json.dumps(item).encode()
    headers = wire.signed(body, wire.headers("GetItem"))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    host, port = wire.host.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(request * 5)
        got = b""
        while got.count(b"HTTP/1.1 200") < 5 or not got.endswith(b"}"):
            part = sock.recv(1 << 16)
            assert part, got[-500:]
            got += part
    assert got.count(b'"Item"') == 5


def test_a_body_in_chunks(wire, item):
    body = json.dumps(item).encode()
    headers = wire.signed(body, wire.headers("GetItem")) | {"Transfer-Encoding": "chunked"}
    connection = wire.connect()
    connection.request("POST", "/", body=iter([body[:7], body[7:]]), headers=headers, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200 and json.loads(response.read())["Item"]
    connection.close()


def test_a_client_that_waits_for_continue(wire, item):
    body = json.dumps(item).encode()
    headers = wire.signed(body, wire.headers("GetItem"))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    host, port = wire.host.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        assert b"200 OK" in sock.recv(1 << 16)


def test_http_2_with_prior_knowledge(wire, item):
    import httpx
    body = json.dumps(item).encode()
    headers = wire.signed(body, wire.headers("GetItem"))
    headers |= {"Accept-Encoding": "identity"}
    with httpx.Client(http1=False, http2=True, base_url=wire.node) as client:
        for _ in range(5):
            answer = client.post("/", content=body, headers=headers)
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 200), answer.text
            assert int(answer.headers["x-amz-crc32"]) == zlib.crc32(answer.content)


@pytest.mark.parametrize("path", ["/", "/?x=y", "/anything"])
def test_the_path_does_not_matter(wire, path):
    body = b'{"Limit": 1}'
    headers = wire.signed(body, wire.headers("ListTables"), path=path)
    assert wire.send(body, headers, path=path).status == 200


def test_16_mb_of_request_and_no_more(wire, simple):
    limit = 16 << 20
    body = json.dumps({"TableName": simple}).encode()
    fits = body + b" " * (limit - len(body))
    answer = wire.call("DescribeTable", fits)
    assert answer.status == 200, answer.body[:300]
    connection = wire.connect()
    try:
        answer = wire.call("DescribeTable", fits + b" ", connection=connection)
    except (BrokenPipeError, ConnectionResetError):
        return  # hung up in the middle of it: an answer too
    assert answer.status == 413, answer.body[:300]
