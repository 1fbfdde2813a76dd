//! The kinds of trouble there are, and how strong each is drawn.
//!
//! The rows follow the list of faults that every coordination server has met (power, disks, networks,
//! clocks, people). A run draws some of them; a failing run is shrunk by taking kinds away.

use quorate_faulty_disk::Choices;
use std::fmt;

macro_rules! faults {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal; )*) => {
        /// One kind of trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $( $(#[$doc])* $variant, )* }

        impl Fault {
            pub const ALL: &'static [Fault] = &[$( Fault::$variant, )*];

            /// The name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( Fault::$variant => $name, )* } }

            #[must_use]
            pub fn from_name(name: &str) -> Option<Fault> {
                match name { $( $name => Some(Fault::$variant), )* _ => None }
            }
        }
    };
}

faults! {
    /// A server's process ends; its disk keeps what was synced and, of the rest, whatever is drawn.
    Crash = "crash";
    /// Every server at once.
    CrashAll = "crash-all";
    /// A server is told to stop, and does in order.
    Restart = "restart";
    /// A process stands still, for less or more than the election and session timeouts.
    Pause = "pause";
    /// Some servers cannot reach some others: isolated, halves, bridge, ring, one way.
    Partition = "partition";
    /// Links fail one by one and come back one by one in another order.
    Swizzle = "swizzle";
    /// A link goes down and up many times.
    Flap = "flap";
    /// A connection between servers breaks and is made again.
    Break = "break";
    /// Consensus messages vanish.
    Loss = "loss";
    /// Consensus messages come twice.
    Duplicate = "duplicate";
    /// Consensus messages overtake each other.
    Reorder = "reorder";
    /// Links are slow, now and then very.
    Delay = "delay";
    /// Clients cannot reach some servers, which reach each other.
    ClientPartition = "client-partition";
    /// A client's connection breaks; its server hears of it later or never.
    ClientBreak = "client-break";
    /// A client says and hears nothing for a while.
    ClientPause = "client-pause";
    /// A client's process dies.
    ClientDeath = "client-death";
    /// A disk takes its time.
    SlowDisk = "slow-disk";
    /// A write or sync fails: the process ends, and the disk holds what it holds.
    DiskError = "disk-error";
    /// A disk has no room for a while.
    FullDisk = "full-disk";
    /// A stopped server's files rot: bits, sectors, lengths, whole files.
    Rot = "rot";
    /// A disk puts sectors in the wrong place, or says that it wrote what it did not.
    LyingDisk = "lying-disk";
    /// Clocks run up to a tenth too fast or too slow.
    ClockRate = "clock-rate";
    /// Wall clocks jump, both ways.
    ClockJump = "clock-jump";
    /// Leadership is handed over by request.
    Transfer = "transfer";
    /// Members are added, promoted and removed.
    Membership = "membership";
    /// A disk is lost for good, and its server replaced by another member.
    Replacement = "replacement";
    /// Recipes trap and run out of fuel.
    RecipeFault = "recipe-fault";
    /// The lock is upgraded and rolled back under its callers.
    Upgrade = "upgrade";
    /// Clients ask for ten times as much for a while.
    Overload = "overload";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How strong a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strength {
    /// Mean time between two occurrences, in milliseconds, for what happens now and then.
    pub every_ms: u64,
    /// Chance in a thousand, for what may happen to each message.
    pub per_mille: u64,
}

impl Strength {
    pub fn draw(choices: &mut Choices, busy_ms: u64) -> Strength {
        // From many times a run to about once.
        let share = [100, 30, 10, 3][choices.below(4) as usize];
        Strength {
            every_ms: (busy_ms / share).clamp(120, 120_000),
            per_mille: [2, 20, 100, 300][choices.below(4) as usize],
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms/{}‰", self.every_ms, self.per_mille)
    }
}
