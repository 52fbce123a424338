#!/usr/bin/env python3
"""Writes the description of DynamoDB's requests that the router checks requests against.

Source: the API models of DynamoDB and DynamoDB Streams in the package `botocore` (Apache-2.0), reduced
to the shapes that requests are made of. What the service is seen to do and its model does not say (the
order in which it looks at members, the order of enum values in its texts, tighter limits) stands in the
tables below, each with where it is seen.

    dynamodb_model.py            writes region/router/src/dynamodb/model.json
    dynamodb_model.py --check    says whether that file is what it would write (exit code 1 if not)
"""

import gzip
import json
import pathlib
import sys

TARGET = pathlib.Path(__file__).resolve().parents[2] / "region/router/src/dynamodb/model.json"
VERSION = "1.44.5"

# The service reports several violations in an order of its own, equal in every answer. Members that
# are not named follow in the model's order.
LEGACY = ["AttributeValueList", "ComparisonOperator", "Exists", "Value"]
ORDER = {
    "PutItemInput": ["ReturnConsumedCapacity", "TableName", "Item", "ConditionalOperator", "Expected",
                     "ReturnValues", "ReturnItemCollectionMetrics", "ConditionExpression",
                     "ExpressionAttributeValues", "ExpressionAttributeNames"],
    "GetItemInput": ["ReturnConsumedCapacity", "AttributesToGet", "TableName", "Key", "ConsistentRead",
                     "ProjectionExpression", "ExpressionAttributeNames"],
    "DeleteItemInput": ["ReturnConsumedCapacity", "TableName", "ReturnValues",
                        "ReturnItemCollectionMetrics", "Key", "ConditionalOperator", "Expected",
                        "ConditionExpression", "ExpressionAttributeValues",
                        "ExpressionAttributeNames"],
    "UpdateItemInput": ["ReturnConsumedCapacity", "TableName", "ReturnItemCollectionMetrics",
                        "ReturnValues", "Key", "ConditionalOperator", "Expected", "AttributeUpdates",
                        "ConditionExpression", "UpdateExpression", "ExpressionAttributeValues",
                        "ExpressionAttributeNames"],
    "QueryInput": ["Select", "IndexName", "ReturnConsumedCapacity", "QueryFilter", "TableName",
                   "ConditionalOperator", "AttributesToGet", "Limit", "KeyConditions",
                   "ExclusiveStartKey", "ConsistentRead", "ScanIndexForward",
                   "KeyConditionExpression", "FilterExpression", "ProjectionExpression",
                   "ExpressionAttributeValues", "ExpressionAttributeNames"],
    "ScanInput": ["Select", "IndexName", "TotalSegments", "ReturnConsumedCapacity", "TableName",
                  "ConditionalOperator", "ScanFilter", "Segment", "Limit", "AttributesToGet",
                  "ExclusiveStartKey", "ConsistentRead", "FilterExpression", "ProjectionExpression",
                  "ExpressionAttributeValues", "ExpressionAttributeNames"],
    "BatchGetItemInput": ["ReturnConsumedCapacity", "RequestItems"],
    "BatchWriteItemInput": ["ReturnConsumedCapacity", "ReturnItemCollectionMetrics", "RequestItems"],
    "WriteRequest": ["DeleteRequest", "PutRequest"],
    "KeysAndAttributes": ["Keys", "AttributesToGet", "ConsistentRead", "ProjectionExpression",
                          "ExpressionAttributeNames"],
    "ExpectedAttributeValue": LEGACY,
    "Condition": ["AttributeValueList", "ComparisonOperator"],
    "AttributeValueUpdate": ["Action", "Value"],
    "AttributeValue": ["S", "B", "N", "BOOL", "NULL", "BS", "NS", "SS", "L", "M"],
    "CreateTableInput": ["AttributeDefinitions", "TableName", "BillingMode", "ProvisionedThroughput",
                         "KeySchema", "LocalSecondaryIndexes", "GlobalSecondaryIndexes"],
    "UpdateTableInput": ["TableName", "ProvisionedThroughput", "BillingMode",
                         "GlobalSecondaryIndexUpdates"],
    "ProvisionedThroughput": ["WriteCapacityUnits", "ReadCapacityUnits"],
    "CreateGlobalSecondaryIndexAction": ["Projection", "IndexName", "ProvisionedThroughput",
                                         "KeySchema"],
    "ListTablesInput": ["Limit", "ExclusiveStartTableName"],
}

# Enum values in the order of the service's texts.
COMPARISONS = ["IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE",
               "BEGINS_WITH", "GE", "CONTAINS"]
ENUMS = {
    "ReturnConsumedCapacity": ["INDEXES", "TOTAL", "NONE"],
    "ReturnItemCollectionMetrics": ["SIZE", "NONE"],
    "ReturnValue": ["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"],
    "ConditionalOperator": ["OR", "AND"],
    "ComparisonOperator": COMPARISONS,
    "Select": ["SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"],
    "ScalarAttributeType": ["B", "N", "S"],
    "KeyType": ["HASH", "RANGE"],
    "BillingMode": ["PROVISIONED", "PAY_PER_REQUEST"],
    "ProjectionType": ["ALL", "INCLUDE", "KEYS_ONLY"],
    "ReturnValuesOnConditionCheckFailure": ["ALL_OLD", "NONE"],
}

