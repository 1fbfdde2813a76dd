//! Behaviour of log.
