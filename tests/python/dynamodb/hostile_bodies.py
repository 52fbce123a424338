"""Whatever is sent, by whomever: a clear refusal, nobody else notices, and memory stays."""

import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

SERIALIZATION = "SerializationException"
VALIDATION = "ValidationException"
# How much a node may grow under all of this, in KiB: its caches fill, nothing of the abuse stays.
GROWTH_KIB_MAX = 400 << 10
# How long any request of a bystander may take, in seconds. Generous: the machine has two cores.
BYSTANDER_SECONDS_MAX = 5


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.fixture(scope="module", autouse=True)
def memory_stays(cluster):
    before = {pid: memory_kib(pid) for pid in cluster.pids}
    yield
    grown = {pid: memory_kib(pid) - before[pid] for pid in cluster.pids}
    assert max(grown.values()) < GROWTH_KIB_MAX, f"nodes grew by {grown} KiB"


class Bystander:
    """Writes and reads while something bad happens; nothing of it may fail or take long."""

    def __init__(self, db, table):
        self._db, self._table, self._stop, self._slowest, self._count = db, table, threading.Event(), 0, 0
        self._failure = None

    def _run(self):
        try:
            while not self._stop.is_set():
                start = time.monotonic()
                key = {"pk": {"S": "bystander"}}
                self._db.put_item(TableName=self._table, Item={**key, "n": {"N": str(self._count)}})
                got = self._db.get_item(TableName=self._table, Key=key, ConsistentRead=True)["Item"]
                assert got["n"] == {"N": str(self._count)}
                self._slowest = max(self._slowest, time.monotonic() - start)
                self._count += 1
        except Exception as failure:  # told by whoever joins
            self._failure = failure

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        assert self._failure is None, self._failure
        assert self._count > 0 and self._slowest < BYSTANDER_SECONDS_MAX, (self._count, self._slowest)


@pytest.fixture
def bystander(cluster, node, simple):
    # An SDK as everybody has it: it tries again when it is told that this was too much at once.
    with Bystander(cluster.client("dynamodb", node, attempts=5), simple):
        yield


def deep(levels, kind):
    """A PutItem whose item is so deep, written without recursion."""
    opened, closed = {"list": ('{"L":[', "]}"), "map": ('{"M":{"a":', "}}")}[kind]
    return '{"TableName":"abc","Item":{"pk":{"S":"k"},"v":' + opened * levels + '{"S":"x"}' + closed * levels + "}}"


def check_refused(answer, *kinds):
    assert answer.status == 400 and answer.kind in kinds, (answer.status, answer.body[:300])
    answer.check_crc()


@pytest.mark.parametrize("kind", ["list", "map"])
@pytest.mark.parametrize("levels", [40, 1_000, 100_000])
def test_deep_values(wire, bystander, levels, kind):
    check_refused(wire.call("PutItem", deep(levels, kind)), SERIALIZATION, VALIDATION)


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, "[" * 8_000_000, '{"TableName":' + "[" * 100_000,
                                  '{"Unknown":' + "[" * 100_000 + "]" * 100_000 + "}",
                                  '{"Unknown":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"],
                         ids=["lists", "maps", "more lists", "a text", "unknown lists", "unknown maps"])
def test_deep_documents(wire, bystander, body):
    check_refused(wire.call("PutItem", body), SERIALIZATION, VALIDATION)


def test_truncated_bodies(wire, simple, bystander):
    body = json.dumps({"TableName": simple, "Item": {"pk": {"S": "tru\u00e9ncated"}, "v": {"L": [{"N": "1"}, {"BOOL": True}]}}},
                      ensure_ascii=False).encode()
    connection = wire.connect()
    for length in range(len(body)):
        check_refused(wire.call("PutItem", body[:length], connection=connection), SERIALIZATION)
    assert wire.call("PutItem", body, connection=connection).status == 200


