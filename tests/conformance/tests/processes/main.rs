//! Real processes under real signals: what must survive a kill, a torn write, a flipped byte, a
//! wiped disk, and servers that come and go; and servers that are told by a `zoo.cfg`.
//!
//! Each test runs alone on the machine, however the tests are started: a cluster waits for the one
//! before it.

mod damaged_disks;
mod killed_leaders;
mod locks;
mod members;
mod shutdown;
mod watches;
mod zoo_cfg;
