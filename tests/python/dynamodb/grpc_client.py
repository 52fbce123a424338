"""The SDK's calls, carried by gRPC: only grpcio and server reflection, no generated code.

Parameters and answers have DynamoDB's shapes, so that one test asks both protocols the same. What the
gRPC API does not offer is a KeyError here."""

import re

import botocore.exceptions
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = ("tombolo.v1.Items", "tombolo.v1.Tables", "tombolo.v1.Operations")
HTTP_STATUS = {grpc.StatusCode.INTERNAL: 500, grpc.StatusCode.UNAVAILABLE: 503}


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


class GrpcClient:
    """Has a method for every operation of the gRPC API, named as the SDK names it."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        self._pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self._channel))
        self._methods = {}
        for name in SERVICES:
            service = self._pool.FindServiceByName(name)
            for method in service.methods:
                self._methods[snake(method.name)] = (service.full_name, method)

    def close(self):
        self._channel.close()

    def offers(self, operation):
        return operation in self._methods

    def __getattr__(self, operation):
        service, method = self._methods[operation]
        request_type, answer_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        stub = self._channel.unary_unary(
            f"/{service}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )

        def call(**parameters):
            request = request_type()
            fill(request, parameters)
            try:
                answer = stub(request, timeout=60)
            except grpc.RpcError as error:
                raise as_client_error(error, method.name, self._pool) from None
            return {**read(answer), "ResponseMetadata": {"HTTPStatusCode": 200}}

        return call


def fill(message, parameters):
    """Writes DynamoDB's names and values into a message."""
    for name, value in parameters.items():
        if value is None:
            continue
        field = message.DESCRIPTOR.fields_by_name[snake(name)]
        put(message, field, value)


def put(message, field, value):
    target = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        for key, entry in value.items():
            if inner.message_type is None:
                target[key] = entry
            else:
                fill_message(target[key], entry)
    elif field.is_repeated:
        for entry in value:
            if kind is None:
                target.append(enum_or_plain(field, entry))
            else:
                fill_message(target.add(), entry)
    elif kind is not None:
        target.SetInParent()
        fill_message(target, value)
    else:
        setattr(message, field.name, enum_or_plain(field, value))


def enum_or_plain(field, value):
    if field.enum_type is None:
        return value
    return next(number for name, number in ((v.name, v.number) for v in field.enum_type.values)
                if name == f"{snake(field.enum_type.name).upper()}_{value}")


def fill_message(message, value):
    if message.DESCRIPTOR.name == "AttributeValue":
        attribute_value(message, value)
    else:
        fill(message, value)


def attribute_value(message, value):
    if not value:
        message.SetInParent()
    for kind, inner in value.items():
        name = kind.lower()
        if kind in ("SS", "NS", "BS"):
            getattr(message, name).SetInParent()
            getattr(message, name).values.extend(inner)
        elif kind == "L":
            message.l.SetInParent()
            for entry in inner:
                attribute_value(message.l.values.add(), entry)
        elif kind == "M":
            message.m.SetInParent()
            for key, entry in inner.items():
                attribute_value(message.m.entries[key], entry)
        else:
            setattr(message, name, inner)


def read(message):
    """A message in DynamoDB's names and values; what is empty is left out, but for lists of items."""
    found = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        name = camel(field.name)
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            inner = kind.fields_by_name["value"]
            if value:
                found[name] = {key: entry if inner.message_type is None else read_message(entry)
                               for key, entry in value.items()}
        elif field.is_repeated:
            if value or name == "Items":
                found[name] = [entry if kind is None else read_message(entry) for entry in value]
        elif kind is not None:
            if message.HasField(field.name):
                found[name] = read_message(value)
        elif field.enum_type is not None:
            prefix = f"{snake(field.enum_type.name).upper()}_"
            found[name] = field.enum_type.values_by_number[value].name.removeprefix(prefix)
        elif not field.has_presence or message.HasField(field.name):
            found[name] = value
    return found


def read_message(message):
    name = message.DESCRIPTOR.name
    if name == "AttributeValue":
        return read_value(message)
    if name == "Item":
        return {key: read_value(value) for key, value in message.attributes.items()}
    return read(message)


def read_value(message):
    kind = message.WhichOneof("value")
    inner = getattr(message, kind)
    if kind in ("ss", "ns", "bs"):
        return {kind.upper(): list(inner.values)}
    if kind == "l":
        return {"L": [read_value(entry) for entry in inner.values]}
    if kind == "m":
        return {"M": {key: read_value(entry) for key, entry in inner.entries.items()}}
    return {kind.upper(): inner}


def as_client_error(error, operation, pool):
    """The exception that the SDK would raise: DynamoDB's name, text and HTTP status."""
    reason, more = error.code().name, {}
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                    info = error_details_pb2.ErrorInfo()
                    detail.Unpack(info)
                    reason = info.reason
                elif detail.type_url.endswith("tombolo.v1.ConditionalCheckFailed"):
                    kind = GetMessageClass(pool.FindMessageTypeByName("tombolo.v1.ConditionalCheckFailed"))
                    failed = read(kind.FromString(detail.value))
                    more = {"Item": failed["Item"]} if failed.get("Item") else {}
    response = {
        "Error": {"Code": reason, "Message": error.details()},
        "ResponseMetadata": {"HTTPStatusCode": HTTP_STATUS.get(error.code(), 400)},
        **more,
    }
    return botocore.exceptions.ClientError(response, operation)