def test_changed_bytes(wire, simple, bystander):
    body = json.dumps({"TableName": simple, "Item": {"pk": {"S": "changed"}, "v": {"L": [{"N": "1"}, {"B": "AAAA"}]}},
                       "ConditionExpression": "attribute_exists(pk) OR v[0] = :v",
                       "ExpressionAttributeValues": {":v": {"SS": ["a", "b"]}}}).encode()
    chance, connection = random.Random(7), wire.connect()
    for _ in range(300):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        answer = wire.call("PutItem", bytes(changed), connection=connection)
        assert answer.status in (200, 400), answer.body[:300]


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3\x28", b"\xe2\x82", b"\xf5\x80\x80\x80", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_bytes_that_are_no_utf_8(wire, simple, bad):
    body = b'{"TableName":"' + simple.encode() + b'","Item":{"pk":{"S":"' + bad + b'"}}}'
    check_refused(wire.call("PutItem", body), SERIALIZATION)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00\\ud800", "\\u12", "\\x41", "\\"])
def test_escapes_that_are_none(wire, simple, escape):
    body = '{"TableName":"%s","Item":{"pk":{"S":"%s"}}}' % (simple, escape)
    check_refused(wire.call("PutItem", body), SERIALIZATION, VALIDATION)


def test_numbers_of_10_000_digits(wire, simple, bystander):
    def put(number):
        return wire.call("PutItem", {"TableName": simple, "Item": {"pk": {"S": "k"}, "v": {"N": number}}})
    digits = "7" * 10_000
    assert put(digits).message in (
        "Attempting to store more than 38 significant digits in a Number",
        "Number overflow. Attempting to store a number with magnitude larger than supported range")
    for number in (digits, "-" + digits, "0." + digits, digits + "." + digits, "1E" + digits, "1E-" + digits):
        check_refused(put(number), VALIDATION)
    # Zeros are no digits that count.
    assert put("0" * 10_000 + "1").status in (200, 400)
    for literal in (digits, "-" + digits, "1e" + digits, "0." + digits):
        answer = wire.call("Scan", '{"TableName":"%s","Limit":%s}' % (simple, literal))
        # A limit may be cut down to what fits, as the service does with whole numbers.
        assert answer.status in (200, 400), answer.body[:300]


@pytest.mark.parametrize("body", [
    '{"TableName":"aaa","TableName":"%s","Item":{"pk":{"S":"k"}}}',
    '{"TableName":"%s","Item":{"pk":{"S":"k"},"pk":{"S":"l"}}}',
    '{"TableName":"%s","Item":{"pk":{"S":"k","S":"l"}}}',
    '{"TableName":"%s","Item":{"pk":{"S":"k"}},"Item":{}}',
])
def test_names_twice(wire, simple, body):
    answer = wire.call("PutItem", body % simple)
    # One of both counts, or none: never half of each.
    assert answer.status in (200, 400), answer.body


def test_many_small_things(wire, simple, bystander):
    million = "[" + ",".join(['{"BOOL":true}'] * 1_000_000) + "]"
    check_refused(wire.call("PutItem", '{"TableName":"%s","Item":{"pk":{"S":"k"},"v":{"L":%s}}}' % (simple, million)),
                  VALIDATION, SERIALIZATION)
    many = ",".join(f'"a{n}":{{"S":""}}' for n in range(500_000))
    check_refused(wire.call("PutItem", '{"TableName":"%s","Item":{"pk":{"S":"k"},%s}}' % (simple, many)), VALIDATION)
    twice = ",".join(['"x"'] * 2_000_000)
    check_refused(wire.call("PutItem", '{"TableName":"%s","Item":{"pk":{"S":"k"},"v":{"SS":[%s]}}}' % (simple, twice)),
                  VALIDATION)
    names = ",".join(f'"#a{n}":"a"' for n in range(500_000))
    check_refused(wire.call("GetItem", '{"TableName":"%s","Key":{"pk":{"S":"k"}},"ProjectionExpression":"#a1",'
                                       '"ExpressionAttributeNames":{%s}}' % (simple, names)), VALIDATION)


