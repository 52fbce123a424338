//! Text to tokens. Keywords are recognised by the parsers, because they are case-insensitive and
//! names are not.

use super::{ExpressionError, ExpressionKind};
use crate::limits::EXPRESSION_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare name or keyword.
    Word,
    /// `#name`
    Name,
    /// `:value`
    Value,
    Number,
    Symbol,
    /// A character that no expression has.
    Unknown,
    End,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    start: usize,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) kind: ExpressionKind,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(kind: ExpressionKind, text: &'a str) -> Result<Self, ExpressionError> {
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
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some((kind, len)) = token_at(&text[at..]) {
            if let Some(kind) = kind {
                tokens.push(Token { kind, text: &text[at..at + len], start: at });
            }
            at += len;
        }
        let unknown = tokens.iter().position(|token| token.kind == Kind::Unknown);
        tokens.push(Token { kind: Kind::End, text: "<EOF>", start: text.len() });
        let lexer = Self { text, tokens, kind };
        match unknown {
            Some(at) => Err(lexer.syntax_at(at)),
            None => Ok(lexer),
        }
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
}

/// The token at the beginning of the rest and its length in bytes; white space is no token.
fn token_at(rest: &str) -> Option<(Option<Kind>, usize)> {
    let first = rest.chars().next()?;
    let run = |from: usize, of: fn(u8) -> bool| {
        from + rest.as_bytes()[from..].iter().take_while(|&&b| of(b)).count()
    };
    let in_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let second = rest.as_bytes().get(1).copied();
    let (kind, len) = match first {
        c if c.is_ascii_whitespace() => return Some((None, 1)),
        '#' if second.is_some_and(in_word) => (Kind::Name, run(1, in_word)),
        ':' if second.is_some_and(in_word) => (Kind::Value, run(1, in_word)),
        '0'..='9' => (Kind::Number, run(0, |b| b.is_ascii_digit())),
        c if c.is_ascii_alphabetic() => (Kind::Word, run(0, in_word)),
        '<' if matches!(second, Some(b'>' | b'=')) => (Kind::Symbol, 2),
        '>' if second == Some(b'=') => (Kind::Symbol, 2),
        '=' | '<' | '>' | '(' | ')' | ',' | '.' | '[' | ']' | '+' | '-' => (Kind::Symbol, 1),
        other => (Kind::Unknown, other.len_utf8()),
    };
    Some((Some(kind), len))
}
