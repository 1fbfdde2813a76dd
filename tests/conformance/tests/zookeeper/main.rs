//! ZooKeeper's protocol as clients see it, beside the real ZooKeeper.

mod bench;
mod differential;
mod explained;
mod import;
mod original;
mod play;
mod render;
mod script;
mod step;
mod tls;
mod tree;
mod words;
