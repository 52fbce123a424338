//! Text to tokens.

use super::error::{Parsed, StatementError};
use crate::limits::STATEMENT_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare name or keyword, as written.
    Word(String),
    /// `"name"`
    Quoted(String),
    /// `'text'`
    Text(String),
    /// Without a sign, as written.
    Number(String),
    /// `?`
    Parameter,
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) token: Token,
    start: usize,
    end: usize,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    pub(super) tokens: Vec<Placed>,
}

/// Longer ones first.
const SYMBOLS: [&str; 26] = [
    "<<", ">>", "<=", ">=", "<>", "!=", "||", "=", "<", ">", "(", ")", "[", "]", "{", "}", ",",
    ".", ":", "*", "+", "-", "/", "%", ";", "@",
];

const NO_REASON: StatementError = StatementError::NotWellFormed("");

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Parsed<Self> {
        if text.len() > STATEMENT_BYTES {
            return Err(StatementError::Refused(format!(
                "1 validation error detected: Value at 'statement' failed to satisfy constraint: \
                 Member must have length less than or equal to {STATEMENT_BYTES}"
            )));
        }
        let mut lexer = Self { text, tokens: Vec::new() };
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some(len) = skipped(rest)? {
                at += len;
                continue;
            }
            let (token, len) = token_at(rest)?;
            lexer.tokens.push(Placed { token, start: at, end: at + len });
            at += len;
        }
        let end = text.len();
        lexer.tokens.push(Placed { token: Token::End, start: end, end });
        Ok(lexer)
    }

    /// `line:column:length` of the token, counted in characters from 1.
    pub(super) fn place(&self, index: usize) -> String {
        let Placed { start, end, .. } = self.tokens[index.min(self.tokens.len() - 1)];
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        format!("{line}:{column}:{}", self.text[start..end].chars().count())
    }
}

/// Bytes of white space or of a comment at the beginning of the rest.
fn skipped(rest: &str) -> Parsed<Option<usize>> {
    if rest.starts_with("--") {
        return Ok(Some(rest.find('\n').unwrap_or(rest.len())));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        return comment.find("*/").map(|end| Some(end + 4)).ok_or(NO_REASON);
    }
    let space = rest.len() - rest.trim_start().len();
    Ok((space > 0).then_some(space))
}

fn token_at(rest: &str) -> Parsed<(Token, usize)> {
    let first = rest.chars().next().ok_or(NO_REASON)?;
    match first {
        '\'' => quoted(rest, '\'').map(|(text, len)| (Token::Text(text), len)),
        '"' => quoted(rest, '"').map(|(name, len)| (Token::Quoted(name), len)),
        '?' => Ok((Token::Parameter, 1)),
        _ if first.is_alphabetic() || first == '_' || first == '$' => {
            let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let len = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            Ok((Token::Word(rest[..len].to_owned()), len))
        }
        _ => {
            if let Some(len) = number(rest) {
                return Ok((Token::Number(rest[..len].to_owned()), len));
            }
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            symbol.map(|symbol| (Token::Symbol(symbol), symbol.len())).ok_or(NO_REASON)
        }
    }
}

/// Text in quotes; two of them are one.
fn quoted(rest: &str, quote: char) -> Parsed<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((text, at + quote.len_utf8()));
        }
    }
    Err(NO_REASON)
}

/// Bytes of a number without a sign: `7`, `7.5`, `.5`, `7e-3`.
fn number(rest: &str) -> Option<usize> {
    let digits = |from: usize| {
        rest.as_bytes()[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let byte = |at: usize| rest.as_bytes().get(at).copied();
    let whole = digits(0);
    let mut len = whole;
    if byte(len) == Some(b'.') {
        let fraction = digits(len + 1);
        if whole + fraction == 0 {
            return None;
        }
        len += 1 + fraction;
    }
    if len == 0 {
        return None;
    }
    if matches!(byte(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(byte(len + 1), Some(b'+' | b'-')));
        let power = digits(len + 1 + sign);
        if power > 0 {
            len += 1 + sign + power;
        }
    }
    Some(len)
}
