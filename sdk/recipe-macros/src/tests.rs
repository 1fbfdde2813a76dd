//! What the attribute writes and what it complains of.
