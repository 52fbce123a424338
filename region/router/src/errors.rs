//! Everything that a caller can be told: all texts stand in this file, each beside its code, its
//! reason and whether a retry helps.
//!
//! Always true: reasons are DynamoDB's exception names (ours, where it has none: OutcomeUnknown,
//! RequestTimeout, ServiceUnavailable, DiskFull, CorruptData); texts are DynamoDB's where it has one
//! (botocore's model of 2012-08-10 and what the service answers); internal causes go to the log under
//! the request's id, not into the text.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use tombolo_group::GroupError;
use tombolo_item::partiql::StatementError;
use tombolo_item::{ExpressionError, Item, ItemError};
use tombolo_memds::{CatalogError, MemdsError, RouteError, Uncertain};
use tonic::Code;

use crate::authorize::Principal;
use crate::failure::Failure;
use crate::operation::{Select, StreamName};

/// How long a caller that was turned away for load should wait.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

// ---- the caller's mistakes --------------------------------------------------------------------

/// Something in the request is wrong; the text says what.
pub fn validation(message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(Code::InvalidArgument, "ValidationException", message, false)
}

/// Something in the request is wrong, in the words that DynamoDB begins such texts with.
fn parameters(what: impl Display) -> Failure {
    validation(format!("One or more parameter values were invalid: {what}"))
}

/// The body is no message at all, or too large.
pub fn undecodable(message: &str) -> Failure {
    let message = message.trim_end_matches('.');
    let message = match message.strip_prefix(tombolo_client::codec::UNDECODABLE) {
        Some(_) => message.to_string(),
        None => format!("{}: {message}", tombolo_client::codec::UNDECODABLE),
    };
    Failure::new(Code::InvalidArgument, "SerializationException", message, false)
}

/// A parameter's value breaks a rule that the API model states.
fn constraint(value: impl Display, parameter: &str, rule: impl Display) -> Failure {
    validation(format!(
        "1 validation error detected: Value '{value}' at '{parameter}' failed to satisfy \
         constraint: {rule}"
    ))
}

/// What a caller sent, as far as an error quotes it.
fn few(text: &str) -> String {
    text.chars().take(256).collect()
}

/// A number below what is allowed.
pub fn too_small(value: impl Display, parameter: &str, least: u64) -> Failure {
    constraint(
        value,
        parameter,
        format_args!("Member must have value greater than or equal to {least}"),
    )
}

/// A number above what is allowed.
pub fn too_large(value: impl Display, parameter: &str, most: u64) -> Failure {
    constraint(
        value,
        parameter,
        format_args!("Member must have value less than or equal to {most}"),
    )
}

/// A text below the shortest that is allowed.
pub fn too_short_text(value: &str, parameter: &str, least: usize) -> Failure {
    let rule = format_args!("Member must have length greater than or equal to {least}");
    constraint(few(value), parameter, rule)
}

/// A text above the longest that is allowed.
pub fn too_long_text(value: &str, parameter: &str, most: usize) -> Failure {
    constraint(
        few(value),
        parameter,
        format_args!("Member must have length less than or equal to {most}"),
    )
}

/// A text of other characters than are allowed.
pub fn pattern(value: &str, parameter: &str, pattern: &str) -> Failure {
    let rule = format_args!("Member must satisfy regular expression pattern: {pattern}");
    constraint(few(value), parameter, rule)
}

/// A list below the shortest that is allowed.
pub fn too_few_members(shown: &str, parameter: &str, least: usize) -> Failure {
    let rule = format_args!("Member must have length greater than or equal to {least}");
    constraint(few(shown), parameter, rule)
}

/// A list above the longest that is allowed.
pub fn too_many_members(count: usize, parameter: &str, most: usize) -> Failure {
    validation(format!(
        "1 validation error detected: Value of {count} elements at '{parameter}' failed to satisfy \
         constraint: Member must have length less than or equal to {most}"
    ))
}

/// An enum number that means nothing.
pub fn unknown_enum(value: i32, parameter: &str, legal: &str) -> Failure {
    constraint(value, parameter, format_args!("Member must satisfy enum value set: [{legal}]"))
}

/// A parameter that must be there and is not.
pub fn missing_parameter(parameter: &str) -> Failure {
    validation(format!(
        "1 validation error detected: Value null at '{parameter}' failed to satisfy constraint: \
         Member must not be null"
    ))
}

