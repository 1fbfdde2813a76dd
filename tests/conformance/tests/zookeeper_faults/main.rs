//! What goes wrong around ZooKeeper clients: servers that die under thousands of sessions, requests
//! made to do harm.

mod hostile_requests;
mod read_only;
mod reconnect_storm;