# Limits that the service applies and the model does not have, and the other way round.
LIMITS = {
    # A name or an ARN: an ARN is known by its first four letters and has the model's limits.
    "TableArn": {"min": 3, "max": 255, "pattern": "[a-zA-Z0-9_.-]+"},
    "KeySchema": {"min": 1, "max": 2},
    "AttributeNameList": {"min": 1, "max": 255},
    # Names of attributes are checked with the item, in the item's own words.
    "AttributeName": {"max": None},
    "KeySchemaAttributeName": {"min": 1, "max": 255},
    # The service's own check of BatchGetItem says "Too many items requested".
    "BatchGetRequestMap": {"min": 1, "max": None},
    "BatchWriteItemRequestMap": {"min": 1, "max": None},
    # The service checks ARNs of resources by itself, after everything else.
    "ResourceArnString": {"min": None, "max": None},
    "NonKeyAttributeNameList": {"min": 1, "max": None},
    "NonKeyAttributeName": {"min": None, "max": None},
    # An unknown action of the legacy updates is refused after the model's checks.
    "AttributeAction": {"enum": None},
}

# The one pattern of requests that are served; the others belong to operations that have no meaning here.
NAME_PATTERN = "[a-zA-Z0-9_.-]+"

# Requests whose TableName is looked at before all else, with sentences of its own.
NAMED_FIRST = ["CreateTableInput", "DeleteTableInput", "DescribeTableInput", "UpdateTableInput",
               "DescribeTimeToLiveInput", "DescribeContinuousBackupsInput"]
# Required members that the service reports by itself.
OWN_REQUIRED = {
    "ListTagsOfResourceInput": ["ResourceArn"],
    "TagResourceInput": ["ResourceArn", "Tags"],
    "UntagResourceInput": ["ResourceArn", "TagKeys"],
}
# No longer required by the model, still required by the service.
MORE_REQUIRED = {"CreateTableInput": ["AttributeDefinitions", "KeySchema"]}


def service(name, version):
    import botocore

    path = pathlib.Path(botocore.__file__).parent / "data" / name / version / "service-2.json.gz"
    with gzip.open(path) as file:
        return json.load(file)


def shape_of(name, shape):
    out = {"type": shape["type"]}
    limits = {key: shape[key] for key in ("min", "max", "pattern", "enum") if key in shape}
    limits.update(LIMITS.get(name, {}))
    if limits.get("pattern") != NAME_PATTERN:
        limits["pattern"] = None
    if name in ENUMS:
        assert sorted(ENUMS[name]) == sorted(shape["enum"]), name
        limits["enum"] = ENUMS[name]
    out.update({key: value for key, value in limits.items() if value is not None})
    if shape["type"] == "structure":
        members = shape["members"]
        first = [member for member in ORDER.get(name, []) if member in members]
        assert len(first) == len(ORDER.get(name, [])), (name, first)
        rest = [member for member in members if member not in first]
        own = OWN_REQUIRED.get(name, [])
        required = [m for m in shape.get("required", []) if m not in own]
        required += [m for m in MORE_REQUIRED.get(name, []) if m not in required]
        out["members"] = [[m, members[m]["shape"], m in required] for m in first + rest]
        if name in NAMED_FIRST:
            out["named_first"] = True
    elif shape["type"] == "list":
        out["member"] = shape["member"]["shape"]
    elif shape["type"] == "map":
        out["key"], out["value"] = shape["key"]["shape"], shape["value"]["shape"]
    return out


def reachable(model, start, shapes):
    todo = list(start)
    while todo:
        name = todo.pop()
        shape = shape_of(name, model["shapes"][name])
        if name in shapes:
            assert shapes[name] == shape, f"{name} differs between the two services"
            continue
        shapes[name] = shape
        todo += [member[1] for member in shape.get("members", [])]
        todo += [shape[key] for key in ("member", "key", "value") if key in shape]


def describe():
    shapes, targets = {}, {}
    for name in ("dynamodb", "dynamodbstreams"):
        model = service(name, "2012-08-10")
        operations = {op: o["input"]["shape"] for op, o in sorted(model["operations"].items())}
        reachable(model, operations.values(), shapes)
        targets[model["metadata"]["targetPrefix"]] = operations
    return {"source": f"botocore {VERSION}", "targets": targets, "shapes": dict(sorted(shapes.items()))}


def text():
    model = describe()
    line = lambda value: json.dumps(value, separators=(",", ":"))
    out = ['{', f'"source":{line(model["source"])},', '"targets":{']
    targets = list(model["targets"].items())
    for index, (target, operations) in enumerate(targets):
        comma = "," if index + 1 < len(targets) else ""
        out.append(f'{line(target)}:{line(operations)}{comma}')
    out += ['},', '"shapes":{']
    shapes = list(model["shapes"].items())
    for index, (name, shape) in enumerate(shapes):
        comma = "," if index + 1 < len(shapes) else ""
        out.append(f'{line(name)}:{line(shape)}{comma}')
    out += ['}', '}', '']
    return "\n".join(out)


def main():
    try:
        import botocore
    except ImportError:
        print("botocore is not installed: nothing to compare with", file=sys.stderr)
        return 2
    if botocore.__version__ != VERSION:
        print(f"this script is written for botocore {VERSION}", file=sys.stderr)
        return 2
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text() == text() else 1
    TARGET.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
