//! Tests of a whole replica.
