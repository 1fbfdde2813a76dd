//! Runs every raft script and compares its trace. `UPDATE=1` rewrites the expected traces and
//! `SCENARIO=name` runs the scripts whose path contains the name. Commit rewritten traces only when
//! you understand what changed them and want it.

use std::path::Path;

use quorate_scenarios::commands::Script;
use quorate_scenarios::script;

#[test]
fn every_raft_script_leaves_its_expected_trace() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("raft");
    let mut report = String::new();
    for path in script::scripts_in(&folder) {
        let mut cluster = Script::default();
        for difference in script::run_file(&path, &mut |command| cluster.run(command)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            report.push_str(&format!("{name} {difference}"));
        }
    }
    assert!(report.is_empty(), "traces differ (UPDATE=1 rewrites them):\n{report}");
}
