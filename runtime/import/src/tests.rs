//! Imports of files that are made by hand, as ZooKeeper 3.4 writes them, and as newer ones do.

mod damage;
mod replay;
mod targets;
mod written;
