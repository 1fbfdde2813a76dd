//! What to do about an error, where the words of the error do not say it.
//!
//! Comes in: an error. Goes out: one sentence. Must never repeat what the error says.

use crate::exit;

/// What a person would try next.
pub(crate) fn next_step(error: &anyhow::Error) -> Option<&'static str> {
    Some(match exit::name_of(error)? {
        "no-node" => "`quorate tree ls PARENT` shows what is there; `tree create -p` makes parents",
        "node-exists" => "`quorate tree set` replaces its data, `quorate tree stat` shows it",
        "bad-version" => "read it again and pass the version that `quorate tree stat` shows",
        "not-empty" => "`quorate tree ls` shows what is below; `tree delete -r` deletes all of it",
        "no-mount" => "`quorate recipe list` shows the mounts, `quorate recipe mount` makes one",
        "no-recipe" => "`quorate recipe install FILE` brings a component to the cluster",
        "recipe-in-use" => "`quorate recipe list` shows the mounts, `recipe unmount` ends one",
        "recipe-not-trusted" => {
            "`quorate recipe sign FILE --signing-key KEY` signs it, for a KEY among the servers' \
             `recipes.signers`; or they list its digest in `recipes.allowed`"
        }
        "unknown-operation" => "`quorate recipe inspect NAME` lists the operations of a recipe",
        "recipe-out-of-fuel" => {
            "nothing was changed; look for a loop without end, or mount it with more --fuel"
        }
        "recipe-trapped" => {
            "nothing was changed; what the recipe logged is in the log of the leading server"
        }
        "recipe-out-of-memory" | "recipe-over-limit" => {
            "nothing was changed; split the work into several calls"
        }
        "mount-suspended" => {
            "`quorate recipe upgrade` brings a repaired version, `recipe resume` lets calls through"
        }
        "no-member" => "`quorate member list` shows the members; `member add` adds one",
        "no-leader" => "`quorate status --all` shows which servers are up; most of them must be",
        "overloaded" => "try again in a moment",
        "timed-out" => {
            "`quorate status --all` shows how the servers are; --timeout-ms waits longer"
        }
        _ => return None,
    })
}
