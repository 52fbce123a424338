//! PartiQL statements: what each comes to, carried out as the operation it stands for
//! (API_ExecuteStatement, API_BatchExecuteStatement).
//!
//! Always true: INSERT never replaces, and UPDATE never makes, an item; DELETE of an item that is not
//! there is a success; a SELECT that stops at its limit or at 1 MB says where to go on, in a token that
//! any router takes up. A token is checked like a start key: it leads nowhere that the statement does
//! not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use tombolo_item::condition::Path;
use tombolo_item::partiql::{KeyPart, Read, Returning, Select, Statement};
use tombolo_item::{Condition, Item, KeySchema, Projection};

use super::page::{Progress, Reading, Source};
use super::select::View;
use super::{Executor, capacity};
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    BatchExecuteStatement, BatchStatements, DeleteItem, ExecuteStatement, PageRequest, PutItem,
    ReturnValues, StatementResult, UpdateItem, Written,
};
use crate::region::Region;

/// Most statements of a batch.
const MOST_STATEMENTS: usize = 25;
/// Statements of one batch under way at a time.
const AT_ONCE: usize = 25;
/// Longest token that is looked at (botocore's model: `PartiQLNextToken`).
const LONGEST_TOKEN: usize = 32_768;
const VERSION: u8 = 1;

/// Where a SELECT goes on: in which of its parts, after which key.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    part: u32,
    start: Item,
}

impl Token {
    fn print(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.part.to_be_bytes());
        bytes.extend(self.start.encode());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Option<Token> {
        if text.len() > LONGEST_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (part, start) = rest.split_first_chunk::<4>()?;
        if *version != VERSION {
            return None;
        }
        let start = Item::decode(&Bytes::copy_from_slice(start)).ok()?;
        Some(Token { part: u32::from_be_bytes(*part), start })
    }
}

/// Whether a statement reads.
fn reads(statement: &Statement) -> bool {
    matches!(statement, Statement::Select(_) | Statement::Exists(_))
}

fn absent(schema: &KeySchema) -> Condition {
    Condition::NotExists(Path::attribute(schema.partition.name.clone()))
}

fn returned(written: Written) -> StatementResult {
    let items = written.attributes.into_iter().collect();
    StatementResult { items, consumed: written.consumed, ..StatementResult::default() }
}

impl<R: Region> Executor<R> {
    pub(super) async fn execute_statement(
        &self,
        context: &RequestContext,
        execute: ExecuteStatement,
    ) -> Result<StatementResult, Failure> {
        let ExecuteStatement { statement, consistent, limit, next_token, .. } = execute;
        let (return_on_failure, report) = (execute.return_on_failure, execute.report);
        if !matches!(statement, Statement::Select(_)) && (limit.is_some() || next_token.is_some()) {
            return Err(errors::page_of_a_write());
        }
        let table = self.serving(statement.table()).await?;
        let name = table.name.clone();
        let key = statement.written_key(&table.schema).map_err(errors::from_statement)?;
        let key = key.map(|(key, rest)| (key.to_item(&table.schema), rest));
        match (statement, key) {
            (Statement::Select(select), _) => {
                let page = PageRequest { limit, start: None, consistent };
                self.select(context, select, page, next_token, report).await
            }
            (Statement::Insert { item, .. }, _) => {
                let put = PutItem {
                    table: name,
                    item,
                    condition: Some(absent(&table.schema)),
                    returns: ReturnValues::None,
                    return_on_failure,
                    report,
                };
                let put = self.put_item(context, put).await;
                put.map(returned).map_err(errors::duplicate_item)
            }
            (Statement::Update { update, condition, returning, .. }, Some((key, _))) => {
                let returns = match returning {
                    None => ReturnValues::None,
                    Some(Returning::AllOld) => ReturnValues::AllOld,
                    Some(Returning::AllNew) => ReturnValues::AllNew,
                    Some(Returning::ModifiedOld) => ReturnValues::UpdatedOld,
                    Some(Returning::ModifiedNew) => ReturnValues::UpdatedNew,
                };
                // The whole WHERE clause: where there is no item, its equalities on the key fail.
                let condition = Some(condition);
                let update = UpdateItem {
                    table: name,
                    key,
                    update,
                    condition,
                    returns,
                    return_on_failure,
                    report,
                };
                self.update_item(context, update).await.map(returned)
            }
            (Statement::Delete { returning, .. }, Some((key, rest))) => {
                let returns = if returning { ReturnValues::AllOld } else { ReturnValues::None };
                let absent = || Box::new(absent(&table.schema));
                let condition = rest.map(|rest| Condition::Or(absent(), Box::new(rest)));
                let delete =
                    DeleteItem { table: name, key, condition, returns, return_on_failure, report };
                self.delete_item(context, delete).await.map(returned)
            }
            (Statement::Exists(_), _) => Err(errors::exists_outside_transaction()),
            (Statement::Update { .. } | Statement::Delete { .. }, None) => {
                Err(errors::internal("find the key of a statement", "it is checked to have one"))
            }
        }
    }

