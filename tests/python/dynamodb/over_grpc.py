"""The same checks of the same operations, asked by gRPC: what one front answers, the other answers.

Left out are checks of what gRPC has no form for: types and enum values that its schema does not let through,
parameters from before expressions, and conversions of JSON."""

import pytest

from grpc_client import GrpcClient
from kit import Tables
from conditions import table as conditions_table
from conditions import (  # noqa: F401
    test_100_operands_of_in_and_no_more,
    test_2_mb_of_substitutions_and_no_more,
    test_300_operators_and_no_more,
    test_4_kib_of_expression_and_no_more,
    test_expressions_that_are_none,
    test_what_does_not_hold,
    test_what_holds,
)
from delete_item import test_an_item_is_gone_and_deleting_again_is_no_error, test_only_the_named_item_goes  # noqa: F401
from delete_item import test_conditions as test_conditions_of_delete  # noqa: F401
from put_item import (  # noqa: F401
    test_a_failed_condition_changes_nothing_and_may_show_the_item,
    test_a_failed_condition_on_nothing_shows_nothing,
    test_an_item_is_replaced_as_a_whole,
    test_equal_numbers_are_one_key,
    test_every_type_comes_back_as_it_was_put,
    test_limits_of_sort_keys,
    test_names_count_into_the_size,
    test_numbers_are_normalized,
    test_numbers_at_the_edges_of_the_range,
    test_sets_keep_their_members,
    test_the_deepest_value,
    test_the_largest_item,
    test_the_longest_partition_key,
)
from put_item import BAD_VALUES, test_values_that_are_no_values as values_that_are_no_values
from query import numbered, texts  # noqa: F401
from query import (  # noqa: F401
    test_a_table_without_sort_key,
    test_numbers_come_in_their_order,
    test_one_partition_key_only,
    test_pages_of_a_limit,
    test_prefixes,
    test_ranges_of_numbers,
    test_spelling_of_conditions,
    test_texts_come_in_the_order_of_their_bytes,
)
from scan import full  # noqa: F401
from scan import test_every_item_once, test_items_of_one_partition_key_stand_together_in_order  # noqa: F401

table = conditions_table


@pytest.fixture(scope="module")
def db(cluster, node):
    """The gRPC port of the node whose DynamoDB port the other files would use."""
    client = GrpcClient(cluster.grpc[cluster.nodes.index(node)].removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def make(cluster, node, request):
    """Tables are made through the SDK: a table is the same table, whoever made it."""
    maker = Tables(cluster.client("dynamodb", node), request.module.__name__)
    yield maker
    maker.delete_all()


# A message's `oneof` holds one value: two types in one cannot be said. Its bytes have no form in base64 to quote.
@pytest.mark.parametrize("value, message", [(value, message) for value, message in BAD_VALUES
                                            if "more than one" not in str(message) and "of type BS" not in str(message)])
def test_values_that_are_no_values(db, simple, value, message):
    values_that_are_no_values(db, simple, value, message)
