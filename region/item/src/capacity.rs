//! Request units as DynamoDB counts them (developer guide, "Read and write operations"): reads in
//! steps of 4 KB, writes in steps of 1 KB, half for eventually consistent reads. A missing item costs
//! what the smallest item costs. A Query or Scan rounds the sum of what it read; GetItem rounds one item.

use crate::limits::{READ_UNIT_BYTES, WRITE_UNIT_BYTES};

/// Units of reading `bytes`: one a strongly consistent step of 4 KB, half of that otherwise.
pub fn read_units(bytes: usize, strong: bool) -> f64 {
    let steps = bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64;
    if strong { steps } else { steps / 2.0 }
}

/// Units of a write: the larger of the item before and after, one a step of 1 KB.
pub fn write_units(before: usize, after: usize) -> f64 {
    before.max(after).div_ceil(WRITE_UNIT_BYTES).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the AWS page "Read and write operations".
    #[test]
    fn units_are_those_of_the_guide() {
        assert_eq!(read_units(3 * 1024, true), 1.0);
        assert_eq!(read_units(3 * 1024, false), 0.5);
        assert_eq!(read_units(8 * 1024, true), 2.0);
        assert_eq!(read_units(4 * 1024 + 1, true), 2.0);
        assert_eq!(read_units(0, false), 0.5);
        assert_eq!(write_units(0, 512), 1.0);
        assert_eq!(write_units(0, 1024 + 512), 2.0);
        assert_eq!(write_units(3 * 1024, 10), 3.0);
    }
}
