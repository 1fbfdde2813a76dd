//! To be written.
pub mod configuration;
pub mod certificates;
pub mod identity_of;
pub mod tls;
mod transport;