    async fn select(
        &self,
        context: &RequestContext,
        select: Select,
        page: PageRequest,
        next_token: Option<String>,
        report: crate::operation::Report,
    ) -> Result<StatementResult, Failure> {
        let table = self.serving(&select.table).await?;
        let source = || Source::of(&table, select.index.as_deref());
        let read = select.read(&source()?.keys()).map_err(errors::from_statement)?;
        let named = select.columns.as_ref().map(|columns| Projection { paths: columns.0.clone() });
        let index = source()?.index.map(|(_, index)| index);
        let mut view = View::of(None, named, index, &table.schema)?;
        view.columns = select.columns.clone();
        let (parts, reverse) = match read {
            Read::Scan => (vec![None], false),
            Read::Query { parts, forward } => (parts.into_iter().map(Some).collect(), !forward),
        };
        let token = match &next_token {
            None => None,
            Some(text) => Some(Token::read(text).ok_or_else(errors::bad_next_token)?),
        };
        let first = token.as_ref().map_or(0, |token| token.part as usize);
        if first >= parts.len() {
            return Err(errors::bad_next_token());
        }
        let mut start = token.map(|token| token.start);
        let mut progress = Progress::default();
        let mut full_in = None;
        for (number, part) in parts.iter().enumerate().skip(first) {
            let source = source()?;
            let KeyPart { partition, sort } = match part {
                Some(part) => part.clone(),
                None => {
                    let reading = Reading {
                        range: source.everything(start.take().as_ref())?,
                        source,
                        reverse,
                        limit: page.limit,
                        consistent: page.consistent,
                        partition: None,
                        filter: select.condition.as_ref(),
                        view: view.clone(),
                        report,
                    };
                    if self.walk(context, &reading, &mut progress).await? {
                        full_in = Some(number);
                    }
                    break;
                }
            };
            let start = start.take();
            let range = source.range(&partition, sort.as_ref(), start.as_ref(), reverse)?;
            let reading = Reading {
                source,
                range,
                reverse,
                limit: page.limit,
                consistent: page.consistent,
                partition: Some(&partition),
                filter: select.condition.as_ref(),
                view: view.clone(),
                report,
            };
            if self.walk(context, &reading, &mut progress).await? {
                full_in = Some(number);
                break;
            }
        }
        let consumed = progress.consumed(&source()?, page.consistent, report);
        let last = progress.last.filter(|_| full_in.is_some());
        let token = |(part, start): (usize, &Item)| {
            let part = u32::try_from(part).unwrap_or(u32::MAX);
            Token { part, start: start.clone() }.print()
        };
        let next_token = full_in.zip(last.as_ref()).map(token);
        Ok(StatementResult { items: progress.items, next_token, last, consumed })
    }

    pub(super) async fn batch_execute_statement(
        &self,
        context: &RequestContext,
        batch: BatchExecuteStatement,
    ) -> Result<BatchStatements, Failure> {
        let BatchExecuteStatement { statements, report } = batch;
        match statements.len() {
            0 => return Err(errors::too_few_members("[]", "statements", 1)),
            1..=MOST_STATEMENTS => {}
            count => return Err(errors::too_many_members(count, "statements", MOST_STATEMENTS)),
        }
        let known = || statements.iter().filter_map(|one| one.statement.as_ref().ok());
        if known().any(reads) && !known().all(reads) {
            return Err(errors::reads_and_writes_in_batch());
        }
        // A token of the caller stands for one write.
        let context = &RequestContext { token: None, ..context.clone() };
        let results = stream::iter(statements.into_iter().map(|one| async move {
            let statement = match one.statement {
                Ok(statement) => statement,
                Err(failure) => return (None, Err(failure)),
            };
            let table = statement.table().to_owned();
            let execute = ExecuteStatement {
                statement,
                consistent: one.consistent,
                limit: None,
                next_token: None,
                return_on_failure: one.return_on_failure,
                report,
            };
            let whole_key = self.check_batched(&execute.statement).await;
            let result = match whole_key {
                Ok(()) => Box::pin(self.execute_statement(context, execute)).await,
                Err(failure) => Err(failure),
            };
            (Some(table), result)
        }));
        let results: Vec<_> = results.buffered(AT_ONCE).collect().await;
        let mut answer = BatchStatements::default();
        let mut consumed = Vec::new();
        for (table, result) in results {
            let result = result.map(|mut one| {
                consumed.append(&mut one.consumed);
                one.items.into_iter().next()
            });
            answer.responses.push((table, result));
        }
        answer.consumed = capacity::sum(consumed);
        Ok(answer)
    }

    /// In a batch a SELECT reads one item of a table.
    async fn check_batched(&self, statement: &Statement) -> Result<(), Failure> {
        let Statement::Select(select) = statement else { return Ok(()) };
        let table = self.serving(&select.table).await?;
        let key = select.key(&table.schema).map_err(errors::from_statement)?;
        match key.is_some() && select.index.is_none() {
            true => Ok(()),
            false => Err(errors::select_without_key_in_batch()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::Value;

    #[test]
    fn a_token_comes_back_as_it_went_and_nonsense_is_refused() {
        let start: Item = [("pk".to_string(), Value::S("a".into()))].into_iter().collect();
        let token = Token { part: 3, start };
        let text = token.print();
        assert_eq!(Token::read(&text), Some(token));
        for end in 0..text.len() {
            assert_eq!(Token::read(&text[..end]), None);
        }
        for nonsense in ["", "!", &"A".repeat(40_000)] {
            assert_eq!(Token::read(nonsense), None);
        }
    }
}
