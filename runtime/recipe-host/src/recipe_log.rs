//! What recipes log: handed to `tracing`, and the newest lines kept for whoever asks.
//!
//! Comes in: the lines of a run, when it has ended. Goes out: the same, in order.
//! Invariant: memory is bounded; the text is a guest's and is escaped before it is printed.

use quorate_machine::LogLevel;
use quorate_types::ComponentDigest;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Lines kept.
const LINES_MAX: usize = 1_000;
/// Bytes kept over all lines.
const BYTES_MAX: usize = 1 << 20;

/// One line of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeLine {
    /// Which component wrote it.
    pub component: ComponentDigest,
    /// The mount it governed.
    pub mount: String,
    /// How grave.
    pub level: LogLevel,
    /// The text as the guest gave it.
    pub message: String,
}

/// The newest lines of all recipes of this server.
#[derive(Debug, Default)]
pub struct RecipeLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<RecipeLine>,
    bytes: usize,
}

impl RecipeLog {
    /// The lines kept, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<RecipeLine> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines.iter().cloned().collect()
    }

    pub(crate) fn write(&self, line: RecipeLine) {
        trace(&line);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += line.message.len();
        kept.lines.push_back(line);
        while kept.lines.len() > LINES_MAX || kept.bytes > BYTES_MAX {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.message.len();
        }
    }
}

fn trace(line: &RecipeLine) {
    let RecipeLine { mount, message, .. } = line;
    match line.level {
        LogLevel::Debug => tracing::debug!(target: "quorate::recipe", mount, ?message),
        LogLevel::Info => tracing::info!(target: "quorate::recipe", mount, ?message),
        LogLevel::Warn => tracing::warn!(target: "quorate::recipe", mount, ?message),
        LogLevel::Error => tracing::error!(target: "quorate::recipe", mount, ?message),
    }
}
