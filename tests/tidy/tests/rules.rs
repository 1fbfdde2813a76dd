//! The rules of CONTRIBUTING.md that a test can hold.

use quorate_tidy::{dependency_edges, files, production_lines, repository, rust_sources};

/// Longest production part of a source file.
const FILE_LINES_MAX: usize = 800;
/// Longest inline test module; beyond, tests move to a file of their own.
const INLINE_TEST_LINES_MAX: usize = 200;

/// Which of our crates each of our crates may use. Direction is the architecture: a new edge is a
/// decision, so it is written here. `quorate-planted-bugs` is optional everywhere and compiled only
/// under the feature of its name, which nothing that people run turns on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("quorate-types", &[]),
    ("quorate-wire", &["quorate-types"]),
    ("quorate-raft", &["quorate-planted-bugs"]),
    ("quorate-storage", &["quorate-types", "quorate-raft", "quorate-planted-bugs"]),
    ("quorate-machine", &["quorate-types", "quorate-planted-bugs"]),
    (
        "quorate-replica",
        &[
            "quorate-types",
            "quorate-wire",
            "quorate-raft",
            "quorate-storage",
            "quorate-machine",
            "quorate-planted-bugs",
        ],
    ),
    ("quorate-recipe-host", &["quorate-types", "quorate-machine"]),
    (
        "quorate-recipe-test",
        &["quorate-types", "quorate-machine", "quorate-recipe-host", "quorate-recipe-scenario"],
    ),
    (
        "quorate-server",
        &[
            "quorate-types",
            "quorate-wire",
            "quorate-storage",
            "quorate-machine",
            "quorate-replica",
            "quorate-recipe-host",
        ],
    ),
    (
        "quorate-import",
        &[
            "quorate-types",
            "quorate-wire",
            "quorate-storage",
            "quorate-machine",
            "quorate-replica",
            "quorate-server",
        ],
    ),
    (
        "quorate",
        &[
            "quorate-types",
            "quorate-wire",
            "quorate-client",
            "quorate-server",
            "quorate-import",
            "quorate-recipe-host",
            "quorate-recipe-build",
            "quorate-recipe-scenario",
            "quorate-recipe-test",
        ],
    ),
    ("quorate-recipe", &["quorate-recipe-macros", "quorate-recipe-scenario"]),
    ("quorate-recipe-macros", &[]),
    ("quorate-recipe-build", &[]),
    ("quorate-recipe-scenario", &[]),
    ("quorate-client", &["quorate-types", "quorate-wire", "quorate-planted-bugs"]),
    ("quorate-lock", &["quorate-recipe"]),
    ("quorate-value", &["quorate-recipe"]),
    ("quorate-counter", &["quorate-recipe"]),
    ("quorate-latch", &["quorate-recipe"]),
    ("quorate-rate-limiter", &["quorate-recipe"]),
    ("quorate-double-barrier", &["quorate-recipe"]),
    ("quorate-semaphore", &["quorate-recipe"]),
    ("quorate-barrier", &["quorate-recipe"]),
    ("quorate-read-write-lock", &["quorate-recipe"]),
    ("quorate-election", &["quorate-recipe"]),
    ("quorate-queue", &["quorate-recipe"]),
    ("quorate-configuration", &["quorate-recipe"]),
    ("quorate-group", &["quorate-recipe"]),
    ("quorate-assignment", &["quorate-recipe"]),
    ("quorate-registry", &["quorate-recipe"]),
    (
        "quorate-scenarios",
        &[
            "quorate-types",
            "quorate-raft",
            "quorate-wire",
            "quorate-storage",
            "quorate-machine",
            "quorate-replica",
            "quorate-planted-bugs",
            "quorate-recipe-scenario",
        ],
    ),
    (
        "quorate-simulator",
        &[
            "quorate-types",
            "quorate-wire",
            "quorate-raft",
            "quorate-storage",
            "quorate-machine",
            "quorate-replica",
            "quorate-recipe-host",
            "quorate-client",
            "quorate-faulty-disk",
            "quorate-planted-bugs",
            "quorate-scenarios",
        ],
    ),
    ("quorate-hostile-recipes", &["quorate-types"]),
    ("quorate-conformance", &["quorate-types", "quorate-client", "quorate-wire"]),
    (
        "quorate-bench",
        &[
            "quorate-types",
            "quorate-raft",
            "quorate-machine",
            "quorate-client",
            "quorate-wire",
            "quorate-conformance",
        ],
    ),
    ("quorate-fuzz", &["quorate-types", "quorate-wire", "quorate-faulty-disk"]),
    ("quorate-faulty-disk", &["quorate-storage"]),
    ("quorate-planted-bugs", &[]),
    ("quorate-tidy", &[]),
    ("xtask", &["quorate-recipe-build"]),
];

