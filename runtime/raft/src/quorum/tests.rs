//! Behaviour of quorum.
