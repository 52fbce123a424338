//! The statements: SELECT, INSERT, UPDATE, DELETE, EXISTS.

use super::error::{Parsed, StatementError, refused};
use super::lexer::Token;
use super::parser::{Parser, UNEXPECTED};
use super::{Columns, OrderBy, Returning, Select, Statement};
use crate::condition::{Condition, Path};
use crate::update::{Action, Dialect, Update};
use crate::value::{Item, Value};

/// Text and the values of its `?`, in order.
///
/// Parameters are checked before the text is read.
pub fn parse_statement(text: &str, parameters: &[Value]) -> Result<Statement, StatementError> {
    parameters.iter().try_for_each(Value::check)?;
    let mut parser = Parser::new(text, parameters)?;
    let statement = parser.statement()?;
    parser.finish()?;
    Ok(statement)
}

impl Parser<'_> {
    fn statement(&mut self) -> Parsed<Statement> {
        if self.word("SELECT") {
            return self.select().map(Statement::Select);
        }
        if self.is_word(0, "EXISTS") && self.is_symbol(1, "(") {
            self.at += 2;
            self.expect_word("SELECT")?;
            let select = self.select()?;
            self.expect(")")?;
            return Ok(Statement::Exists(select));
        }
        if self.word("INSERT") {
            return self.insert();
        }
        if self.word("UPDATE") {
            let table = self.written_table("This operation is not supported on an index")?;
            let actions = self.actions()?;
            let condition = self.required_where()?;
            return self.update(table, actions, condition);
        }
        if self.word("DELETE") {
            return self.delete();
        }
        // UPDATE in another order.
        if self.word("FROM") {
            let table = self.written_table("This operation is not supported on an index")?;
            let condition = self.required_where()?;
            let actions = self.actions()?;
            return self.update(table, actions, condition);
        }
        Err(StatementError::NotWellFormed("Expected data manipulation"))
    }

    fn select(&mut self) -> Parsed<Select> {
        if self.is_word(0, "VALUE") || self.is_word(0, "PIVOT") {
            return refused("Select projection doesn't support value or pivot keywords");
        }
        let columns = self.columns()?;
        self.expect_word("FROM")?;
        let (table, index) = self.source()?;
        if self.is_symbol(0, ",") {
            return refused("Only select from a single table or index is supported.");
        }
        self.no_alias()?;
        let condition = if self.word("WHERE") { Some(self.condition()?) } else { None };
        let mut order = Vec::new();
        if self.is_word(0, "ORDER") && self.is_word(1, "BY") {
            self.at += 2;
            order.push(self.order_by()?);
            while self.symbol(",") {
                order.push(self.order_by()?);
            }
        }
        Ok(Select { table, index, columns, condition, order })
    }

    fn columns(&mut self) -> Parsed<Option<Columns>> {
        const STAR: &str =
            "Other attributes should not be present in the projection when '*' is used.";
        if self.symbol("*") {
            return if self.is_symbol(0, ",") { refused(STAR) } else { Ok(None) };
        }
        let mut paths: Vec<Path> = Vec::new();
        loop {
            if self.is_symbol(0, "*") {
                return refused(STAR);
            }
            if self.is_call() {
                return self.refused_at(self.at, "Unexpected path component");
            }
            let path = self.path()?;
            if self.is_word(0, "AS") {
                return refused("Aliasing is not supported");
            }
            let name = Columns::name(&path);
            if paths.iter().any(|known| Columns::name(known) == name) {
                return refused(format!("Duplicate identifiers in select clause: {name}"));
            }
            paths.push(path);
            if !self.symbol(",") {
                return Ok(Some(Columns(paths)));
            }
        }
    }

    fn order_by(&mut self) -> Parsed<OrderBy> {
        let attribute = self.name()?;
        let descending = self.word("DESC");
        if !descending {
            self.word("ASC");
        }
        Ok(OrderBy { attribute, descending })
    }

    /// A table, or one and its index.
    fn source(&mut self) -> Parsed<(String, Option<String>)> {
        let table = self.name()?;
        let index = if self.symbol(".") { Some(self.name()?) } else { None };
        if self.is_symbol(0, ".") {
            return refused("A path may contain at most 2 components in the FROM clause");
        }
        if self.is_symbol(0, "[") {
            return refused("Invalid list expression in source.");
        }
        Ok((table, index))
    }

    /// A table that is written to; `refusal` is what an index there is answered with.
    fn written_table(&mut self, refusal: &str) -> Parsed<String> {
        match self.source()? {
            (_, Some(_)) => refused(refusal),
            (table, None) => self.no_alias().map(|()| table),
        }
    }

    fn no_alias(&self) -> Parsed<()> {
        const CLAUSES: [&str; 7] =
            ["WHERE", "ORDER", "SET", "REMOVE", "VALUE", "RETURNING", "VALUES"];
        match self.peek() {
            Token::Word(word) if !CLAUSES.iter().any(|known| word.eq_ignore_ascii_case(known)) => {
                refused("Aliasing is not supported")
            }
            Token::Quoted(_) => refused("Aliasing is not supported"),
            _ => Ok(()),
        }
    }

    fn required_where(&mut self) -> Parsed<Condition> {
        if !self.word("WHERE") {
            return refused(
                "Where clause does not contain a mandatory equality on all key attributes",
            );
        }
        self.condition()
    }

    fn insert(&mut self) -> Parsed<Statement> {
        const SINGLE: &str =
            "FROM clause may only contain a single table name in data manipulation statements";
        self.expect_word("INTO")?;
        let (table, index) = self.source()?;
        if index.is_some() {
            return refused(SINGLE);
        }
        if self.is_word(0, "VALUES") || self.is_symbol(0, "<<") {
            return refused(
                "Unsupported operation: Inserting multiple items in a single statement is not \
                 supported, use \"INSERT INTO tableName VALUE item\" instead",
            );
        }
        if !self.word("VALUE") {
            return Err(UNEXPECTED);
        }
        let item = Item(self.item()?);
        if self.is_word(0, "RETURNING") {
            return refused("RETURNING is not supported in INSERT");
        }
        Ok(Statement::Insert { table, item })
    }

    /// Clauses of SET and REMOVE, in any order, each as often as wanted.
    fn actions(&mut self) -> Parsed<Vec<Action>> {
        let mut actions = Vec::new();
        loop {
            if self.word("SET") {
                actions.push(self.assignment()?);
                while self.symbol(",") {
                    actions.push(self.assignment()?);
                }
            } else if self.word("REMOVE") {
                actions.push(Action::Remove(self.path()?));
                while self.symbol(",") {
                    actions.push(Action::Remove(self.path()?));
                }
            } else if actions.is_empty() {
                return refused(
                    "Only SET and REMOVE are supported in update expressions at this time",
                );
            } else {
                return Ok(actions);
            }
        }
    }

    fn update(
        &mut self,
        table: String,
        actions: Vec<Action>,
        condition: Condition,
    ) -> Parsed<Statement> {
        if let Some(clash) = crate::expression::path_clash(actions.iter().map(Action::path)) {
            return refused(clash.1);
        }
        let returning = self.returning()?;
        let update = Update { actions, dialect: Dialect::UpdateExpression };
        Ok(Statement::Update { table, update, condition, returning })
    }

    /// `RETURNING (ALL | MODIFIED) (NEW | OLD) *`
    fn returning(&mut self) -> Parsed<Option<Returning>> {
        const SYNTAX: &str =
            "Expected '*' after ( MODIFIED | ALL ) ( NEW | OLD ) in RETURNING clause";
        if !self.word("RETURNING") {
            return Ok(None);
        }
        let all = self.word("ALL");
        if !all {
            self.expect_word("MODIFIED")?;
        }
        let new = self.word("NEW");
        if !new {
            self.expect_word("OLD")?;
        }
        if !self.symbol("*") {
            return refused(SYNTAX);
        }
        if self.is_symbol(0, ",") {
            return refused("Invalid syntax with multiple returning elements in RETURNING clause");
        }
        Ok(Some(match (all, new) {
            (true, true) => Returning::AllNew,
            (true, false) => Returning::AllOld,
            (false, true) => Returning::ModifiedNew,
            (false, false) => Returning::ModifiedOld,
        }))
    }

    fn delete(&mut self) -> Parsed<Statement> {
        self.expect_word("FROM")?;
        let table = self.written_table("This operation is not supported on an index")?;
        let condition = self.required_where()?;
        let shown = match self.returning()? {
            None => return Ok(Statement::Delete { table, condition, returning: false }),
            Some(Returning::AllOld) => {
                return Ok(Statement::Delete { table, condition, returning: true });
            }
            Some(Returning::AllNew) => "ALL NEW *",
            Some(Returning::ModifiedOld) => "MODIFIED OLD *",
            Some(Returning::ModifiedNew) => "MODIFIED NEW *",
        };
        refused(format!(
            "Invalid returning clause: RETURNING {shown}. Only RETURNING ALL OLD * is allowed in \
             DELETE statements."
        ))
    }
}
