//! Wrong input at the command line: what is wrong is named, and what to do about it.

use anyhow::{Result, ensure};
use quorate_conformance::{Recipes, Refused, Tool, on_cluster};

/// A command, the exit code, the name of the error, and words that must be in what is said.
type Case = (&'static [&'static str], i32, &'static str, &'static [&'static str]);

const CALLS: [Case; 13] = [
    (&["call", "/nowhere/a", "acquire"], 3, "no-mount", &["/nowhere/a", "recipe list"]),
    (&["call", "/locks/a", "steal"], 4, "unknown-operation", &["`steal`", "recipe inspect"]),
    (&["call", "/locks/a/b", "acquire"], 4, "bad-arguments", &["one name below /locks"]),
    (
        &["call", "/locks/a", "acquire", "--wait-ms", "soon"],
        2,
        "bad-arguments",
        &["--wait-ms cannot be `soon`", "a whole number"],
    ),
    (
        &["call", "/locks/a", "acquire", "--wait-ms", "-4"],
        2,
        "bad-arguments",
        &["--wait-ms cannot be `-4`", "from 0 on"],
    ),
    (
        &["call", "/locks/a", "acquire", "--wait", "5"],
        2,
        "bad-arguments",
        &["no field --wait;", "--wait-ms"],
    ),
    (&["call", "/locks/a", "release"], 2, "bad-arguments", &["missing: --fence", "whole number"]),
    (
        &["call", "/locks/a", "acquire", "--args", "{\"wait_ms\": \"soon\"}"],
        4,
        "bad-arguments",
        &["wait_ms:", "text", "expected u64"],
    ),
    (
        &["call", "/locks/a", "release", "--args", "{}"],
        4,
        "bad-arguments",
        &["missing field `fence`"],
    ),
    (
        &["call", "/locks/a", "acquire", "--args", "{wait: 5}"],
        2,
        "bad-arguments",
        &["--args is not JSON", "{wait: 5}", "{\"field\": 1}"],
    ),
    (&["call", "/locks/a", "acquire", "5"], 2, "bad-arguments", &["`5`", "--name value"]),
    (&["call", "locks/a", "acquire"], 2, "bad-arguments", &["`locks/a`", "starts with /"]),
    (&["lock", "/nowhere/a", "--", "true"], 3, "no-mount", &["/nowhere/a", "recipe list"]),
];

const RECIPES: [Case; 8] = [
    (
        &["recipe", "mount", "/x", "barrier"],
        3,
        "no-recipe",
        &["`barrier`", "lock@1.0.0", "install"],
    ),
    (&["recipe", "mount", "/full", "lock"], 4, "not-empty", &["/full has children", "elsewhere"]),
    (&["recipe", "mount", "/locks/a", "lock"], 6, "governed-by-recipe", &["within one another"]),
    (&["recipe", "mount", "x", "lock"], 2, "bad-arguments", &["`x`", "starts with /"]),
    (
        &["recipe", "mount", "/x", "lock", "--config", "yes please"],
        2,
        "bad-arguments",
        &["--config is not JSON", "yes please"],
    ),
    (&["recipe", "unmount", "/full"], 3, "no-mount", &["/full", "recipe list"]),
    (&["recipe", "remove", "lock"], 4, "recipe-in-use", &["/locks", "unmount"]),
    (&["recipe", "inspect", "barrier"], 3, "no-recipe", &["`barrier`", "recipe install"]),
];

const TREE: [Case; 9] = [
    (&["tree", "get", "/absent"], 3, "no-node", &["/absent", "tree ls"]),
    (&["tree", "create", "/absent/x"], 3, "no-node", &["/absent", "create -p"]),
    (&["tree", "create", "/full"], 4, "node-exists", &["/full", "tree set"]),
    (&["tree", "delete", "/full"], 4, "not-empty", &["/full", "delete -r"]),
    (&["tree", "set", "/full", "x", "--version", "9"], 4, "bad-version", &["version", "stat"]),
    (&["tree", "get", "full"], 2, "bad-arguments", &["`full`", "starts with /"]),
    (&["tree", "get", "/a//b"], 2, "bad-arguments", &["//"]),
    (&["tree", "get", "/a/../b"], 2, "bad-arguments", &[".."]),
    (&["tree", "create", "/locks/x"], 6, "governed-by-recipe", &["/locks", "call"]),
];

#[test]
fn wrong_input_is_named_with_what_to_do_about_it() {
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        tool.done(&["tree", "create", "-p", "/full/child"])?;
        for case in CALLS.iter().chain(&RECIPES).chain(&TREE) {
            check(&tool, case)?;
        }
        cluster.assert_equal().await?;
        Ok(())
    });
}

fn check(tool: &Tool, (words, exit_code, code, said): &Case) -> Result<()> {
    let refused = tool.refused(words)?;
    let Refused { error, next, .. } = &refused;
    // A refusal of the recipe's own has the recipe's code.
    let found = if refused.code == "recipe-refused" { &refused.recipe_code } else { &refused.code };
    ensure!(found == code, "{words:?}: {refused:?}");
    ensure!(refused.exit_code == *exit_code, "{words:?}: {refused:?}");
    for word in *said {
        let is_said = error.contains(word) || next.contains(word);
        ensure!(is_said, "{words:?} says nothing of {word:?}: {refused:?}");
    }
    Ok(())
}