/// A text that is too long.
pub fn too_long(parameter: &str, length: usize, most: usize) -> Failure {
    validation(format!("The parameter {parameter} has {length} bytes; it may have {most} at most"))
}

/// The table's name breaks the rules for names.
pub fn bad_table_name() -> Failure {
    validation(
        "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, \
         and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'",
    )
}

/// What should name a table is an ARN of something else, or of another region.
pub fn bad_table_arn(arn: &str) -> Failure {
    validation(format!("Invalid TableArn: Invalid ResourceArn provided as input {}", few(arn)))
}

/// What should name a resource with tags does not.
pub fn bad_resource_arn(arn: &str) -> Failure {
    validation(format!("Invalid TableArn: Invalid ResourceArn provided as input {}", few(arn)))
}

/// What should name a stream does not.
pub fn bad_stream_arn(arn: &str) -> Failure {
    validation(format!("Invalid StreamArn: {}", few(arn)))
}

/// A shard's name in the Streams API has another form.
pub fn bad_shard_id(id: &str) -> Failure {
    validation(format!("Invalid ShardId in request: {}", few(id)))
}

/// A sequence number has another form.
pub fn bad_sequence(text: &str) -> Failure {
    validation(format!("Invalid SequenceNumber in request: {}", few(text)))
}

/// Text that is no iterator of ours.
pub fn bad_iterator() -> Failure {
    validation("Invalid ShardIterator.")
}

/// An iterator of more than fifteen minutes.
pub fn expired_iterator() -> Failure {
    Failure::new(
        Code::InvalidArgument,
        "ExpiredIteratorException",
        "The shard iterator is older than 15 minutes; get a new one with GetShardIterator",
        false,
    )
}

/// `exclusive_start_key` is not of the table's key attributes.
pub fn start_key_invalid() -> Failure {
    validation("The provided starting key is invalid")
}

/// `exclusive_start_key` belongs to another partition key.
pub fn start_key_elsewhere() -> Failure {
    validation("The provided starting key is outside query boundaries based on provided conditions")
}

/// `exclusive_start_key` is outside of what the sort condition asks.
pub fn start_key_outside_range() -> Failure {
    validation("The provided starting key does not match the range key predicate")
}

/// A put or a delete was asked for what only an update can give.
pub fn return_values_illegal() -> Failure {
    validation("ReturnValues can only be ALL_OLD or NONE")
}

/// An update of what the item is found by.
pub fn update_of_key(name: &str) -> Failure {
    parameters(format_args!("Cannot update attribute {name}. This attribute is part of the key"))
}

/// Names without the choice of them, or the other way about.
pub fn select_needs_names() -> Failure {
    validation(
        "Must specify the AttributesToGet or ProjectionExpression when choosing to get \
         SPECIFIC_ATTRIBUTES",
    )
}

/// Names beside a choice that has no use for them.
pub fn select_with_names(select: Select) -> Failure {
    let chosen = match select {
        Select::Count => "only the Count",
        other => other.as_str(),
    };
    validation(format!("Cannot specify the ProjectionExpression when choosing to get {chosen}"))
}

