//! DynamoDB numbers: decimal, exact, up to 38 significant digits, magnitudes from 1E-130 to
//! 9.99...E+125 (AWS developer guide, "Constraints", Number). Never a binary float.
//!
//! Always true: a number is kept as sign, coefficient and exponent with no trailing zero in the
//! coefficient, so equal numbers have equal fields, bytes and text; zero has no sign.
//!
//! A coefficient of 38 digits fits a `u128`, so no decimal library is used: the ones measured round
//! silently at their own limits, and reading, writing, range, order and key bytes would be ours all the same.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::{Decoder, Encoder, FormatError};
use crate::limits::{NUMBER_DIGITS, NUMBER_EXPONENT_MAX, NUMBER_EXPONENT_MIN};

/// Why a text is not a number; the wording is DynamoDB's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("The parameter cannot be converted to a numeric value")]
    Empty,
    #[error("The parameter cannot be converted to a numeric value: {0}")]
    NotANumber(String),
    #[error("Attempting to store more than 38 significant digits in a Number")]
    TooManyDigits,
    #[error(
        "Number overflow. Attempting to store a number with magnitude larger than supported range"
    )]
    Overflow,
    #[error(
        "Number underflow. Attempting to store a number with magnitude smaller than supported range"
    )]
    Underflow,
}

/// `±coefficient x 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Number {
    negative: bool,
    coefficient: u128,
    exponent: i16,
}

impl Number {
    pub const ZERO: Self = Self { negative: false, coefficient: 0, exponent: 0 };

