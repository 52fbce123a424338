//! Amazon resource names, and the names of the Streams API: how they are printed and read.
//!
//! `arn:aws:dynamodb:<region>:000000000000:table/<table>`, with `/stream/<label>` for a stream and
//! `/index/<index>` for an index. Where DynamoDB takes a table's name it takes its ARN too. Shards are
//! called `shardId-<20 digits of the group>-<8 hexadecimal digits of the epoch>` and sequence numbers
//! have 21 digits at least, because clients check lengths (28 to 65, and 21 to 40).

use tombolo_item::{GroupId, Shard};

use crate::errors;
use crate::failure::Failure;
use crate::operation::StreamName;

/// Stands where AWS has the number of the account.
const ACCOUNT: &str = "000000000000";
const TABLE_PREFIX: &str = "table/";
const SHARD_PREFIX: &str = "shardId-";

/// Of a table.
pub fn of_table(region: &str, table: &str) -> String {
    format!("arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}")
}

/// Of an index.
pub fn of_index(region: &str, table: &str, index: &str) -> String {
    format!("{}/index/{index}", of_table(region, table))
}

/// Of a stream.
pub fn of_stream(region: &str, table: &str, label: &str) -> String {
    format!("{}/stream/{label}", of_table(region, table))
}

/// Whether a text may be the name of a table or an index.
pub fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (3..=255).contains(&name.len()) && name.bytes().all(legal)
}

/// The part of an ARN of this region behind the account: `table/...`.
fn resource<'a>(arn: &'a str, region: &str) -> Option<&'a str> {
    let mut parts = arn.splitn(6, ':');
    let (prefix, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (of_region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let ours = prefix == "arn" && partition == "aws" && service == "dynamodb";
    let legal = account.len() == ACCOUNT.len() && account.bytes().all(|b| b.is_ascii_digit());
    (ours && legal && of_region == region).then_some(resource)
}

/// A table by name or ARN, in the region that is asked.
pub fn table(name_or_arn: &str, region: &str) -> Result<String, Failure> {
    if !name_or_arn.starts_with("arn:") {
        return match is_name(name_or_arn) {
            true => Ok(name_or_arn.into()),
            false => Err(errors::bad_table_name()),
        };
    }
    let name =
        resource(name_or_arn, region).and_then(|resource| resource.strip_prefix(TABLE_PREFIX));
    match name {
        Some(name) if is_name(name) => Ok(name.into()),
        _ => Err(errors::bad_table_arn(name_or_arn)),
    }
}

/// A table by ARN only (tags).
pub fn tagged(arn: &str, region: &str) -> Result<String, Failure> {
    match arn.starts_with("arn:") {
        true => table(arn, region).map_err(|_| errors::bad_resource_arn(arn)),
        false => Err(errors::bad_resource_arn(arn)),
    }
}

/// A stream by ARN.
pub fn stream(arn: &str, region: &str) -> Result<StreamName, Failure> {
    let bad = || errors::bad_stream_arn(arn);
    let resource = resource(arn, region).ok_or_else(bad)?;
    let (table, label) = resource
        .strip_prefix(TABLE_PREFIX)
        .and_then(|rest| rest.split_once("/stream/"))
        .ok_or_else(bad)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.');
    if !is_name(table) || label.is_empty() || !label.bytes().all(legal) {
        return Err(bad());
    }
    Ok(StreamName { table: table.into(), label: Some(label.into()) })
}

/// A shard's name in the Streams API.
pub fn shard_id(shard: Shard) -> String {
    format!("{SHARD_PREFIX}{:020}-{:08x}", shard.group.0, shard.epoch)
}

/// A shard by its name in the Streams API.
pub fn shard(id: &str) -> Result<Shard, Failure> {
    let parse = || {
        let (group, epoch) = id.strip_prefix(SHARD_PREFIX)?.split_once('-')?;
        let digits = group.len() == 20 && group.bytes().all(|byte| byte.is_ascii_digit());
        let hex = epoch.len() == 8 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || !hex {
            return None;
        }
        let epoch = u32::from_str_radix(epoch, 16).ok()?;
        Some(Shard { group: GroupId(group.parse().ok()?), epoch })
    };
    parse().ok_or_else(|| errors::bad_shard_id(id))
}

/// A sequence number in the Streams API.
pub fn sequence(seq: u64) -> String {
    format!("{seq:021}")
}

/// A sequence number from the Streams API.
pub fn parse_sequence(text: &str) -> Result<u64, Failure> {
    let bad = || errors::bad_sequence(text);
    match text.bytes().all(|byte| byte.is_ascii_digit()) && (21..=40).contains(&text.len()) {
        true => text.parse().map_err(|_| bad()),
        false => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_by_name_or_by_arn_of_this_region() {
        assert_eq!(table("music", "us-east"), Ok("music".into()));
        assert_eq!(table(&of_table("us-east", "my.table"), "us-east"), Ok("my.table".into()));
        for bad in [
            "ab",
            "a/b/c",
            "arn:aws:dynamodb:eu-west:000000000000:table/music",
            "arn:aws:s3:us-east:000000000000:table/music",
            "arn:aws:dynamodb:us-east:0:table/music",
            "arn:aws:dynamodb:us-east:000000000000:table/music/index/x",
            "arn:aws:dynamodb:us-east:000000000000:music",
            "arn:",
        ] {
            assert!(table(bad, "us-east").is_err(), "{bad}");
        }
        assert!(tagged("music", "us-east").is_err());
        assert!(tagged(&of_table("us-east", "music"), "us-east").is_ok());
    }

    #[test]
    fn streams_shards_and_numbers_come_back_as_they_went() {
        let label = "2026-11-21T00:17:24.000";
        let name = stream(&of_stream("us-east", "music", label), "us-east").unwrap();
        assert_eq!(name, StreamName { table: "music".into(), label: Some(label.into()) });
        assert!(stream(&of_table("us-east", "music"), "us-east").is_err());
        for one in [
            Shard { group: GroupId(16), epoch: 1 },
            Shard { group: GroupId(u64::MAX), epoch: u32::MAX },
        ] {
            let id = shard_id(one);
            // botocore's model: ShardId has 28 to 65 characters.
            assert!((28..=65).contains(&id.len()));
            assert_eq!(shard(&id), Ok(one));
        }
        for bad in ["", "shardId-", "shardId-1-1", "shardId-99999999999999999999-00000001"] {
            assert!(shard(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_sequence(&sequence(u64::MAX)), Ok(u64::MAX));
        assert_eq!(sequence(7).len(), 21);
        for bad in ["", "7", "-00000000000000000000007", &"9".repeat(30)] {
            assert!(parse_sequence(bad).is_err(), "{bad}");
        }
    }
}