/// What an index holds, asked of the table.
pub fn select_needs_index() -> Failure {
    parameters("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
}

/// A filter on what the key condition is for.
pub fn filter_on_key(name: &str) -> Failure {
    validation(format!(
        "Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}"
    ))
}

/// The table has no such index.
pub fn index_not_found(index: &str) -> Failure {
    validation(format!("The table does not have the specified index: {index}"))
}

/// A segment that is none of them.
pub fn segment_beyond_total(segment: u32, total: u32) -> Failure {
    validation(format!(
        "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: \
         {segment} is not less than TotalSegments: {total}"
    ))
}

/// One of the two parameters that say which part of a scan this is.
pub fn segment_without_total(missing: &str, given: &str) -> Failure {
    validation(format!(
        "The {missing} parameter is required but was not present in the request when parameter \
         {given} is present"
    ))
}

/// A start key that another segment gave out.
pub fn start_key_of_another_segment(segment: u32, total: u32) -> Failure {
    validation(format!(
        "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use \
         ExclusiveStartKey with correct Segment. TotalSegments: {total} Segment: {segment}"
    ))
}

/// What a PartiQL statement breaks. Its texts are DynamoDB's.
pub fn from_statement(error: StatementError) -> Failure {
    validation(error.to_string())
}

/// An INSERT met an item.
pub fn duplicate_item(failure: Failure) -> Failure {
    match failure.reason {
        "ConditionalCheckFailedException" => Failure {
            reason: "DuplicateItemException",
            message: "Duplicate primary key exists in table".into(),
            code: Code::AlreadyExists,
            ..failure
        },
        _ => failure,
    }
}

/// What a statement of a batch failed with (API_BatchStatementError, `Code`).
pub fn statement_code(reason: &str) -> &'static str {
    match reason {
        "ConditionalCheckFailedException" => "ConditionalCheckFailed",
        "ItemCollectionSizeLimitExceededException" => "ItemCollectionSizeLimitExceeded",
        "RequestLimitExceeded" => "RequestLimitExceeded",
        "ValidationException" | "SerializationException" => "ValidationError",
        "ProvisionedThroughputExceededException" => "ProvisionedThroughputExceeded",
        "TransactionConflictException" => "TransactionConflict",
        "ThrottlingException" => "ThrottlingError",
        "ResourceNotFoundException" => "ResourceNotFound",
        "AccessDeniedException" => "AccessDenied",
        "DuplicateItemException" => "DuplicateItem",
        _ => "InternalServerError",
    }
}

/// A page of a statement that writes.
pub fn page_of_a_write() -> Failure {
    validation("Limit and NextToken can only be specified for SELECT statements")
}

/// A token that is none of this statement.
pub fn bad_next_token() -> Failure {
    validation("The provided NextToken is invalid")
}

/// EXISTS is a condition of a transaction.
pub fn exists_outside_transaction() -> Failure {
    validation("EXISTS can only be used in ExecuteTransaction")
}

/// Reads beside writes.
pub fn reads_and_writes_in_batch() -> Failure {
    validation("Statements of a batch must be all reads or all writes")
}

/// A SELECT of more than an item.
pub fn select_without_key_in_batch() -> Failure {
    validation(
        "Select statements within BatchExecuteStatement must specify the primary key in the where \
         clause.",
    )
}

/// A batch of nothing.
pub fn empty_batch() -> Failure {
    constraint("{}", "requestItems", "Member must have length greater than or equal to 1")
}

/// A write of a batch that says neither put nor removal.
pub fn empty_write_request() -> Failure {
    validation("Supplied WriteRequest is empty, must contain exactly one of put and delete")
}

/// More than a batch may hold.
pub fn too_many_requests_in_batch(operation: &str) -> Failure {
    validation(format!("Too many items requested for the {operation} call"))
}

/// Two requests of a batch are about one item.
pub fn duplicate_keys() -> Failure {
    validation("Provided list of item keys contains duplicates")
}

/// More bytes than a batch may hold.
pub fn batch_too_large(most: usize) -> Failure {
    validation(format!("The items of the request are larger than {most} bytes together"))
}

/// Names or values without an expression.
pub fn placeholders_without_expression(which: &str) -> Failure {
    validation(format!("{which} can only be specified when using expressions"))
}

/// What an expression breaks. Its texts are DynamoDB's.
pub fn from_expression(error: ExpressionError) -> Failure {
    match error {
        ExpressionError::Item(error) => from_item(error),
        other => validation(other.to_string()),
    }
}

/// What an item or a key breaks. Its texts are DynamoDB's.
pub fn from_item(error: ItemError) -> Failure {
    validation(error.to_string())
}

/// What the key of a put in a batch breaks: DynamoDB looks at it as at the key of a delete.
pub fn from_batched_key(error: ItemError) -> Failure {
    match error {
        ItemError::MissingKey(_) | ItemError::KeyType { .. } => from_item(ItemError::KeyShape),
        other => from_item(other),
    }
}

/// What a query's operands break.
pub fn from_query_item(error: ItemError) -> Failure {
    match error {
        ItemError::KeyType { .. } => validation(
            "One or more parameter values were invalid: Condition parameter type does not match \
             schema type",
        ),
        ItemError::KeyShape => validation("Query key condition not supported"),
        ItemError::BeginsWithType => validation(
            "Invalid KeyConditionExpression: Incorrect operand type for operator or function; \
             operator or function: begins_with, operand type: N",
        ),
        ItemError::BetweenOrder => validation(format!("Invalid KeyConditionExpression: {error}")),
        other => from_item(other),
    }
}

