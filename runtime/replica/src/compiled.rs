//! Who has compiled what: a recipe takes over only where every voter in touch can run it.
//!
//! Comes in: what this server's executor came to, and what peers say of theirs. Goes out: a frame to
//! every peer, and an objection to a mount. Invariant: nothing here is state that is agreed on; it
//! is told anew on every connection. A voter that is away objects to nothing: otherwise no recipe
//! could be mended while a server is down. It compiles the component when it is back, and until then
//! refuses its calls as `recipe-loading` should it lead.

use crate::Replica;
use crate::server_of;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::{ComponentStatus, RecipeExecutor, Request};
use quorate_types::{ComponentDigest, ErrorCode, Operation, Refusal, ServerId};
use quorate_wire::peer::PeerFrame;

/// Bytes told of why a component cannot be a recipe.
const REASON_BYTES_MAX: usize = 300;

/// What came of each component at a server; `None`: it is ready there.
pub(crate) type Compiled = BTreeMap<ComponentDigest, Option<String>>;

impl<E: RecipeExecutor> Replica<E> {
    fn compiled_here(&self) -> Compiled {
        let tried = |digest: ComponentDigest| match self.executor.status(&digest) {
            ComponentStatus::Loading => None,
            ComponentStatus::Ready(_) => Some((digest, None)),
            ComponentStatus::Invalid(reason) => Some((digest, Some(shortened(reason)))),
        };
        self.machine.components().into_iter().filter_map(tried).collect()
    }

    pub(crate) fn tell_compiled(&mut self, peer: ServerId) {
        let components = self.compiled_here();
        self.send_peer(peer, PeerFrame::Compiled { components });
    }

    /// This server's executor knows more than it did.
    pub(crate) fn on_component_compiled(&mut self) {
        let peers: Vec<ServerId> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.tell_compiled(peer));
    }

    pub(crate) fn on_compiled_told(&mut self, peer: ServerId, components: Compiled) {
        self.compiled_by.insert(peer, components);
    }

    /// Leader: why the component that a request would mount must not take over now.
    pub(crate) fn objection_to(&self, request: &Request) -> Option<Refusal> {
        let Request::Client { operation: Operation::Mount { digest, .. }, .. } = request else {
            return None;
        };
        let voters = self.raft.membership().voters.iter().map(|id| server_of(*id));
        let in_touch = voters.filter(|server| self.peers.contains_key(server));
        let mut waits_for = None;
        for server in in_touch {
            match self.compiled_by.get(&server).and_then(|known| known.get(digest)) {
                Some(None) => {}
                Some(Some(reason)) => {
                    let text = format!(
                        "server {server} cannot run it: {reason}. Nothing was changed; the servers \
                         must be of versions that know what the component needs"
                    );
                    return Some(Refusal::new(ErrorCode::RecipeInvalid, text));
                }
                None => waits_for = Some(server),
            }
        }
        waits_for.map(|server| {
            let text = format!("server {server} is still compiling it: try again");
            Refusal::new(ErrorCode::RecipeLoading, text)
        })
    }
}

fn shortened(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}
