//! Whole conversations, byte for byte.