/// A query without a condition, or with two.
pub fn key_condition_count(given: usize) -> Failure {
    validation(match given {
        0 => {
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the \
             request."
        }
        _ => {
            "Can not use both expression and non-expression parameters in the same request: \
             Non-expression parameters: {KeyConditions} Expression parameters: \
             {KeyConditionExpression}"
        }
    })
}

/// The session's id is none.
pub fn bad_session() -> Failure {
    validation("The parameter open.session must be 16 bytes that are not all zero")
}

/// A stream belongs to one session.
pub fn session_open_twice() -> Failure {
    validation("The parameter open may be given in the first frame of a stream only")
}

/// The caller's own idempotency token.
pub fn client_token_refused() -> Failure {
    validation(
        "ClientRequestToken is not supported for single-item writes. Make a retry safe with a \
         condition, for example attribute_not_exists on the key",
    )
}

// ---- tables -----------------------------------------------------------------------------------

/// There is no such table, told to who reads or writes items: DynamoDB names it only to who manages
/// tables.
pub fn no_table_of_items() -> Failure {
    let text = "Requested resource not found";
    Failure::new(Code::NotFound, "ResourceNotFoundException", text, false)
}

/// There is no table that these tags could be of. The spelling is DynamoDB's.
pub fn tagged_not_found(arn: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        "ResourceNotFoundException",
        format!("Requested resource not found: ResourcArn: {arn} not found"),
        false,
    )
}

/// There is no such table whose backups could be described.
pub fn table_of_backups_not_found(table: &str) -> Failure {
    let text = format!("Table not found: {table}");
    Failure::new(Code::NotFound, "TableNotFoundException", text, false)
}

/// There is no such table.
pub fn table_not_found(table: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        "ResourceNotFoundException",
        format!("Requested resource not found: Table: {table} not found"),
        false,
    )
}

/// The table is there but does not serve.
pub fn table_not_active(table: &str, state: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        "ResourceNotFoundException",
        format!(
            "Requested resource not found: Table: {table} is {state}; wait until DescribeTable says \
             ACTIVE"
        ),
        false,
    )
}

/// A replica region that nobody has heard of.
pub fn unknown_region(region: &str, known: &[String]) -> Failure {
    validation(format!(
        "One or more parameter values were invalid: The region {region} is not known here; known \
         are: {}",
        known.join(", ")
    ))
}

/// A change of nothing.
pub fn nothing_to_update() -> Failure {
    validation(
        "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, \
         GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required",
    )
}

/// There is no such global index.
pub fn global_index_not_found() -> Failure {
    Failure::new(Code::NotFound, "ResourceNotFoundException", "Requested resource not found", false)
}

/// A stream that does not say what it shows.
pub fn stream_without_view() -> Failure {
    parameters("StreamViewType must be specified when StreamEnabled is true")
}

/// No stream, but what it would show.
pub fn view_without_stream() -> Failure {
    parameters("StreamViewType must not be specified when StreamEnabled is false")
}

/// Keys for encryption at rest: nothing here would encrypt with them.
pub fn encryption_not_served() -> Failure {
    parameters(
        "Server-side encryption with other keys is not served by this version: leave \
         SSESpecification out, and encrypt the disks of the nodes",
    )
}

/// Bounds by request: nothing here would keep them.
pub fn on_demand_bounds_not_served() -> Failure {
    parameters(
        "OnDemandThroughput is not served by this version: leave it out, tables that are paid for by \
         request have no bound of their own",
    )
}

/// Settings of one copy of a table: all copies have the same.
pub fn replica_settings_not_served(region: &str) -> Failure {
    parameters(format_args!(
        "Settings of the replica in {} cannot differ from those of the table in this version",
        few(region)
    ))
}

/// Tags with none among them.
pub fn no_tags() -> Failure {
    validation("Atleast one Tag needs to be provided as Input.")
}

/// More tags than a table may have.
pub fn too_many_tags(most: usize) -> Failure {
    validation(format!("Too many tags: a resource can have {most} at most"))
}

/// A tag with characters that tags may not have.
pub fn tag_characters(text: &str) -> Failure {
    validation(format!(
        "Tag keys and values may contain letters, digits, spaces and + - = . _ : / @ only: {}",
        few(text)
    ))
}