    fn new(negative: bool, mut coefficient: u128, mut exponent: i32) -> Result<Self, NumberError> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        while coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        let digits = coefficient.ilog10() as i32 + 1;
        if digits as usize > NUMBER_DIGITS {
            return Err(NumberError::TooManyDigits);
        }
        match exponent + digits - 1 {
            leading if leading > NUMBER_EXPONENT_MAX => Err(NumberError::Overflow),
            leading if leading < NUMBER_EXPONENT_MIN => Err(NumberError::Underflow),
            // In range -168..=125 because both the leading digit and the digit count are bounded.
            _ => Ok(Self { negative, coefficient, exponent: exponent as i16 }),
        }
    }

    /// The exact sum. One that has more than 38 digits is told as an overflow, as DynamoDB does.
    pub fn plus(&self, other: &Self) -> Result<Self, NumberError> {
        if self.coefficient == 0 {
            return Ok(*other);
        }
        if other.coefficient == 0 {
            return Ok(*self);
        }
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // The lower one's last digit is not zero, so nothing of the sum below it can be left out.
        let shift = u32::from(high.exponent.abs_diff(low.exponent));
        let scale = 10_u128.checked_pow(shift).ok_or(NumberError::Overflow)?;
        let scaled = high.coefficient.checked_mul(scale).ok_or(NumberError::Overflow)?;
        let (negative, coefficient) = if high.negative == low.negative {
            let sum = scaled.checked_add(low.coefficient).ok_or(NumberError::Overflow)?;
            (high.negative, sum)
        } else if scaled >= low.coefficient {
            (high.negative, scaled - low.coefficient)
        } else {
            (low.negative, low.coefficient - scaled)
        };
        Self::new(negative, coefficient, low.exponent.into()).map_err(|error| match error {
            NumberError::TooManyDigits => NumberError::Overflow,
            other => other,
        })
    }

    /// The exact difference, as [`Self::plus`].
    pub fn minus(&self, other: &Self) -> Result<Self, NumberError> {
        let negative = other.coefficient != 0 && !other.negative;
        self.plus(&Self { negative, ..*other })
    }

    fn digits(&self) -> u32 {
        self.coefficient.checked_ilog10().map_or(1, |log| log + 1)
    }

    /// The power of ten of the first digit.
    fn leading(&self) -> i32 {
        i32::from(self.exponent) + self.digits() as i32 - 1
    }

    /// Bytes DynamoDB counts for it: one for each two digits, pairs aligned to the decimal point, plus
    /// one, plus one for a sign.
    pub fn size(&self) -> usize {
        if self.coefficient == 0 {
            return 1;
        }
        let digits = self.digits() as usize;
        let split = digits.is_multiple_of(2) && self.leading() % 2 == 0;
        1 + digits.div_ceil(2) + usize::from(split) + usize::from(self.negative)
    }

    /// Bytes that sort like numbers and end themselves: a sign byte; then, all bits flipped for
    /// negative numbers, the first digit's power of ten (two bytes, offset 32,768), the digits two a byte as
    /// 1 to 100, and a zero byte.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        if self.coefficient == 0 {
            out.push(0x80);
            return;
        }
        let flip = if self.negative { 0xff } else { 0 };
        out.push(if self.negative { 0x40 } else { 0xc0 });
        let power = (self.leading() + 0x8000) as u16;
        out.extend(power.to_be_bytes().map(|byte| byte ^ flip));
        let mut digits = [0_u8; 40];
        let count = self.digits() as usize;
        let mut rest = self.coefficient;
        for digit in digits[..count].iter_mut().rev() {
            *digit = (rest % 10) as u8;
            rest /= 10;
        }
        out.extend(
            digits[..count.next_multiple_of(2)].chunks(2).map(|p| (p[0] * 10 + p[1] + 1) ^ flip),
        );
        out.push(flip);
    }

    /// Sign in bit 7 and the coefficient's length in bytes in the low bits, the exponent (two bytes),
    /// the coefficient big endian without leading zero bytes.
    pub(crate) fn encode(&self, out: &mut Encoder) {
        let coefficient = self.coefficient.to_be_bytes();
        let skip = self.coefficient.leading_zeros() as usize / 8;
        out.u8(u8::from(self.negative) << 7 | (16 - skip) as u8);
        out.u16(self.exponent as u16);
        out.raw(&coefficient[skip..]);
    }

    pub(crate) fn encoded_len(&self) -> usize {
        3 + 16 - self.coefficient.leading_zeros() as usize / 8
    }

    pub(crate) fn decode(d: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let head = d.u8()?;
        let exponent = d.u16()? as i16;
        let len = usize::from(head & 0x7f);
        if len > 16 {
            return Err(d.error(format!("a coefficient of {len} bytes; at most 16 are legal")));
        }
        let mut bytes = [0; 16];
        let shortest = d.raw(len)?;
        if shortest.first() == Some(&0) {
            return Err(d.error("a coefficient has a leading zero byte"));
        }
        bytes[16 - len..].copy_from_slice(shortest);
        let coefficient = u128::from_be_bytes(bytes);
        let read = Self::new(head & 0x80 != 0, coefficient, exponent.into());
        let canonical = Self { negative: head & 0x80 != 0, coefficient, exponent };
        match read {
            Ok(number) if number == canonical => Ok(number),
            Ok(_) => Err(d.error("a number is not in its shortest form")),
            Err(error) => Err(d.error(error.to_string())),
        }
    }
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let bad = || {
            let shown: String = text.chars().take(80).collect();
            NumberError::NotANumber(shown)
        };
        if text.is_empty() {
            return Err(NumberError::Empty);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, power) = match rest.find(['e', 'E']) {
            None => (rest, 0),
            Some(at) => (&rest[..at], exponent(&rest[at + 1..]).ok_or_else(bad)?),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if whole.len() + fraction.len() == 0 || !all().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        // Zeros at either end carry no digits; what is left must fit 38.
        let total = whole.len() + fraction.len();
        let lead = all().take_while(|&b| b == b'0').count();
        if lead == total {
            return Ok(Self::ZERO);
        }
        let trail =
            fraction.bytes().rev().chain(whole.bytes().rev()).take_while(|&b| b == b'0').count();
        if total - lead - trail > NUMBER_DIGITS {
            return Err(NumberError::TooManyDigits);
        }
        let digits = all().skip(lead).take(total - lead - trail);
        let coefficient = digits.fold(0_u128, |sum, b| sum * 10 + u128::from(b - b'0'));
        let exponent = power + trail as i64 - fraction.len() as i64;
        let exponent = exponent.clamp(-1_000_000, 1_000_000) as i32;
        Self::new(negative, coefficient, exponent)
    }
}

/// Saturates: an exponent of a thousand digits is out of range, not a syntax error.
fn exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value = digits.bytes().fold(0_i64, |sum, b| (sum * 10 + i64::from(b - b'0')).min(1 << 40));
    Some(sign * value)
}

