//! PartiQL: ExecuteStatement and BatchExecuteStatement.

use tombolo_item::Value;
use tombolo_item::partiql::{Statement, parse_statement};

use super::Call;
use crate::dynamodb::fault::Fault;
use crate::dynamodb::fields::Fields;
use crate::dynamodb::values;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{BatchExecuteStatement, BatchStatement, ExecuteStatement, Operation};

/// Values of the statement's `?`.
fn parameters(fields: Fields<'_>) -> Result<Vec<Value>, String> {
    fields.list("Parameters").unwrap_or_default().iter().map(values::value).collect()
}

fn statement(fields: Fields<'_>) -> Result<Statement, Failure> {
    let parameters = parameters(fields).map_err(errors::validation)?;
    parse_statement(fields.text("Statement").unwrap_or_default(), &parameters)
        .map_err(errors::from_statement)
}

pub(super) fn one(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    Ok(Operation::ExecuteStatement(ExecuteStatement {
        statement: statement(fields)?,
        consistent: fields.flag("ConsistentRead").unwrap_or(false),
        limit: fields.count("Limit"),
        next_token: fields.text("NextToken").map(str::to_owned),
        return_on_failure: fields.returns_on_failure(),
        report: fields.report(),
    }))
}

pub(super) fn several(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let statements = fields.structures("Statements").into_iter().map(|of| BatchStatement {
        statement: statement(of),
        consistent: of.flag("ConsistentRead").unwrap_or(false),
        return_on_failure: of.returns_on_failure(),
    });
    Ok(Operation::BatchExecuteStatement(BatchExecuteStatement {
        statements: statements.collect(),
        report: fields.report(),
    }))
}