/// A tag key that is not for people to set.
pub fn tag_reserved() -> Failure {
    validation("Tag keys that begin with aws: are reserved for system use")
}

/// One tag key twice.
pub fn duplicate_tag(key: &str) -> Failure {
    validation(format!("Duplicate tag key: {}", few(key)))
}

/// A key in the wrong place.
pub fn key_order(index: usize) -> Failure {
    validation(match index {
        0 => "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        _ => "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type",
    })
}

/// Key attributes without a type.
pub fn undefined_keys(keys: &[&str], defined: &[&str]) -> Failure {
    parameters(format_args!(
        "Some index key attributes are not defined in AttributeDefinitions. Keys: [{}], \
         AttributeDefinitions: [{}]",
        keys.join(", "),
        defined.join(", ")
    ))
}

/// A key attribute without a type, of a table with a sort key: DynamoDB has two texts.
pub fn key_without_definition() -> Failure {
    validation("Invalid KeySchema: Some index key attribute have no definition")
}

/// Types of attributes that are part of no key.
pub fn unused_definitions(defined: &[&str], used: &[&str]) -> Failure {
    parameters(format_args!(
        "Some AttributeDefinitions are not used. AttributeDefinitions: [{}], keys used: [{}]",
        defined.join(", "),
        used.join(", ")
    ))
}

/// Capacity for a table that is paid for by request.
pub fn units_of_on_demand() -> Failure {
    parameters(
        "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is \
         PAY_PER_REQUEST",
    )
}

/// No capacity for a table that needs it.
pub fn units_missing() -> Failure {
    parameters(
        "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is \
         PROVISIONED",
    )
}

/// Capacity for an index of a table that is paid for by request.
pub fn index_units_of_on_demand(index: &str) -> Failure {
    parameters(format_args!(
        "ProvisionedThroughput should not be specified for index: {index} when BillingMode is \
         PAY_PER_REQUEST"
    ))
}

/// No capacity for an index of a table that needs it.
pub fn index_units_missing(index: &str) -> Failure {
    parameters(format_args!("ProvisionedThroughput must be specified for index: {index}"))
}

/// A bound by request for a table that has capacity.
pub fn on_demand_of_provisioned() -> Failure {
    parameters("OnDemandThroughput can only be specified when BillingMode is PAY_PER_REQUEST")
}

/// Capacity that no table has.
pub fn units_out_of_bounds(units: i64, which: &str) -> Failure {
    validation(format!("Given value {units} for {which} is out of bounds"))
}

/// A list of indexes with none in it.
pub fn no_indexes(list: &str) -> Failure {
    parameters(format_args!("List of {list} is empty"))
}

/// Local indexes order by another attribute: there must be one to differ from.
pub fn local_index_without_sort_key() -> Failure {
    parameters(
        "Table KeySchema does not have a range key, which is required when specifying a \
         LocalSecondaryIndex",
    )
}

/// A local index orders by nothing.
pub fn index_without_sort_key(index: &str) -> Failure {
    parameters(format_args!("Index KeySchema does not have a range key for index: {index}"))
}

/// A local index has a partition key of its own.
pub fn index_of_another_key(index: &str, own: &str, table: &str) -> Failure {
    parameters(format_args!(
        "Index KeySchema does not have the same leading hash key as table KeySchema for index: \
         {index}. index hash key: {own}, table hash key: {table}"
    ))
}

/// An index that does not say what it holds.
pub fn unknown_projection() -> Failure {
    parameters("Unknown ProjectionType: null")
}

/// Attributes for an index that asks for none.
pub fn projected_names_given(kind: &str) -> Failure {
    parameters(format_args!("ProjectionType is {kind}, but NonKeyAttributes is specified"))
}

