"""DescribeEndpoints: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeEndpoints.html"""

import urllib.parse


def test_the_endpoint_is_one_that_serves(db, node, cluster):
    endpoints = db.describe_endpoints()["Endpoints"]
    assert endpoints
    for endpoint in endpoints:
        assert endpoint["CachePeriodInMinutes"] >= 1
        scheme = urllib.parse.urlsplit(node).scheme
        other = cluster.client("dynamodb", f"{scheme}://{endpoint['Address']}")
        assert "TableNames" in other.list_tables()
