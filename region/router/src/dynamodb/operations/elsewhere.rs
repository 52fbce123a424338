//! What is not served: operations that come later, and operations that have no meaning here.
//!
//! Always true: the name of every operation of the API model has an answer; requests are checked as
//! far as the service checks them before it looks at a table, so that what is told of them does not
//! change when they come.

use super::Call;
use crate::dynamodb::expressions::{compatible, read};
use crate::dynamodb::fault::Fault;
use crate::dynamodb::fields::Fields;
use crate::errors;

/// Whether an operation is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    Yes,
    /// In a later version.
    Later(&'static str),
    /// Never: why.
    Never(&'static str),
}

const TRANSACTIONS: &str = "transactions are not served by this version";
const BACKUPS: &str = "backups, restores and exports are not served by this version";
const GLOBAL_TABLES_2017: &str = "global tables of version 2017.11.29 do not exist here; UpdateTable with ReplicaUpdates adds and \
     removes regions";
const KINESIS: &str =
    "there is no Kinesis here; change streams are read through NATS or DynamoDB Streams";
const INSIGHTS: &str = "there is no CloudWatch here; /metrics has what there is to know";
const POLICIES: &str =
    "there are no resource policies; whoever has a valid key may use every table";
const SCALING: &str = "there is no auto scaling here; partitions split by themselves";
const S3: &str = "there is no S3 here; `tombolo load` imports";
const VECTORS: &str = "vector indexes are not served";

/// Whether this operation is served.
pub(super) fn served(operation: &str) -> Served {
    match operation {
        "PutItem"
        | "ExecuteStatement"
        | "BatchExecuteStatement"
        | "GetItem"
        | "UpdateItem"
        | "DeleteItem"
        | "Query"
        | "Scan"
        | "BatchGetItem"
        | "BatchWriteItem"
        | "CreateTable"
        | "UpdateTable"
        | "DescribeTable"
        | "DeleteTable"
        | "ListTables"
        | "TagResource"
        | "UntagResource"
        | "ListTagsOfResource"
        | "DescribeLimits"
        | "DescribeEndpoints"
        | "DescribeTimeToLive"
        | "UpdateTimeToLive"
        | "DescribeContinuousBackups"
        | "ListStreams"
        | "DescribeStream"
        | "GetShardIterator"
        | "GetRecords" => Served::Yes,
        "TransactWriteItems" | "TransactGetItems" | "ExecuteTransaction" => {
            Served::Later(TRANSACTIONS)
        }
        "CreateBackup"
        | "DeleteBackup"
        | "DescribeBackup"
        | "ListBackups"
        | "RestoreTableFromBackup"
        | "RestoreTableToPointInTime"
        | "UpdateContinuousBackups"
        | "ExportTableToPointInTime"
        | "DescribeExport"
        | "ListExports" => Served::Later(BACKUPS),
        "CreateGlobalTable"
        | "DescribeGlobalTable"
        | "DescribeGlobalTableSettings"
        | "ListGlobalTables"
        | "UpdateGlobalTable"
        | "UpdateGlobalTableSettings" => Served::Never(GLOBAL_TABLES_2017),
        "DescribeKinesisStreamingDestination"
        | "DisableKinesisStreamingDestination"
        | "EnableKinesisStreamingDestination"
        | "UpdateKinesisStreamingDestination" => Served::Never(KINESIS),
        "DescribeContributorInsights" | "ListContributorInsights" | "UpdateContributorInsights" => {
            Served::Never(INSIGHTS)
        }
        "GetResourcePolicy" | "PutResourcePolicy" | "DeleteResourcePolicy" => {
            Served::Never(POLICIES)
        }
        "DescribeTableReplicaAutoScaling" | "UpdateTableReplicaAutoScaling" => {
            Served::Never(SCALING)
        }
        "SearchVectors" => Served::Never(VECTORS),
        // Imports, bulk operations.
        _ => Served::Never(S3),
    }
}

/// Whether a parameter of a served operation is: those that are not named here are.
#[cfg(test)]
pub(super) fn parameter(operation: &str, name: &str) -> Served {
    const GLOBAL_INDEXES: &str = "checked, then refused by name";
    match (operation, name) {
        ("CreateTable", "VectorIndexes") | ("UpdateTable", "VectorIndexUpdates") => {
            Served::Never(VECTORS)
        }
        ("CreateTable", "ResourcePolicy") => Served::Never(POLICIES),
        ("CreateTable", "GlobalTableSourceArn") => Served::Never(GLOBAL_TABLES_2017),
        ("CreateTable" | "UpdateTable", "GlobalTableSettingsReplicationMode") => {
            Served::Never("settings belong to one region")
        }
        ("CreateTable" | "UpdateTable", "WarmThroughput") => {
            Served::Never("accepted and ignored: there is nothing to warm")
        }
        ("UpdateTable", "MultiRegionConsistency" | "GlobalTableWitnessUpdates") => {
            Served::Never("copies in other regions follow; they are never waited for")
        }
        ("UpdateTable", "DisassociationProtectionEnabled") => {
            Served::Never("a copy leaves only when it is told to")
        }
        ("CreateTable", "GlobalSecondaryIndexes")
        | ("UpdateTable", "GlobalSecondaryIndexUpdates") => Served::Later(GLOBAL_INDEXES),
        ("UpdateTable", "ReplicaUpdates") => Served::Later(
            "Create and Delete are served; a region joins only a table that nobody has written \
                 to, and settings of a replica are refused",
        ),
        ("CreateTable" | "UpdateTable", "SSESpecification") => {
            Served::Later("`Enabled` = true is refused: nothing is encrypted at rest yet")
        }
        ("CreateTable" | "UpdateTable", "OnDemandThroughput") => {
            Served::Later("checked, then refused: nothing would hold the caps yet")
        }
        ("UpdateTimeToLive", "TimeToLiveSpecification") => {
            Served::Later("checked; items do not end by themselves in this version")
        }
        _ => Served::Yes,
    }
}

/// What the caller of an operation that is not served is told.
pub(super) fn refusal(call: &Call<'_>, name: &str) -> Fault {
    let checked = match name {
        "TransactWriteItems" => transact_write(call),
        "TransactGetItems" => transact_get(call),
        _ => Ok(()),
    };
    match (checked, served(name)) {
        (Err(fault), _) => fault,
        (Ok(()), Served::Later(why) | Served::Never(why)) => {
            Fault::validation(format!("{name} is not supported: {why}"))
        }
        (Ok(()), Served::Yes) => {
            errors::internal("carry it out", "a served operation got here").into()
        }
    }
}

const ONE_OF: &str = "TransactItems can only contain one of Check, Put, Update or Delete";

fn transact_write(call: &Call<'_>) -> Result<(), Fault> {
    for one in call.fields().structures("TransactItems") {
        let actions = ["ConditionCheck", "Put", "Delete", "Update"];
        let given: Vec<(&str, Fields<'_>)> = actions
            .into_iter()
            .filter_map(|name| one.structure(name).map(|of| (name, of)))
            .collect();
        let [(name, of)] = given[..] else { return Err(Fault::validation(ONE_OF)) };
        let expressions: &[&str] = match name {
            "Update" => &["UpdateExpression", "ConditionExpression"],
            _ => &["ConditionExpression"],
        };
        compatible(of, expressions, &[])?;
        let item = of.item(if name == "Put" { "Item" } else { "Key" })?;
        item.validate().map_err(errors::from_item)?;
        read(of)?;
        of.table(call.region)?;
    }
    Ok(())
}

fn transact_get(call: &Call<'_>) -> Result<(), Fault> {
    for one in call.fields().structures("TransactItems") {
        let Some(of) = one.structure("Get") else { continue };
        compatible(of, &["ProjectionExpression"], &[])?;
        of.item("Key")?;
        read(of)?;
        of.table(call.region)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::model::model;

    #[test]
    fn every_operation_of_the_model_has_an_answer() {
        let s3 = [
            "ImportTable",
            "DescribeImport",
            "ListImports",
            "StartBulkPutItems",
            "DescribeBulkOperation",
            "ListBulkOperations",
            "CancelBulkOperation",
        ];
        for (_, name, _) in model().operations() {
            if served(name) == Served::Never(S3) {
                assert!(s3.contains(&name), "{name} is not classified");
            }
        }
    }
}
