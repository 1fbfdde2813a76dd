//! The watches of a session, and how far what they report was told.
//!
//! Comes in: answered requests that leave or take watches, events, the zxids of frames, breaks of
//! the connection. Goes out: requests that resume the watches at another server; events, each once
//! and in order. Invariant: `told` is a point up to which every event of every held watch was
//! handed out, and after which none was: a server sends a transaction's events before any frame
//! with its zxid, and a break loses only what comes last. While watches are being resumed, events
//! are held back until every part is answered, so that `told` need not move until all is known.

use quorate_types::request::{HeldWatch, WatchEvent, WatchEventKind, WatchMode, WatchPosition};
use quorate_types::{Operation, Reply, ZnodePath, Zxid};
use std::collections::BTreeMap;

/// Watches in one request; their paths also count against the size of a frame.
const PART_WATCHES_MAX: usize = 4_096;
/// Bytes of paths after which a request is full. The servers' limit holds this and the longest path.
const PART_PATH_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// With whether their events carry data.
    held: BTreeMap<(ZnodePath, WatchMode), bool>,
    told: WatchPosition,
    resuming: Option<Resuming>,
}

/// Watches on their way to a new server.
#[derive(Debug, Default)]
struct Resuming {
    /// Requests that are not answered yet.
    parts: usize,
    /// What `told` becomes when they are.
    reached: WatchPosition,
    events: BTreeMap<WatchPosition, WatchEvent>,
    gaps: Vec<(ZnodePath, WatchMode)>,
}

/// What the application is told once every watch is set again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Resumed {
    /// Watches that may have missed something.
    pub(crate) gaps: Vec<(ZnodePath, WatchMode)>,
    /// What they report, in order.
    pub(crate) events: Vec<WatchEvent>,
}

impl Watches {
    /// The request was done.
    pub(crate) fn on_done(&mut self, operation: &Operation, reply: &Reply) {
        match operation {
            Operation::Get { path, watch: true } | Operation::Exists { path, watch: true } => {
                self.hold(path, WatchMode::OneShotData, false);
            }
            Operation::Children { path, watch: true, .. } => {
                self.hold(path, WatchMode::OneShotChildren, false);
            }
            Operation::AddWatch { path, mode, values, .. } => {
                let one_shot = matches!(mode, WatchMode::OneShotData | WatchMode::OneShotChildren);
                let fired =
                    matches!(reply, Reply::Watching { replayed, .. } if !replayed.is_empty());
                if !(one_shot && fired) {
                    self.hold(path, *mode, *values);
                }
            }
            Operation::RemoveWatches { path, mode } => {
                let goes = |held: &WatchMode| mode.is_none_or(|mode| mode == *held);
                self.held.retain(|(held, mode), _| held != path || !goes(mode));
            }
            _ => {}
        }
    }

    fn hold(&mut self, path: &ZnodePath, mode: WatchMode, values: bool) {
        *self.held.entry((path.clone(), mode)).or_default() |= values;
    }

    /// A frame came that leaves its server only after every event up to this transaction.
    pub(crate) fn on_zxid(&mut self, zxid: Zxid) {
        self.reach(zxid.into());
    }

    fn reach(&mut self, position: WatchPosition) {
        let reached = self.resuming.as_mut().map_or(&mut self.told, |begun| &mut begun.reached);
        *reached = position.max(*reached);
    }

    /// A watch has fired. Gives the event back unless it must wait.
    pub(crate) fn on_event(&mut self, event: WatchEvent) -> Option<WatchEvent> {
        self.reach(event.position());
        match &mut self.resuming {
            Some(resuming) => {
                resuming.keep(event);
                None
            }
            None => {
                self.forget_fired(&event);
                Some(event)
            }
        }
    }

    fn forget_fired(&mut self, event: &WatchEvent) {
        let fired: &[WatchMode] = match event.kind {
            WatchEventKind::Created | WatchEventKind::DataChanged => &[WatchMode::OneShotData],
            WatchEventKind::ChildrenChanged => &[WatchMode::OneShotChildren],
            WatchEventKind::Deleted => &[WatchMode::OneShotData, WatchMode::OneShotChildren],
        };
        for mode in fired {
            self.held.remove(&(event.path.clone(), *mode));
        }
    }