/// No attributes for an index that asks for some.
pub fn projected_names_missing() -> Failure {
    parameters("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
}

/// More attributes than all indexes of a table may hold together.
pub fn too_many_projected(count: usize, most: usize) -> Failure {
    parameters(format_args!(
        "The total number of NonKeyAttributes of all indexes is {count}, which exceeds the limit of \
         {most}"
    ))
}

/// Two indexes have one name.
pub fn duplicate_index(index: &str) -> Failure {
    parameters(format_args!("Duplicate index name: {index}"))
}

/// More local indexes than a table may have.
pub fn too_many_local_indexes(most: usize) -> Failure {
    parameters(format_args!("Number of LocalSecondaryIndexes exceeds per-table limit of {most}"))
}

/// More global indexes than a table may have.
pub fn too_many_global_indexes(most: usize) -> Failure {
    parameters(format_args!("GlobalSecondaryIndex count exceeds the per-table limit of {most}"))
}

/// Global indexes are understood and checked, and not served by this version.
pub fn global_indexes_later() -> Failure {
    parameters(
        "Global secondary indexes are not served by this version: create the table without \
         GlobalSecondaryIndexes, or use a local secondary index",
    )
}

/// Partition key and sort key are one attribute.
pub fn same_key_twice() -> Failure {
    validation("Both the Hash Key and the Range Key element in the KeySchema have the same name")
}

/// A type for an attribute that is no key.
pub fn definitions_without_key() -> Failure {
    validation(
        "One or more parameter values were invalid: Number of attributes in KeySchema does not \
         exactly match number of attributes defined in AttributeDefinitions",
    )
}

/// Two types for one attribute.
pub fn duplicate_definition(name: &str) -> Failure {
    validation(format!(
        "One or more parameter values were invalid: Duplicate AttributeName in \
         AttributeDefinitions: {name}"
    ))
}

/// A shard's name has another form.
pub fn bad_shard(shard: &str) -> Failure {
    constraint(
        shard.chars().take(64).collect::<String>(),
        "shard",
        "Member must be 16 hexadecimal digits, '-' and a number",
    )
}

/// There is no such shard.
pub fn shard_not_found(shard: impl Display) -> Failure {
    Failure::new(
        Code::NotFound,
        "ResourceNotFoundException",
        format!("Requested resource not found: Shard: {shard} not found"),
        false,
    )
}

/// The records asked for are gone.
pub fn trimmed(seq: u64, oldest: u64) -> Failure {
    Failure::new(
        Code::OutOfRange,
        "TrimmedDataAccessException",
        format!(
            "The records from sequence number {seq} are beyond the trim horizon; the oldest that \
             can be read is {oldest}"
        ),
        false,
    )
}

/// There is no such stream, or it was disabled.
pub fn stream_not_found(stream: &StreamName) -> Failure {
    let StreamName { table, label } = stream;
    Failure::new(
        Code::NotFound,
        "ResourceNotFoundException",
        match label {
            Some(label) => {
                format!("Requested resource not found: Stream: {table}/stream/{label} not found")
            }
            None => format!("Requested resource not found: Stream of table: {table} not found"),
        },
        false,
    )
}

/// A place in time that is not there yet.
pub fn timestamp_in_the_future() -> Failure {
    validation("Timestamp must not be in the future")
}

/// No replica of the shard answers.
pub fn shard_unreachable(shard: impl Display) -> Failure {
    Failure::new(
        Code::Unavailable,
        "ServiceUnavailable",
        format!("No replica of shard {shard} can be read at the moment; retry"),
        true,
    )
}

/// What the catalogue said.
pub fn from_catalog(error: CatalogError, table: &str, verb: &str) -> Failure {
    let in_use = |code, message| Failure::new(code, "ResourceInUseException", message, false);
    match error {
        CatalogError::Exists(name) => {
            in_use(Code::AlreadyExists, format!("Table already exists: {name}"))
        }
        CatalogError::NotFound(name) => table_not_found(&name),
        CatalogError::InUse { name, status } => in_use(
            Code::FailedPrecondition,
            format!(
                "Attempt to change a resource which is still in use: Table is {}: {name}",
                match status.to_ascii_uppercase().as_str() {
                    "CREATING" => "being created".into(),
                    "DELETING" => "being deleted".into(),
                    other => other.to_string(),
                }
            ),
        ),
        CatalogError::Invalid(why) => {
            validation(format!("One or more parameter values were invalid: {why}"))
        }
        CatalogError::Rejected(why) => validation(why),
        CatalogError::NotActiveInTime(_) => Failure::new(
            Code::DeadlineExceeded,
            "RequestTimeout",
            format!("Table {table} did not become ACTIVE in time; it goes on being created"),
            false,
        ),
        CatalogError::Memds(error) => {
            let cause = format!("cannot {verb} table {table}: {error}");
            match error {
                MemdsError::Conflict { .. } => Failure::new(
                    Code::Aborted,
                    "ResourceInUseException",
                    format!(
                        "Attempt to change a resource which is still in use: somebody else \
                         changes Table: {table}"
                    ),
                    true,
                )
                .because(cause),
                _ => Failure::new(
                    Code::Unavailable,
                    "OutcomeUnknown",
                    format!(
                        "It is not known whether the request to {verb} Table: {table} took effect, \
                         because the region's directory cannot be reached; DescribeTable will tell"
                    ),
                    false,
                )
                .because(cause),
            }
        }
    }
}

// ---- items ------------------------------------------------------------------------------------

/// The condition did not hold.
pub fn condition_failed(item: Option<Item>) -> Failure {
    let mut failure = Failure::new(
        Code::FailedPrecondition,
        "ConditionalCheckFailedException",
        "The conditional request failed",
        false,
    );
    failure.item = item.map(Box::new);
    failure
}

/// What the route to the partition said.
pub fn from_route(error: RouteError, table: &str, writes: bool) -> Failure {
    match error {
        RouteError::NoTable => no_table_of_items(),
        RouteError::Timeout { applied: Uncertain::Unknown, last } if writes => {
            outcome_unknown(Code::DeadlineExceeded, table, &last)
        }
        RouteError::Timeout { last, .. } => Failure::new(
            Code::DeadlineExceeded,
            "RequestTimeout",
            "No answer before the request's deadline; nothing was changed",
            true,
        )
        .because(about(table, &last)),
        RouteError::OutcomeUnknown(why) if writes => {
            outcome_unknown(Code::Unavailable, table, &why)
        }
        RouteError::OutcomeUnknown(why) => unavailable(&why, table),
        RouteError::Overloaded(why) => overloaded(&why),
        RouteError::Group(error) => from_group(error, table, writes),
    }
}

/// What a group said.
pub fn from_group(error: GroupError, table: &str, writes: bool) -> Failure {
    match error {
        GroupError::OutcomeUnknown(why) if writes => {
            outcome_unknown(Code::Unavailable, table, &why)
        }
        GroupError::Expired => {
            let mut failure = outcome_unknown(Code::Unavailable, table, "the token has expired");
            failure.repeatable = false;
            failure
        }
        GroupError::Overloaded(why) => overloaded(&why),
        GroupError::Invalid(why) | GroupError::Rejected(why) => validation(why),
        GroupError::DiskFull(why) => Failure::new(
            Code::ResourceExhausted,
            "DiskFull",
            "The partition's leader has no disk space left: nothing was written. Free space or \
                 add a node; reads go on",
            false,
        )
        .because(about(table, &why)),
        GroupError::Corrupt(why) => Failure::new(
            Code::DataLoss,
            "CorruptData",
            "The stored data fails its checksum on the replica that was asked; an operator must \
                 look (tombolo verify names the replica)",
            false,
        )
        .because(about(table, &why)),
        GroupError::ClockSkew(why) => unavailable(&why, table),
        other => unavailable(&other.to_string(), table),
    }
}

/// A cause, with the table it is about.
fn about(table: &str, why: &str) -> String {
    format!("table {table}: {why}")
}

/// Nobody knows whether the write took place.
fn outcome_unknown(code: Code, table: &str, why: &str) -> Failure {
    let mut failure = Failure::new(
        code,
        "OutcomeUnknown",
        "It is not known whether the write took place; read the item before writing it again",
        false,
    )
    .because(about(table, why));
    failure.repeatable = true;
    failure
}

/// The partition does not serve now.
fn unavailable(why: &str, table: &str) -> Failure {
    Failure::new(
        Code::Unavailable,
        "ServiceUnavailable",
        "The partition does not serve at the moment; nothing was changed, retry",
        true,
    )
    .because(about(table, why))
}

/// Too much at once.
pub fn overloaded(why: &str) -> Failure {
    let mut failure = Failure::new(
        Code::ResourceExhausted,
        "ThrottlingException",
        format!("Too many requests at once ({why}); nothing was done, retry after a pause"),
        true,
    );
    failure.retry_after = Some(RETRY_PAUSE);
    failure
}

// ---- the rest ---------------------------------------------------------------------------------

/// Nothing says who asks.
pub fn missing_token() -> Failure {
    unauthenticated(
        "MissingAuthenticationTokenException",
        "Request is missing Authentication Token: show a client certificate, or send the metadata \
         'authorization: Bearer <access key>.<secret>'",
    )
}

/// What should be a token is none.
pub fn no_bearer_token() -> Failure {
    unauthenticated(
        "UnrecognizedClientException",
        "The metadata 'authorization' is not one 'Bearer <access key>.<secret>'",
    )
}

/// A token of nobody.
pub fn invalid_token() -> Failure {
    unauthenticated(
        "UnrecognizedClientException",
        "The security token included in the request is invalid: its access key is unknown or \
         revoked, or the secret is another",
    )
}

fn unauthenticated(reason: &'static str, message: &'static str) -> Failure {
    Failure::new(Code::Unauthenticated, reason, message, false)
}

/// The principal may not do this.
pub fn access_denied(principal: &Principal, operation: &str) -> Failure {
    Failure::new(
        Code::PermissionDenied,
        "AccessDeniedException",
        format!("{principal} is not authorized to perform: {operation}"),
        false,
    )
}

/// An operator's request that cannot be met now.
pub fn operation_unavailable(why: String) -> Failure {
    Failure::new(Code::Unavailable, "ServiceUnavailable", why, true)
}

/// Our own fault.
pub fn internal(what: &str, cause: impl Display) -> Failure {
    Failure::new(
        Code::Internal,
        "InternalServerError",
        format!("The server could not {what}; its log says why under this request's id"),
        false,
    )
    .because(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_client::ClientError;
    use tombolo_item::Value;

    fn seen(failure: Failure) -> ClientError {
        ClientError::from_status(failure.into_status("id-1", 4096), true)
    }

    #[test]
    fn a_client_sees_reason_code_message_id_and_whether_to_retry() {
        let error = seen(table_not_found("music"));
        assert_eq!(error.code, Code::NotFound);
        assert_eq!(error.reason, "ResourceNotFoundException");
        assert_eq!(error.message, "Requested resource not found: Table: music not found");
        assert_eq!(error.request_id, "id-1");
        assert!(!error.retryable);
        assert!(seen(overloaded("64 in flight")).retryable);
    }

    #[test]
    fn a_failed_condition_carries_the_item() {
        let item = Item([("pk".to_string(), Value::S("a".into()))].into());
        let error = seen(condition_failed(Some(item.clone())));
        assert!(error.is_condition_failed());
        assert_eq!(error.message, "The conditional request failed");
        assert_eq!(error.item.as_ref(), Some(&item));
        assert_eq!(seen(condition_failed(None)).item, None);
    }

    #[test]
    fn a_status_fits_into_headers_whatever_it_quotes() {
        let error = seen(validation("é".repeat(100_000)));
        assert!(error.message.len() < 1100 && error.message.ends_with("é..."));
        let large = Item([("x".to_string(), Value::S("y".repeat(5000)))].into());
        let error = seen(condition_failed(Some(large)));
        assert!(error.is_condition_failed() && error.item.is_none());
        assert!(error.metadata["item"].contains("do not fit"));
    }

    #[test]
    fn only_an_unknown_outcome_of_a_write_is_one() {
        let timeout = |applied| RouteError::Timeout { applied, last: "no leader".into() };
        let cases = [
            (timeout(Uncertain::Unknown), true, "OutcomeUnknown", false),
            (timeout(Uncertain::No), true, "RequestTimeout", true),
            (timeout(Uncertain::Unknown), false, "RequestTimeout", true),
            (RouteError::OutcomeUnknown("x".into()), true, "OutcomeUnknown", false),
            (RouteError::OutcomeUnknown("x".into()), false, "ServiceUnavailable", true),
            (RouteError::Overloaded("x".into()), true, "ThrottlingException", true),
            (RouteError::Group(GroupError::Stopped), true, "ServiceUnavailable", true),
            (RouteError::Group(GroupError::DiskFull("x".into())), true, "DiskFull", false),
            (RouteError::Group(GroupError::Corrupt("x".into())), false, "CorruptData", false),
            (RouteError::NoTable, true, "ResourceNotFoundException", false),
        ];
        for (error, writes, reason, retryable) in cases {
            let text = format!("{error:?}");
            let failure = from_route(error, "music", writes);
            assert_eq!((failure.reason, failure.retryable), (reason, retryable), "{text}");
        }
    }
}
