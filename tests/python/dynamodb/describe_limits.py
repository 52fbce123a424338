"""DescribeLimits: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeLimits.html"""

NAMES = {"AccountMaxReadCapacityUnits", "AccountMaxWriteCapacityUnits", "TableMaxReadCapacityUnits",
         "TableMaxWriteCapacityUnits"}


def test_limits(db):
    limits = db.describe_limits()
    del limits["ResponseMetadata"]
    assert set(limits) == NAMES
    # AWS's quotas: 80,000 units of an account, 40,000 of a table.
    assert all(isinstance(value, int) and value >= 40_000 for value in limits.values()), limits
    assert limits["AccountMaxReadCapacityUnits"] >= limits["TableMaxReadCapacityUnits"]
    assert limits["AccountMaxWriteCapacityUnits"] >= limits["TableMaxWriteCapacityUnits"]


def test_unknown_members_are_passed_over(wire):
    answer = wire.call("DescribeLimits", {"Unknown": [1, {"a": None}]})
    assert answer.status == 200 and set(answer.json()) == NAMES
