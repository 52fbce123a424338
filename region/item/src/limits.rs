//! Every limit on what users store and ask, with its source: the AWS developer guide's pages "Service,
//! account, and table quotas" (quotas), "Constraints" (constraints) and the API reference (API).

/// Names and values together (constraints).
pub const ITEM_BYTES: usize = 400 * 1024;
/// Lists and maps within each other (constraints): 32 levels, of which the innermost value is the last.
pub const NESTING_LEVELS: usize = 31;
/// Elements of a document path, its attribute included: as many as an item has levels (constraints).
pub const PATH_ELEMENTS: usize = 32;
/// Partition key value, at least 1 (constraints).
pub const PARTITION_KEY_BYTES: usize = 2_048;
/// Sort key value, at least 1 (constraints).
pub const SORT_KEY_BYTES: usize = 1_024;
/// An attribute name that is part of a key (constraints).
pub const KEY_NAME_BYTES: usize = 255;
/// Any other attribute name (constraints).
pub const ATTRIBUTE_NAME_BYTES: usize = 64 * 1024;
/// Significant digits of a number (constraints).
pub const NUMBER_DIGITS: usize = 38;
/// Smallest exponent of a number's leading digit: 1E-130 (constraints).
pub const NUMBER_EXPONENT_MIN: i32 = -130;
/// Largest exponent of a number's leading digit: 9.99...E+125 (constraints).
pub const NUMBER_EXPONENT_MAX: i32 = 125;
/// Any expression's text (quotas).
pub const EXPRESSION_BYTES: usize = 4 * 1024;
/// A PartiQL statement's text (API, ExecuteStatement).
pub const STATEMENT_BYTES: usize = 8_192;
/// Operators and functions in one expression (quotas).
pub const EXPRESSION_OPERATORS: usize = 300;
/// Operands of `IN` (API, condition expressions).
pub const IN_OPERANDS: usize = 100;
/// All substitution names and values of one expression together (quotas).
pub const SUBSTITUTION_BYTES: usize = 2 * 1024 * 1024;
/// What the placeholders of one request bring, each as often as it is used: every use is a copy. DynamoDB's
/// own number is not published; this one holds what people write and keeps a request's memory bounded.
pub const SUBSTITUTED_BYTES: usize = 2 * SUBSTITUTION_BYTES;
/// Parentheses and NOTs within each other. DynamoDB's own number is not published; this one keeps the
/// parser's recursion shallow and is far above what people write.
pub const EXPRESSION_DEPTH: usize = 128;
/// A table's name: 3 to 255 of `a-z A-Z 0-9 _ - .` (constraints).
pub const TABLE_NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=255;
/// Items read by one Query or Scan (API).
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Read capacity is counted in steps of this (capacity page).
pub const READ_UNIT_BYTES: usize = 4 * 1024;
/// Write capacity is counted in steps of this (capacity page).
pub const WRITE_UNIT_BYTES: usize = 1024;
