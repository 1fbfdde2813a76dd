//! Guests written as WebAssembly text: a core module is wrapped into a component by the contract.
//!
//! Comes in: the bodies of exported functions. Goes out: component bytes.
//! The layouts follow the canonical ABI of the component model: a string or list is a pointer and a
//! length; a result that is larger than one value is returned by the address of its memory.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, as its file has it.
pub fn contract() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/wit/recipe.wit");
    std::fs::read_to_string(path).expect("the contract is readable")
}

/// A descriptor as a guest's memory holds it.
#[derive(Clone)]
pub struct Described {
    /// The recipe's name, text or not.
    pub name: Vec<u8>,
    /// Its version.
    pub version: String,
    /// Its state's version, below 256.
    pub state_version: u8,
    /// Name and whether it is a query.
    pub operations: Vec<(String, bool)>,
    /// Describes the arguments of every operation.
    pub schema: String,
    /// About the recipe.
    pub doc: String,
}

impl Default for Described {
    fn default() -> Described {
        Described {
            name: b"hostile".to_vec(),
            version: String::from("1.0.0"),
            state_version: 1,
            operations: ["run", "look", "behave"].map(|name| (name.into(), name == "look")).into(),
            schema: String::new(),
            doc: String::new(),
        }
    }
}

impl Described {
    /// The record and everything it points to, when placed at `base`.
    fn layout(&self, base: u32) -> Vec<u8> {
        const RECORD_BYTES: usize = 64;
        const OPERATION_BYTES: usize = 36;
        let operations_bytes = self.operations.len() * OPERATION_BYTES;
        let mut bytes = vec![0; RECORD_BYTES + operations_bytes];
        let place = |at: usize, text: &[u8], bytes: &mut Vec<u8>| {
            let address = base + bytes.len() as u32;
            bytes[at..at + 4].copy_from_slice(&address.to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text);
        };
        place(0, &self.name, &mut bytes);
        place(8, self.version.as_bytes(), &mut bytes);
        bytes[16] = self.state_version;
        bytes[20..24].copy_from_slice(&(base + RECORD_BYTES as u32).to_le_bytes());
        bytes[24..28].copy_from_slice(&(self.operations.len() as u32).to_le_bytes());
        place(36, self.doc.as_bytes(), &mut bytes);
        for (position, (name, query)) in self.operations.iter().enumerate() {
            let at = RECORD_BYTES + position * OPERATION_BYTES;
            place(at, name.as_bytes(), &mut bytes);
            bytes[at + 8] = u8::from(*query);
            place(at + 12, self.schema.as_bytes(), &mut bytes);
        }
        bytes
    }
}

/// A guest to be built.
pub struct Guest {
    /// What `describe` answers.
    pub described: Described,
    /// Replaces the body of `describe`.
    pub describe: String,
    /// The body of `invoke`; leaves the address of its result. At 512 there is "done, no bytes".
    pub invoke: String,
    /// The body of `on-event`; at 576 there is "handled".
    pub on_event: String,
    /// The body of `migrate`; at 576 there is "handled".
    pub migrate: String,
    /// Imports, before everything else.
    pub imports: String,
    /// Further functions, globals and data.
    pub more: String,
    /// Of 64 KiB each.
    pub memory_pages: u32,
    /// The contract it is built against.
    pub contract: String,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            described: Described::default(),
            describe: String::from("i32.const 1024"),
            invoke: String::from("i32.const 512"),
            on_event: String::from("i32.const 576"),
            migrate: String::from("i32.const 576"),
            imports: String::new(),
            more: String::new(),
            memory_pages: 2,
            contract: contract(),
        }
    }
}

/// Imports of host functions, each under its own name.
pub const HOST: &str = r#"
  (import "quorate:recipe/log@1.0.0" "write" (func $log (param i32 i32 i32)))
  (import "quorate:recipe/tree@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "quorate:recipe/tree@1.0.0" "set"
    (func $set (param i32 i32 i32 i32 i32 i32 i32)))
  (import "quorate:recipe/tree@1.0.0" "create-sequential"
    (func $create_sequential (param i32 i32 i32 i32 i32 i64 i32)))
  (import "quorate:recipe/tree@1.0.0" "create"
    (func $create (param i32 i32 i32 i32 i32 i64 i32)))
  (import "quorate:recipe/tree@1.0.0" "delete" (func $delete (param i32 i32 i32 i32 i32)))
  (import "quorate:recipe/tree@1.0.0" "scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32)))
  (import "quorate:recipe/clock@1.0.0" "seed" (func $seed (param i32)))
  (import "quorate:recipe/tickets@1.0.0" "park" (func $park (param i32 i64) (result i64)))
  (import "quorate:recipe/tickets@1.0.0" "complete"
    (func $complete (param i64 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "quorate:recipe/timers@1.0.0" "set" (func $timer (param i32 i32 i64)))
"#;

impl Guest {
    /// The core module.
    pub fn module(&self) -> Vec<u8> {
        let descriptor: String =
            self.described.layout(1024).iter().map(|byte| format!("\\{byte:02x}")).collect();
        let Guest { describe, invoke, on_event, migrate, imports, more, memory_pages, .. } = self;
        let text = format!(
            r#"(module
              {imports}
              (memory (export "memory") {memory_pages})
              (global $top (mut i32) (i32.const 65536))
              (data (i32.const 1024) "{descriptor}")
              ;; 512: ok(done([])); its list begins at 528. 576: ok. 640: a short text.
              (data (i32.const 640) "qhello")
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                (global.set $top (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
              (func (export "quorate:recipe/guest@1.0.0#describe") (result i32) {describe})
              (func $invoke (export "quorate:recipe/guest@1.0.0#invoke")
                (param $object i32) (param $object_len i32)
                (param $operation i32) (param $operation_len i32)
                (param $arguments i32) (param $arguments_len i32)
                (param $session i64) (param $identity i32) (param $identity_len i32)
                (result i32) {invoke})
              (func (export "quorate:recipe/guest@1.0.0#on-event")
                (param $object i32) (param $object_len i32) (param $event i32)
                (param i64 i64 i32 i32) (result i32) {on_event})
              (func (export "quorate:recipe/guest@1.0.0#migrate") (param i32) (result i32)
                {migrate})
              {more})"#
        );
        wat::parse_str(text).expect("the text is WebAssembly")
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package =
            resolve.push_source("recipe.wit", &self.contract).expect("the contract parses");
        let world = resolve.select_world(&[package], Some("recipe")).expect("the world is there");
        let mut module = self.module();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the metadata fits");
        ComponentEncoder::default()
            .module(&module)
            .expect("the module fits the world")
            .encode()
            .expect("the component is made")
    }
}