/// Crates that can name no clock, thread, file, socket or entropy.
const PURE: &[&str] = &["types", "wire", "raft", "storage", "machine", "replica"];

#[test]
fn crates_use_only_what_the_table_allows() {
    for (name, uses) in dependency_edges().unwrap() {
        let row = MAY_USE.iter().find(|(known, _)| *known == name);
        let (_, allowed) = row.unwrap_or_else(|| panic!("give the crate {name} a row"));
        for used in uses {
            assert!(allowed.contains(&used.as_str()), "{name} may not use {used}");
        }
    }
}

#[test]
fn pure_rooms_are_no_std_and_without_unsafe() {
    for room in PURE {
        let path = repository().join("runtime").join(room).join("src/lib.rs");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("#![no_std]"), "{} lacks #![no_std]", path.display());
        assert!(text.contains("#![forbid(unsafe_code)]"), "{} allows unsafe", path.display());
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for (path, text) in rust_sources().unwrap() {
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
    }
}

#[test]
fn files_stay_short() {
    for (path, text) in rust_sources().unwrap() {
        let production = production_lines(&text);
        let tests = text.lines().count() - production;
        let whole_file_is_tests = path.components().any(|part| part.as_os_str() == "tests")
            || path.file_stem().is_some_and(|stem| stem == "tests");
        assert!(
            whole_file_is_tests || production <= FILE_LINES_MAX,
            "{} has {production} production lines; at most {FILE_LINES_MAX}",
            path.display()
        );
        assert!(
            whole_file_is_tests || tests <= INLINE_TEST_LINES_MAX,
            "{} has {tests} lines of inline tests; move them to a file of their own",
            path.display()
        );
    }
}

#[test]
fn no_leftover_marks() {
    // Written in two halves so that this file does not hold them.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["HA", "CK"], ["dbg", "!("]];
    for (path, text) in rust_sources().unwrap() {
        for mark in marks.map(|halves| halves.concat()) {
            assert!(!text.contains(&mark), "{} holds {mark}", path.display());
        }
    }
}

#[test]
fn nothing_built_and_nothing_local_is_committed() {
    let home = ["/ro", "ot/"].concat();
    for path in files().unwrap() {
        let name = path.display().to_string();
        assert!(!name.ends_with(".wasm") && !name.ends_with(".cwasm"), "{name} is a built file");
        if let Ok(text) = std::fs::read_to_string(repository().join(&path)) {
            assert!(!text.contains(&home), "{name} names a folder of one machine");
        }
    }
}

#[test]
fn paths_named_in_the_documents_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let names_a_place = ["runtime/", "sdk/", "plugins/", "tests/", "examples/", "xtask/"]
                .iter()
                .any(|top| quoted.starts_with(top));
            let literal = !quoted.contains(['<', '*', ' ', '{', '→']);
            if names_a_place && literal {
                assert!(repository().join(quoted).exists(), "{document} names {quoted}");
            }
        }
    }
}