/// DynamoDB answers with plain digits, without an exponent, whatever was put in.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        if self.exponent >= 0 {
            write!(f, "{}", self.coefficient)?;
            return if self.coefficient == 0 {
                Ok(())
            } else {
                write!(f, "{:0<1$}", "", self.exponent as usize)
            };
        }
        let places = usize::from(self.exponent.unsigned_abs());
        let digits = self.coefficient.to_string();
        if digits.len() > places {
            let (whole, fraction) = digits.split_at(digits.len() - places);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{digits:0>places$}")
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |n: &Self| match (n.coefficient, n.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        };
        let (ours, theirs) = (sign(self), sign(other));
        if ours != theirs || ours == 0 {
            return ours.cmp(&theirs);
        }
        let magnitude = self.leading().cmp(&other.leading()).then_with(|| {
            // Same first power of ten: compare the digits, the shorter one filled up with zeros.
            let (a, b) = (self.digits(), other.digits());
            let widest = a.max(b);
            let fill = |n: &Self, digits| n.coefficient * 10_u128.pow(widest - digits);
            fill(self, a).cmp(&fill(other, b))
        });
        if self.negative { magnitude.reverse() } else { magnitude }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::new(false, value.into(), 0).expect("20 digits are fewer than 38")
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::new(value < 0, value.unsigned_abs().into(), 0).expect("19 digits are fewer than 38")
    }
}

impl TryFrom<String> for Number {
    type Error = NumberError;
    fn try_from(text: String) -> Result<Self, NumberError> {
        text.parse()
    }
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn text_is_read_and_written_plainly() {
        for (given, shown) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000e99999", "0"),
            ("007.50", "7.5"),
            ("1E3", "1000"),
            ("+1e-3", "0.001"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-12.340E1", "-123.4"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(number(given).to_string(), shown, "{given}");
        }
        assert_eq!(number("1E125").to_string().len(), 126);
        assert_eq!(number("1E-130").to_string().len(), 132);
    }

    #[test]
    fn limits_hold_on_both_sides() {
        use NumberError::*;
        assert!("9.9999999999999999999999999999999999999E125".parse::<Number>().is_ok());
        assert_eq!("1E126".parse::<Number>(), Err(Overflow));
        assert_eq!("-1E126".parse::<Number>(), Err(Overflow));
        assert!("1E-130".parse::<Number>().is_ok());
        assert_eq!("1E-131".parse::<Number>(), Err(Underflow));
        assert_eq!("1E-99999999999999999999".parse::<Number>(), Err(Underflow));
        assert_eq!(format!("1{}1", "0".repeat(37)).parse::<Number>(), Err(TooManyDigits));
        assert!(format!("1{}", "0".repeat(100)).parse::<Number>().is_ok());
        assert_eq!("1".repeat(10_000).parse::<Number>(), Err(TooManyDigits));
        for bad in
            ["", "-", ".", "e5", "1e", "1e+", "1x", "0x10", "NaN", "Infinity", "1.2.3", " 1", "١"]
        {
            assert!(matches!(bad.parse::<Number>(), Err(NotANumber(_) | Empty)), "{bad}");
        }
    }

    /// Dynalite's and AWS's worked sizes.
    #[test]
    fn sizes_follow_the_guide() {
        for (text, size) in [("0", 1), ("5", 2), ("12", 2), ("123", 3), ("1.2", 3), ("-5", 3)] {
            assert_eq!(number(text).size(), size, "{text}");
        }
        assert_eq!(number(&"9".repeat(38)).size(), 20);
    }

    #[test]
    fn key_bytes_have_the_written_form() {
        let key = |text| {
            let mut bytes = Vec::new();
            number(text).write_key(&mut bytes);
            bytes
        };
        assert_eq!(key("0"), [0x80]);
        // 123 = 1.23 x 10^2: pairs 12, 30.
        assert_eq!(key("123"), [0xc0, 0x80, 0x02, 13, 31, 0]);
        assert_eq!(key("-123"), [0x40, 0x7f, 0xfd, !13, !31, 0xff]);
        assert_eq!(key("0.05"), [0xc0, 0x7f, 0xfe, 51, 0]);
    }

    /// Over the whole range of digits and powers, and often close together.
    fn decimal() -> impl Strategy<Value = String> {
        let wide = ("[0-9]{1,38}", -130_i32..=88);
        let close = ("[0-9]{1,3}", -3_i32..3);
        (any::<bool>(), prop_oneof![wide, close]).prop_map(|(minus, (digits, power))| {
            format!("{}{digits}E{power}", if minus { "-" } else { "" })
        })
    }

