//! The body of a message for people.
