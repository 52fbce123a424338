"""Create a table, put an item, get it back: only grpcio and server reflection, no generated code.

usage: items_over_reflection.py HOST:PORT TABLE
"""

import sys
import time

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


class Service:
    """Calls unary methods of one service, with requests written as keyword arguments."""

    def __init__(self, channel, pool, name):
        self._channel = channel
        self._descriptor = pool.FindServiceByName(name)

    def call(self, method, **fields):
        descriptor = self._descriptor.FindMethodByName(method)
        request = GetMessageClass(descriptor.input_type)(**fields)
        reply = GetMessageClass(descriptor.output_type)
        stub = self._channel.unary_unary(
            f"/{self._descriptor.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return stub(request, timeout=10)


def main(address, table):
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = database.get_services()
        for expected in ("tombolo.v1.Items", "tombolo.v1.Tables", "grpc.health.v1.Health"):
            assert expected in names, f"reflection does not list {expected}: {sorted(names)}"
        pool = DescriptorPool(database)
        tables = Service(channel, pool, "tombolo.v1.Tables")
        items = Service(channel, pool, "tombolo.v1.Items")

        tables.call("CreateTable", **create_fields(table))
        deadline = time.monotonic() + 30
        while True:
            described = tables.call("DescribeTable", table_name=table)
            status = status_name(described.table)
            if status.endswith("ACTIVE"):
                break
            assert time.monotonic() < deadline, f"table {table} is still {status}"
            time.sleep(0.05)

        item = {"pk": {"s": "harbour"}, "boats": {"n": "42.50"}, "open": {"bool": True}}
        items.call("PutItem", table_name=table, item=item)
        reply = items.call("GetItem", table_name=table, key={"pk": {"s": "harbour"}}, consistent_read=True)
        assert reply.item["boats"].n == "42.5", reply
        assert reply.item["open"].bool is True, reply

        try:
            items.call("PutItem", table_name=table, item={"other": {"s": "x"}})
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
            assert "pk" in error.details(), error
        else:
            raise AssertionError("an item without its key was accepted")
    print("ok")


def status_name(table):
    """The enum's name, from the descriptor that reflection gave."""
    field = table.DESCRIPTOR.fields_by_name["status"]
    return field.enum_type.values_by_number[table.status].name


def create_fields(table):
    """The request for a table with one string partition key named pk."""
    return {
        "table_name": table,
        "attribute_definitions": [
            {"attribute_name": "pk", "attribute_type": "SCALAR_ATTRIBUTE_TYPE_S"}
        ],
        "key_schema": [{"attribute_name": "pk", "key_type": "KEY_TYPE_HASH"}],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
