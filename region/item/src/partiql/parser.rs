//! A walk over the tokens of one statement: what all clauses need.

use super::error::{Parsed, StatementError};
use super::lexer::{Lexer, Token};
use crate::condition::{Path, Step};
use crate::limits::{EXPRESSION_DEPTH, EXPRESSION_OPERATORS, PATH_ELEMENTS};
use crate::value::Value;

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    pub(super) at: usize,
    depth: usize,
    operators: usize,
    parameters: std::slice::Iter<'a, Value>,
}

pub(super) const UNEXPECTED: StatementError =
    StatementError::NotWellFormed("Unexpected token after expression");
const TERM: StatementError = StatementError::NotWellFormed("Unexpected term");

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, parameters: &'a [Value]) -> Parsed<Self> {
        let lexer = Lexer::new(text)?;
        Ok(Self { lexer, at: 0, depth: 0, operators: 0, parameters: parameters.iter() })
    }

    pub(super) fn peek(&self) -> &Token {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, by: usize) -> &Token {
        self.token(self.at + by)
    }

    pub(super) fn token(&self, at: usize) -> &Token {
        &self.lexer.tokens[at.min(self.lexer.tokens.len() - 1)].token
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += usize::from(token != Token::End);
        token
    }

    pub(super) fn unexpected<T>(&self) -> Parsed<T> {
        Err(TERM)
    }

    /// A refusal that names the token at `index`.
    pub(super) fn refused_at<T>(&self, index: usize, reason: impl Into<String>) -> Parsed<T> {
        let place = self.lexer.place(index);
        Err(StatementError::RefusedAt { reason: reason.into(), place })
    }

    pub(super) fn is_word(&self, by: usize, word: &str) -> bool {
        matches!(self.ahead(by), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.word(word) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn is_symbol(&self, by: usize, symbol: &str) -> bool {
        matches!(self.ahead(by), Token::Symbol(found) if *found == symbol)
    }

    pub(super) fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(0, symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { self.unexpected() }
    }

    /// Nothing may be left but a semicolon, and no parameter unused.
    pub(super) fn finish(&mut self) -> Parsed<()> {
        self.symbol(";");
        if *self.peek() != Token::End {
            return Err(UNEXPECTED);
        }
        match self.parameters.next() {
            None => Ok(()),
            Some(_) => Err(StatementError::Parameters),
        }
    }

    /// The value of the `?` that was read.
    pub(super) fn parameter(&mut self) -> Parsed<Value> {
        self.parameters.next().cloned().ok_or(StatementError::Parameters)
    }

    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH {
            return Err(StatementError::Refused(format!(
                "The expression is nested deeper than {EXPRESSION_DEPTH} levels"
            )));
        }
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    /// Counts an operator or function.
    pub(super) fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > EXPRESSION_OPERATORS {
            return Err(StatementError::Refused(format!(
                "The expression contains too many operators; operator count: {}",
                self.operators
            )));
        }
        Ok(())
    }

    /// Whether a function's name is ahead: a word and a parenthesis.
    pub(super) fn is_call(&self) -> bool {
        matches!(self.peek(), Token::Word(_)) && self.is_symbol(1, "(")
    }

    /// `a."b"[1]`
    pub(super) fn path(&mut self) -> Parsed<Path> {
        let mut steps = vec![Step::Attribute(self.name()?)];
        loop {
            if self.symbol(".") {
                if self.is_symbol(0, "*") {
                    return super::error::refused(
                        "Unpivot path component like a.*.b are not supported",
                    );
                }
                match self.next() {
                    Token::Word(name) | Token::Quoted(name) if !name.is_empty() => {
                        steps.push(Step::Attribute(name));
                    }
                    Token::Quoted(_) => {
                        return super::error::refused("Path component cannot be an empty string");
                    }
                    _ => return Err(StatementError::NotWellFormed("Invalid path dot component")),
                }
            } else if self.symbol("[") {
                if self.is_symbol(0, "*") {
                    return super::error::refused(
                        "Wildcard path component like a[*].b are not supported",
                    );
                }
                steps.push(self.index()?);
                self.expect("]")?;
            } else if steps.len() > PATH_ELEMENTS {
                return super::error::refused(format!(
                    "The document path has too many nesting levels; nesting levels: {}",
                    steps.len()
                ));
            } else {
                return Ok(Path(steps));
            }
        }
    }

    fn index(&mut self) -> Parsed<Step> {
        // `['name']` is a step into a map.
        if let Token::Text(name) = self.peek() {
            let name = name.clone();
            self.at += 1;
            return Ok(Step::Attribute(name));
        }
        let minus = self.symbol("-");
        let at = self.at;
        let Token::Number(digits) = self.next() else { return self.unexpected() };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.unexpected();
        }
        match digits.parse::<i32>() {
            Ok(0) => Ok(Step::Index(0)),
            Ok(index) if !minus => Ok(Step::Index(index.unsigned_abs())),
            _ => {
                let sign = if minus { "-" } else { "" };
                self.refused_at(
                    at,
                    format!(
                        "List index is not within the allowable range; index: [{sign}{digits}]"
                    ),
                )
            }
        }
    }

    /// An attribute's name, bare or in double quotes. Keywords are none.
    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Token::Word(name) if !is_keyword(name) => {}
            Token::Quoted(name) if !name.is_empty() => {}
            Token::Quoted(_) => {
                return super::error::refused("Path component cannot be an empty string");
            }
            _ => return self.unexpected(),
        }
        match self.next() {
            Token::Word(name) | Token::Quoted(name) => Ok(name),
            _ => self.unexpected(),
        }
    }
}

/// Words of the grammar that cannot be bare names.
fn is_keyword(word: &str) -> bool {
    const WORDS: [&str; 28] = [
        "SELECT",
        "FROM",
        "WHERE",
        "ORDER",
        "BY",
        "INSERT",
        "INTO",
        "VALUE",
        "UPDATE",
        "SET",
        "REMOVE",
        "DELETE",
        "RETURNING",
        "AND",
        "OR",
        "NOT",
        "BETWEEN",
        "IN",
        "IS",
        "NULL",
        "MISSING",
        "TRUE",
        "FALSE",
        "EXISTS",
        "AS",
        "ASC",
        "DESC",
        "LIKE",
    ];
    WORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}