@pytest.mark.parametrize("expression", [
    "(" * 4096, "NOT " * 1024, "a" + "[0]" * 1300, "a" + ".a" * 2000, "a" + " OR a" * 800, "size(" * 800, "a IN (" + "a," * 2000,
])
def test_expressions_that_want_to_be_deep(wire, simple, bystander, expression):
    for operation, name in (("PutItem", "ConditionExpression"), ("UpdateItem", "UpdateExpression"), ("GetItem", "ProjectionExpression"),
                            ("Scan", "FilterExpression"), ("Query", "KeyConditionExpression")):
        body = {"TableName": simple, name: expression}
        if operation == "PutItem":
            body["Item"] = {"pk": {"S": "k"}}
        elif operation in ("GetItem", "UpdateItem"):
            body["Key"] = {"pk": {"S": "k"}}
        check_refused(wire.call(operation, body), VALIDATION)


# Connections.

def address(wire):
    host, port = wire.host.split(":")
    return host, int(port)


def told(sock, seconds=20):
    """What the other side says to this, if anything; it may hang up too."""
    sock.settimeout(seconds)
    try:
        return sock.recv(4096)
    except (ConnectionError, socket.timeout):
        return b""


@pytest.mark.parametrize("head", [
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10737418240\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nHost: x\r\n" + b"x: " + b"y" * (1 << 20) + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 100_000 + b"\r\n",
    b"POST /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    bytes(range(256)) * 100,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(256)) * 20,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01",
], ids=range(11))
def test_heads_that_are_none(wire, bystander, head):
    with socket.create_connection(address(wire), timeout=20) as sock:
        try:
            sock.sendall(head)
        except ConnectionError:
            return
        if b"PRI" in head:
            return
        answer = told(sock)
        assert not answer.startswith(b"HTTP/1.1 5") and not answer.startswith(b"HTTP/1.1 2"), answer


def test_a_body_without_an_end(wire, bystander):
    with socket.create_connection(address(wire), timeout=20) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                     b"Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\n\r\n")
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        try:
            for _ in range(64):
                sock.sendall(chunk)
        except (ConnectionError, socket.timeout):
            return
        assert told(sock).startswith(b"HTTP/1.1 4")


def test_half_open_connections_and_slow_senders(wire, bystander):
    sockets = []
    try:
        for n in range(300):
            sock = socket.create_connection(address(wire), timeout=20)
            sockets.append(sock)
            if n % 3 == 1:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
            elif n % 3 == 2:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n"
                             b"Content-Type: application/x-amz-json-1.0\r\n\r\n{")
        for _ in range(20):
            for sock in sockets[2::3]:
                try:
                    sock.sendall(b" ")
                except ConnectionError:
                    pass
            # A new caller is served beside them.
            assert wire.call("ListTables", {"Limit": 1}).status == 200
    finally:
        for sock in sockets:
            sock.close()


def test_many_large_bodies_that_never_end(wire, bystander):
    """64 callers begin a body of 16 MB each, send 4 MB of it, and wait: 256 MB must not stay for long."""
    sockets = []
    try:
        for _ in range(64):
            sock = socket.create_connection(address(wire), timeout=20)
            sockets.append(sock)
            try:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\nX-Amz-Target: DynamoDB_20120810.PutItem\r\n"
                             b"Content-Type: application/x-amz-json-1.0\r\n\r\n" + b" " * (4 << 20))
            except (ConnectionError, socket.timeout):
                pass
        assert wire.call("ListTables", {"Limit": 1}).status == 200
    finally:
        for sock in sockets:
            sock.close()


def test_many_callers_with_nonsense(wire, bystander):
    def abuse(n):
        return wire.call("PutItem", ["[" * 10_000, deep(1_000, "list"), b"\xff" * 100_000, "{}"][n % 4]).status
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(abuse, range(200))) == {400}