    /// The connection is gone: what it was about to resume will be resumed by the next one.
    pub(crate) fn on_disconnected(&mut self) {
        self.resuming = None;
    }

    /// A new connection serves the session: the requests to begin with, none if nothing is held.
    pub(crate) fn resume(&mut self) -> Vec<Operation> {
        let mut parts: Vec<Vec<HeldWatch>> = Vec::new();
        let mut path_bytes = 0;
        for ((path, mode), values) in &self.held {
            let full = parts.last().is_none_or(|part| part.len() >= PART_WATCHES_MAX);
            if full || path_bytes >= PART_PATH_BYTES {
                parts.push(Vec::new());
                path_bytes = 0;
            }
            path_bytes += path.as_str().len();
            let watch = HeldWatch { path: path.clone(), mode: *mode, values: *values };
            parts.last_mut().expect("a part was begun").push(watch);
        }
        if !parts.is_empty() {
            self.resuming = Some(Resuming { parts: parts.len(), ..Resuming::default() });
        }
        let since = self.told;
        parts.into_iter().map(|watches| Operation::ResumeWatches { watches, since }).collect()
    }

    /// Whether nothing else may be asked for yet, so that no reply shows what events in the replay
    /// tell of.
    pub(crate) fn is_resuming(&self) -> bool {
        self.resuming.is_some()
    }

    /// A part is set again. Gives what was held back once all are.
    pub(crate) fn on_resumed(
        &mut self,
        watches: &[HeldWatch],
        replayed: Vec<WatchEvent>,
        gap: bool,
    ) -> Option<Resumed> {
        let resuming = self.resuming.as_mut()?;
        resuming.parts -= 1;
        if gap {
            let missed = watches.iter().map(|watch| (watch.path.clone(), watch.mode));
            resuming.gaps.extend(missed);
        }
        for event in replayed {
            resuming.keep(event);
        }
        if resuming.parts > 0 {
            return None;
        }
        let Resuming { reached, events, gaps, .. } = self.resuming.take()?;
        self.told = reached.max(self.told);
        for event in events.values() {
            self.forget_fired(event);
        }
        Some(Resumed { gaps, events: events.into_values().collect() })
    }
}

impl Resuming {
    /// Two parts may report the same event, with or without its data.
    fn keep(&mut self, event: WatchEvent) {
        let known = self.events.entry(event.position()).or_insert_with(|| event.clone());
        if known.data.is_none() {
            known.data = event.data;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(zxid: u64, data: Option<&'static str>) -> WatchEvent {
        let (kind, path) = (WatchEventKind::DataChanged, ZnodePath::root());
        WatchEvent { kind, path, zxid: Zxid(zxid), place: 0, data: data.map(Into::into) }
    }

    #[test]
    fn very_many_watches_are_resumed_in_parts_and_told_together() {
        let mut watches = Watches::default();
        for number in 0..=PART_WATCHES_MAX {
            let path = ZnodePath::parse(&format!("/{number}")).unwrap();
            watches.on_done(&Operation::Get { path, watch: true }, &Reply::Done);
        }
        watches.on_zxid(Zxid(4));
        let parts: Vec<Vec<HeldWatch>> = watches
            .resume()
            .into_iter()
            .map(|operation| match operation {
                Operation::ResumeWatches { watches, since } if since == Zxid(4).into() => watches,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [PART_WATCHES_MAX, 1]);
        assert_eq!(
            watches.on_resumed(&parts[0], vec![event(5, None), event(7, None)], false),
            None
        );
        assert_eq!(watches.on_event(event(8, None)), None);
        let both = watches.on_resumed(&parts[1], vec![event(6, None), event(7, Some("x"))], true);
        let gaps = vec![(parts[1][0].path.clone(), WatchMode::OneShotData)];
        let events = vec![event(5, None), event(6, None), event(7, Some("x")), event(8, None)];
        assert_eq!(both, Some(Resumed { gaps, events }));
        assert!(!watches.is_resuming());
    }

    #[test]
    fn long_paths_fill_a_request_sooner() {
        let mut watches = Watches::default();
        for number in 0..1_000 {
            let path = ZnodePath::parse(&format!("/{number:04000}")).unwrap();
            watches.on_done(&Operation::Exists { path, watch: true }, &Reply::Exists(None));
        }
        assert_eq!(watches.resume().len(), 4);
    }
}
