//! A walk over the tokens of one expression: what all grammars need.

use super::flaw::{self, Flaw, Rank};
use super::lexer::Lexer;
pub(crate) use super::lexer::{Kind, Token};
use super::reserved::is_reserved;
use super::{ExpressionError, ExpressionKind, Path, Step, Substitutions};
use crate::limits::{EXPRESSION_DEPTH, EXPRESSION_OPERATORS, PATH_ELEMENTS};
use crate::value::Value;

pub(crate) type Parsed<T> = Result<T, ExpressionError>;

/// Words that are operators here can never be bare attribute names.
const CONDITION_WORDS: &[&str] = &["AND", "OR", "NOT", "BETWEEN", "IN"];
pub(crate) const UPDATE_WORDS: &[&str] = &["SET", "REMOVE", "ADD", "DELETE"];

pub(crate) struct Cursor<'a, 's, 'v> {
    lexer: Lexer<'a>,
    substitutions: &'s mut Substitutions<'v>,
    /// For each opening parenthesis the place of the one that closes it.
    closing: Vec<usize>,
    pub(crate) at: usize,
    depth: usize,
    operators: usize,
    /// Which predicate of a condition is being read, counted from 0.
    pub(crate) predicate: u32,
    flaw: Option<(Rank, String)>,
}

impl<'a, 's, 'v> Cursor<'a, 's, 'v> {
    pub(crate) fn new(
        kind: ExpressionKind,
        text: &'a str,
        substitutions: &'s mut Substitutions<'v>,
    ) -> Parsed<Self> {
        let lexer = Lexer::new(kind, text)?;
        let closing = closing(&lexer.tokens);
        let (at, depth, operators, predicate) = (0, 0, 0, 0);
        Ok(Self { lexer, substitutions, closing, at, depth, operators, predicate, flaw: None })
    }

    /// Nothing may be left; then the flaw that DynamoDB names first, if there is one.
    pub(crate) fn finish<T>(self, parsed: T) -> Parsed<T> {
        if self.peek().kind != Kind::End {
            return Err(self.syntax());
        }
        match self.flaw {
            Some((_, reason)) => Err(self.lexer.invalid(reason)),
            None => Ok(parsed),
        }
    }

    /// Remembers a mistake that is not one of syntax: reading goes on.
    pub(crate) fn flaw(&mut self, flaw: Flaw, reason: impl Into<String>) {
        let rank = flaw::rank(self.lexer.kind, flaw, self.predicate);
        if self.flaw.as_ref().is_none_or(|(known, _)| rank < *known) {
            self.flaw = Some((rank, reason.into()));
        }
    }

