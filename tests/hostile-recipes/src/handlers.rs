//! Guests that attack when they are told of an event, or migrate.
//!
//! Comes in: nothing. Goes out: tables, one attack a row. Invariant: on the object `b` each behaves.

use crate::guest::{Described, Guest, HOST};
use crate::{Attack, Made, Step};
use quorate_types::ErrorCode::{
    self, RecipeInvalid, RecipeOutOfFuel, RecipeOutOfMemory, RecipeOverLimit, RecipeRefused,
    RecipeTrapped,
};

/// The events of the contract's variant that guests here attack on, as their numbers.
pub const MOUNTED: u32 = 0;
/// See [`MOUNTED`].
pub const OBJECT_CREATED: u32 = 1;
/// See [`MOUNTED`].
pub const SESSION_CLOSED: u32 = 3;
/// See [`MOUNTED`].
pub const TIMER: u32 = 4;

/// Does nothing.
pub const DONE: &str = "i32.const 512";
/// Never ends.
pub const LOOPS: &str = "(loop $l (br $l)) unreachable";
/// Ends at once.
pub const TRAPS: &str = "unreachable";
/// Takes memory for as long as there is any.
pub const GROWS: &str = "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable";
/// Creates znodes for as long as it may.
const FLOODS: &str = "(loop $l (call $create_sequential (i32.const 640) (i32.const 1) (i32.const 0)
    (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 2048)) (br $l)) unreachable";
/// Creates an ephemeral znode of the caller below the object.
pub const STAY: &str = "(i32.store8 (i32.const 701) (i32.const 0x2f)) (i32.store8 (i32.const 702)
    (i32.const 0x65)) (i32.store8 (i32.const 700) (i32.load8_u (local.get $object)))
    (call $create (i32.const 700) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
        (local.get $session) (i32.const 2048)) i32.const 512";
/// Creates the object `q`, with a word in it, and keeps it.
const KEEP: &str = "(call $create (i32.const 640) (i32.const 1) (i32.const 640) (i32.const 6)
    (i32.const 0) (i64.const 0) (i32.const 2048)) i32.const 512";
/// Deletes the object `q`.
const DELETE: &str =
    "(call $delete (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 2048))";

const FUEL: (ErrorCode, &str) = (RecipeOutOfFuel, "all 10000000 units of fuel are used");
const TRAP: (ErrorCode, &str) = (RecipeTrapped, "wasm `unreachable` instruction executed");
const MEMORY: (ErrorCode, &str) =
    (RecipeOutOfMemory, "the recipe asks for more than 16777216 bytes");
const CHANGES: (ErrorCode, &str) = (RecipeOverLimit, "a run makes at most 1000 changes");

/// A guest that does this when it is told of an event, but not on the object `b`; and that when it
/// is called.
#[must_use]
pub fn on_event(event: u32, body: &str, invoke: &str) -> Guest {
    let on_event = format!(
        "(if (i32.and (i32.eq (local.get $event) (i32.const {event}))
                (i32.ne (i32.load8_u (local.get $object)) (i32.const 0x62)))
            (then {body})) i32.const 576"
    );
    Guest { imports: HOST.into(), on_event, invoke: invoke.into(), ..Guest::default() }
}

const fn attack(
    (stopped_at, name): (Step, &'static str),
    make: fn() -> Vec<u8>,
    (code, words): (ErrorCode, &'static str),
) -> Attack {
    Attack { name, made: Made::Component(make), stopped_at, code, words }
}

/// Told that they are mounted, they do harm.
pub const ON_MOUNTED: &[Attack] = &[
    attack((Step::Mount, "a mount without end"), || on_event(MOUNTED, LOOPS, DONE).build(), FUEL),
    attack((Step::Mount, "a mount that traps"), || on_event(MOUNTED, TRAPS, DONE).build(), TRAP),
    attack((Step::Mount, "a mount that grows"), || on_event(MOUNTED, GROWS, DONE).build(), MEMORY),
    attack(
        (Step::Mount, "a mount that floods"),
        || on_event(MOUNTED, FLOODS, DONE).build(),
        CHANGES,
    ),
];

/// Told of a new object, they do harm.
pub const ON_OBJECT_CREATED: &[Attack] = &[
    attack(
        (Step::Call, "an object made without end"),
        || on_event(OBJECT_CREATED, LOOPS, DONE).build(),
        FUEL,
    ),
    attack(
        (Step::Call, "an object that traps when made"),
        || on_event(OBJECT_CREATED, TRAPS, DONE).build(),
        TRAP,
    ),
    attack(
        (Step::Call, "an object that grows when made"),
        || on_event(OBJECT_CREATED, GROWS, DONE).build(),
        MEMORY,
    ),
];

/// Told of a session's end, they do harm.
pub const ON_SESSION_CLOSED: &[Attack] = &[
    attack(
        (Step::SessionEnd, "a session ended without end"),
        || on_event(SESSION_CLOSED, LOOPS, STAY).build(),
        FUEL,
    ),
    attack(
        (Step::SessionEnd, "a session whose end traps"),
        || on_event(SESSION_CLOSED, TRAPS, STAY).build(),
        TRAP,
    ),
    attack(
        (Step::SessionEnd, "a session whose end grows"),
        || on_event(SESSION_CLOSED, GROWS, STAY).build(),
        MEMORY,
    ),
    attack(
        (Step::SessionEnd, "a session whose end floods"),
        || on_event(SESSION_CLOSED, FLOODS, STAY).build(),
        CHANGES,
    ),
];

/// What an attack on an upgrade is mounted over: its command `run` makes the object `q`.
#[must_use]
pub fn keeper() -> Vec<u8> {
    Guest { imports: HOST.into(), invoke: KEEP.into(), ..Guest::default() }.build()
}

/// A newer version whose migration deletes what was kept and then does this.
fn migrating(harm: &str) -> Vec<u8> {
    let described = Described { state_version: 2, ..Described::default() };
    let migrate = format!("{DELETE} {harm}");
    Guest { described, imports: HOST.into(), migrate, ..Guest::default() }.build()
}

/// Told to migrate, they delete everything and do harm; the last one claims to be older.
pub const MIGRATIONS: &[Attack] = &[
    attack((Step::Upgrade, "a migration that traps"), || migrating(TRAPS), TRAP),
    attack((Step::Upgrade, "a migration without end"), || migrating(LOOPS), FUEL),
    attack((Step::Upgrade, "a migration that grows"), || migrating(GROWS), MEMORY),
    attack((Step::Upgrade, "a migration that floods"), || migrating(FLOODS), CHANGES),
    attack(
        (Step::Upgrade, "a migration that refuses"),
        || migrating("(i32.store8 (i32.const 576) (i32.const 1)) i32.const 576"),
        (RecipeRefused, ""),
    ),
    attack(
        (Step::Upgrade, "a version that goes back"),
        || {
            let described = Described { state_version: 0, ..Described::default() };
            Guest { described, imports: HOST.into(), ..Guest::default() }.build()
        },
        (RecipeInvalid, "the state has version 1, the recipe knows 0"),
    ),
];
