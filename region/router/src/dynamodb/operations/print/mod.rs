//! Answers as JSON, in the shapes of the API model.

mod items;
mod streams;
mod tables;

use super::Call;
use crate::dynamodb::writer::object;
use crate::operation::{Answer, Kind};

/// The body of the response; nothing for an answer that no operation of this protocol gives.
pub(super) fn answer(call: &Call<'_>, kind: Kind, answer: Answer) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(256);
    let out = &mut body;
    match answer {
        Answer::Written(written) => items::written(out, &written),
        Answer::Got(got) => items::got(out, &got),
        Answer::Page(page) => items::page(out, &page),
        Answer::BatchGot(got) => items::batch_got(out, call, &got),
        Answer::BatchWritten(written) => items::batch_written(out, &written),
        Answer::Statement(result) => items::statement(out, &result),
        Answer::Statements(results) => items::statements(out, results),
        Answer::Table(table) => {
            let name = match kind {
                Kind::DescribeTable => "Table",
                _ => "TableDescription",
            };
            object(out, |o| o.object(name, |o| tables::description(o, &table)));
        }
        Answer::Tables { names, last } => tables::names(out, &names, last.as_deref()),
        // The service sends nothing at all here.
        Answer::Done => return Some(Vec::new()),
        Answer::Tags { tags, next_token } => tables::tags(out, &tags, next_token.as_deref()),
        Answer::Limits(limits) => tables::limits(out, limits),
        Answer::Endpoints(endpoints) => tables::endpoints(out, &endpoints),
        Answer::TimeToLive(ttl) => tables::time_to_live(out, kind, &ttl),
        Answer::ContinuousBackups { point_in_time } => {
            tables::continuous_backups(out, point_in_time);
        }
        Answer::Streams(names) => streams::names(out, call.region, &names),
        Answer::Stream(stream) => streams::description(out, &stream),
        Answer::ShardIterator(iterator) => {
            object(out, |o| o.text("ShardIterator", &iterator.to_string()));
        }
        Answer::StreamRecords(page) => streams::records(out, &page),
        Answer::Opened
        | Answer::Records(_)
        | Answer::Status(_)
        | Answer::Verification(_)
        | Answer::NodeDrained
        | Answer::Conflicts(_) => {
            return None;
        }
    }
    Some(body)
}