    pub(crate) fn peek(&self) -> Token<'a> {
        self.lexer.tokens[self.at]
    }

    fn ahead(&self, at: usize) -> Token<'a> {
        self.lexer.tokens[at.min(self.lexer.tokens.len() - 1)]
    }

    pub(crate) fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += usize::from(token.kind != Kind::End);
        token
    }

    pub(crate) fn syntax(&self) -> ExpressionError {
        self.lexer.syntax_at(self.at)
    }

    pub(crate) fn is_keyword(&self, word: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Symbol && token.text == symbol
    }

    pub(crate) fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.syntax()) }
    }

    /// The token behind the parenthesis that closes the one ahead.
    pub(crate) fn after_parentheses(&self) -> Token<'a> {
        self.ahead(self.closing.get(self.at).map_or(usize::MAX, |&at| at.saturating_add(1)))
    }

    /// Whether the word ahead is a function's name: a parenthesis follows it.
    pub(crate) fn is_call(&self) -> bool {
        self.peek().kind == Kind::Word && self.ahead(self.at + 1).text == "("
    }

    /// Counts an operator or function.
    pub(crate) fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > EXPRESSION_OPERATORS {
            return Err(self.lexer.invalid(format!(
                "The expression contains too many operators; operator count: {}",
                self.operators
            )));
        }
        Ok(())
    }

    /// Enters parentheses, a NOT or an operand; every return from it must [`Self::ascend`] again, but for
    /// errors, which end the reading.
    pub(crate) fn descend(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH {
            return Err(self.lexer.invalid(format!(
                "The expression is nested deeper than {EXPRESSION_DEPTH} levels"
            )));
        }
        Ok(())
    }

    pub(crate) fn ascend(&mut self) {
        self.depth -= 1;
    }

    pub(crate) fn wrong_count(&mut self, name: &str, count: usize) {
        self.flaw(
            Flaw::OperandCount,
            format!(
                "Incorrect number of operands for operator or function; operator or function: {name}, \
                 number of operands: {count}"
            ),
        );
    }

    pub(crate) fn wrong_type(&mut self, name: &str, kind: &str) {
        self.flaw(
            Flaw::OperandType,
            format!(
                "Incorrect operand type for operator or function; operator or function: {name}, \
                 operand type: {kind}"
            ),
        );
    }

    pub(crate) fn needs_path(&mut self, name: &str) {
        self.flaw(
            Flaw::OperandType,
            format!("Operator or function requires a document path; operator or function: {name}"),
        );
    }

    pub(crate) fn redundant_parentheses(&mut self) {
        self.flaw(Flaw::Parentheses, "The expression has redundant parentheses;");
    }

    pub(crate) fn misused_function(&mut self, name: &str) {
        self.flaw(
            Flaw::MisusedFunction,
            format!(
                "The function is not allowed to be used this way in an expression; function: {name}"
            ),
        );
    }

    /// `:value`
    pub(crate) fn value(&mut self) -> Parsed<Value> {
        let token = self.peek();
        if token.kind != Kind::Value {
            return Err(self.syntax());
        }
        self.next();
        if let Some(value) = self.substitutions.value(token.text)? {
            return Ok(value.clone());
        }
        self.flaw(
            Flaw::UndefinedValue,
            format!(
                "An expression attribute value used in expression is not defined; attribute value: {}",
                token.text
            ),
        );
        Ok(Value::Null)
    }

    /// `a.b[1].#c`
    pub(crate) fn path(&mut self) -> Parsed<Path> {
        let first = Step::Attribute(self.name()?);
        self.path_from(vec![first])
    }

    /// What follows the steps that have been read.
    pub(crate) fn path_from(&mut self, mut steps: Vec<Step>) -> Parsed<Path> {
        loop {
            if self.symbol(".") {
                steps.push(Step::Attribute(self.name()?));
            } else if self.symbol("[") {
                steps.push(Step::Index(self.index()?));
                self.expect("]")?;
            } else if steps.len() > PATH_ELEMENTS {
                return Err(self.lexer.invalid(format!(
                    "The document path has too many nesting levels; nesting levels: {}",
                    steps.len()
                )));
            } else {
                return Ok(Path(steps));
            }
        }
    }

    fn index(&mut self) -> Parsed<u32> {
        let token = self.peek();
        if token.kind != Kind::Number {
            return Err(self.syntax());
        }
        self.next();
        // As an index of Java's, which DynamoDB is written in.
        match token.text.parse::<i32>() {
            Ok(index) => Ok(index.unsigned_abs()),
            Err(_) => Err(self.lexer.invalid(format!(
                "List index is not within the allowable range; index: [{}]",
                token.text
            ))),
        }
    }

    fn name(&mut self) -> Parsed<String> {
        let token = self.peek();
        match token.kind {
            Kind::Name => {
                self.next();
                if let Some(name) = self.substitutions.name(token.text)? {
                    return Ok(name.to_owned());
                }
                self.flaw(
                    Flaw::UndefinedName,
                    format!(
                        "An expression attribute name used in the document path is not defined; attribute name: {}",
                        token.text
                    ),
                );
                Ok(token.text.to_owned())
            }
            Kind::Word if self.is_operator(token.text) => Err(self.syntax()),
            Kind::Word => {
                self.next();
                if is_reserved(token.text) {
                    self.flaw(
                        Flaw::ReservedWord,
                        format!(
                            "Attribute name is a reserved keyword; reserved keyword: {}",
                            token.text
                        ),
                    );
                }
                Ok(token.text.to_owned())
            }
            _ => Err(self.syntax()),
        }
    }

    pub(crate) fn is_operator(&self, word: &str) -> bool {
        let words = match self.lexer.kind {
            ExpressionKind::Update => UPDATE_WORDS,
            ExpressionKind::Projection => &[],
            _ => CONDITION_WORDS,
        };
        words.iter().any(|operator| word.eq_ignore_ascii_case(operator))
    }

    /// No two of the paths lead to or into one another, and none takes for a list what another takes for a
    /// map. Both are found in the order of the text.
    pub(crate) fn check_paths<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) {
        if let Some((flaw, reason)) = path_clash(paths) {
            self.flaw(flaw, reason);
        }
    }
}

/// The first two paths that overlap, or, where none do, that conflict.
pub(crate) fn path_clash<'p>(paths: impl Iterator<Item = &'p Path>) -> Option<(Flaw, String)> {
    let (mut before, mut conflict): (Vec<&Path>, _) = (Vec::new(), None);
    for path in paths {
        for earlier in &before {
            let mut steps = earlier.0.iter().zip(&path.0);
            let text = |verb: &str| {
                format!(
                    "Two document paths {verb} with each other; must remove or rewrite one of these \
                     paths; path one: {earlier}, path two: {path}"
                )
            };
            match steps.find(|(a, b)| a != b) {
                None => return Some((Flaw::PathOverlap, text("overlap"))),
                Some(
                    (Step::Index(_), Step::Attribute(_)) | (Step::Attribute(_), Step::Index(_)),
                ) => {
                    conflict.get_or_insert_with(|| (Flaw::PathConflict, text("conflict")));
                }
                Some(_) => {}
            }
        }
        before.push(path);
    }
    conflict
}

/// For each token that opens a parenthesis the place of the one that closes it.
fn closing(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut closing = vec![usize::MAX; tokens.len()];
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" => open.push(at),
            ")" => {
                if let Some(opened) = open.pop() {
                    closing[opened] = at;
                }
            }
            _ => {}
        }
    }
    closing
}
