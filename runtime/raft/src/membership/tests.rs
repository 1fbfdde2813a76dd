//! Behaviour of memberships: changes, the joint phase, bytes.
