//! Text to tokens. Keywords are recognised by the parser, because they are case-insensitive and
//! names are not.

use super::ExpressionError;
use crate::limits::EXPRESSION_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bare name or keyword.
    Word,
    /// `#name`
    Name,
    /// `:value`
    Value,
    Number,
    Symbol,
    End,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    start: usize,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) kind: &'static str,
}

impl<'a> Lexer<'a> {
    /// `kind` names the parameter in errors, for example `ConditionExpression`.
    pub(super) fn new(kind: &'static str, text: &'a str) -> Result<Self, ExpressionError> {
        let invalid = |reason: String| ExpressionError::Invalid { kind, reason };
        if text.trim().is_empty() {
            return Err(invalid("The expression can not be empty;".into()));
        }
        if text.len() > EXPRESSION_BYTES {
            return Err(invalid(format!(
                "Expression size has exceeded the maximum allowed size; expression size: {}",
                text.len()
            )));
        }
        let mut lexer = Self { text, tokens: Vec::new(), kind };
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let word = |mut at: usize| {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                at
            };
            let kind = match bytes[at] {
                byte if byte.is_ascii_whitespace() => {
                    at += 1;
                    continue;
                }
                b'#' => {
                    at = word(at + 1);
                    Kind::Name
                }
                b':' => {
                    at = word(at + 1);
                    Kind::Value
                }
                b'0'..=b'9' => {
                    while at < bytes.len() && bytes[at].is_ascii_digit() {
                        at += 1;
                    }
                    Kind::Number
                }
                byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                    at = word(at);
                    Kind::Word
                }
                b'<' if matches!(bytes.get(at + 1), Some(b'>' | b'=')) => {
                    at += 2;
                    Kind::Symbol
                }
                b'>' if bytes.get(at + 1) == Some(&b'=') => {
                    at += 2;
                    Kind::Symbol
                }
                b'=' | b'<' | b'>' | b'(' | b')' | b',' | b'.' | b'[' | b']' | b'+' | b'-' => {
                    at += 1;
                    Kind::Symbol
                }
                _ => {
                    let end = text[start..].chars().next().map_or(1, char::len_utf8) + start;
                    return Err(lexer.syntax(start, end));
                }
            };
            let alone = matches!(kind, Kind::Name | Kind::Value) && at == start + 1;
            if alone {
                return Err(lexer.syntax(start, at));
            }
            lexer.tokens.push(Token { kind, text: &text[start..at], start });
        }
        lexer.tokens.push(Token { kind: Kind::End, text: "<EOF>", start: text.len() });
        Ok(lexer)
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> ExpressionError {
        ExpressionError::Invalid { kind: self.kind, reason: reason.into() }
    }

    /// A syntax error at the token: DynamoDB shows the token and its neighbours.
    pub(super) fn syntax_at(&self, index: usize) -> ExpressionError {
        let token = self.tokens[index];
        let first = self.tokens[index.saturating_sub(1)].start;
        let last = self.tokens[(index + 1).min(self.tokens.len() - 1)];
        let end = match last.kind {
            Kind::End => self.text.len(),
            _ => last.start + last.text.len(),
        };
        self.invalid(format!(
            "Syntax error; token: \"{}\", near: \"{}\"",
            token.text,
            &self.text[first..end]
        ))
    }

    fn syntax(&self, start: usize, end: usize) -> ExpressionError {
        let first = self.tokens.last().map_or(start, |token| token.start);
        self.invalid(format!(
            "Syntax error; token: \"{}\", near: \"{}\"",
            &self.text[start..end],
            &self.text[first..end]
        ))
    }
}