    /// Compares by definition: both written with the same 130 places, as text.
    fn compare_as_text(a: &str, b: &str) -> Ordering {
        let fixed = |text: &str| {
            let (negative, rest) = (text.starts_with('-'), text.trim_start_matches('-'));
            let (digits, power) = rest.split_once('E').expect("generated with an exponent");
            let power: i32 = power.parse().expect("a small exponent");
            let zeros = "0".repeat((power + 130) as usize);
            let text = format!("{:0>256}", format!("{digits}{zeros}"));
            (negative && text.bytes().any(|b| b != b'0'), text)
        };
        let ((a_negative, a), (b_negative, b)) = (fixed(a), fixed(b));
        match (a_negative, b_negative) {
            (false, false) => a.cmp(&b),
            (true, true) => b.cmp(&a),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    proptest! {
        #[test]
        fn order_agrees_with_schoolbook_and_with_key_bytes(a in decimal(), b in decimal()) {
            let expected = compare_as_text(&a, &b);
            let (a, b) = (number(&a), number(&b));
            prop_assert_eq!(a.cmp(&b), expected);
            let (mut x, mut y) = (Vec::new(), Vec::new());
            a.write_key(&mut x);
            b.write_key(&mut y);
            prop_assert_eq!(x.cmp(&y), expected);
        }

        #[test]
        fn text_and_bytes_round_trip(text in decimal()) {
            let n = number(&text);
            prop_assert_eq!(number(&n.to_string()), n);
            let mut e = Encoder::default();
            n.encode(&mut e);
            prop_assert_eq!(e.0.len(), n.encoded_len());
            prop_assert_eq!(Number::decode(&mut Decoder::new(&e.0, "number")), Ok(n));
        }

        /// One number, one form: whatever is accepted encodes to the same bytes.
        #[test]
        fn what_is_decoded_is_in_its_shortest_form(
            minus in any::<bool>(), len in 0..18_u8, exponent in -140_i16..130,
            coefficient in proptest::collection::vec(0..3_u8, 17),
        ) {
            let mut bytes = vec![u8::from(minus) << 7 | len];
            bytes.extend(exponent.to_be_bytes());
            bytes.extend(&coefficient[..usize::from(len).min(17)]);
            if let Ok(number) = Number::decode(&mut Decoder::new(&bytes, "number")) {
                let mut e = Encoder::default();
                number.encode(&mut e);
                prop_assert_eq!(e.0, bytes);
            }
        }

        #[test]
        fn any_text_is_a_number_or_an_error(text in ".{0,60}") {
            let _ = text.parse::<Number>();
        }

        /// Against whole numbers of a machine: everything scaled by 10^5.
        #[test]
        fn sums_agree_with_schoolbook(
            a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000,
            x in 0..10_u32, y in 0..10_u32,
        ) {
            let of = |digits: i64, power: u32| {
                number(&format!("{digits}E{}", i64::from(power) - 5))
            };
            let scaled = |digits: i64, power: u32| i128::from(digits) * 10_i128.pow(power);
            let (a, b, a_scaled, b_scaled) = (of(a, x), of(b, y), scaled(a, x), scaled(b, y));
            let expected = |sum: i128| Ok(number(&format!("{sum}E-5")));
            prop_assert_eq!(a.plus(&b), expected(a_scaled + b_scaled));
            prop_assert_eq!(a.minus(&b), expected(a_scaled - b_scaled));
        }

        #[test]
        fn sums_are_exact_or_an_error(a in decimal(), b in decimal()) {
            let (a, b) = (number(&a), number(&b));
            prop_assert_eq!(a.plus(&b), b.plus(&a));
            if let Ok(sum) = a.plus(&b) {
                prop_assert_eq!(sum.minus(&b), Ok(a));
            }
        }
    }

    /// DynamoDB tells a sum of too many digits as an overflow (Alternator's tests).
    #[test]
    fn sums_have_limits() {
        let plus = |a, b| number(a).plus(&number(b));
        assert_eq!(plus("9e125", "9e125"), Err(NumberError::Overflow));
        assert_eq!(plus("1e50", "1"), Err(NumberError::Overflow));
        assert_eq!(number("1e50").minus(&number("1")), Err(NumberError::Overflow));
        assert_eq!(plus("1e125", "1e-130"), Err(NumberError::Overflow));
        assert_eq!(number("1e38").minus(&number("1")), Ok(number(&"9".repeat(38))));
        assert_eq!(plus("10000000000000000000000", "1"), Ok(number("10000000000000000000001")));
        assert_eq!(number("1.1e-130").minus(&number("1e-130")), Err(NumberError::Underflow));
        assert_eq!(plus("5", "-5"), Ok(Number::ZERO));
        assert_eq!(Number::ZERO.minus(&number("5")), Ok(number("-5")));
    }
}
