//! Behaviour of progress.
