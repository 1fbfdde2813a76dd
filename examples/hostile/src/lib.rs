//! Recipes that do harm, one for each feature; see README.md.
//!
//! Comes in: the commands `behave` and `harm`. Goes out: from `behave` nothing, from `harm` what the
//! feature says.
//! Must never: be mounted where it matters.

use quorate_recipe::prelude::*;

/// Marker of the recipe.
#[derive(Debug)]
pub struct Hostile;

/// Does harm.
#[recipe(name = "hostile", version = "1.0.0", state = 1)]
impl Hostile {
    /// Does nothing.
    #[command]
    pub fn behave(call: &Call) -> Result<()> {
        call.put("behaved", &call.zxid())
    }

    /// Does harm.
    #[command]
    pub fn harm(call: &Call) -> Result<u64> {
        call.create("harmed", &call.zxid())?;
        harm(call)
    }

    /// Takes a place that goes with the session.
    #[command]
    pub fn stay(call: &Call) -> Result<()> {
        call.create_owned(&format!("guest-{}", call.session()), &(), call.session())
    }

    #[on(session_closed)]
    fn session_closed(_run: &Run, _session: SessionId) -> Result<()> {
        assert!(!cfg!(feature = "leaves"), "leaves with a bang");
        Ok(())
    }
}

fn harm(call: &Call) -> Result<u64> {
    let mut word = call.seed().0;
    if cfg!(feature = "loops") {
        loop {
            word = std::hint::black_box(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    if cfg!(feature = "allocates") {
        let mut taken: Vec<Vec<u8>> = Vec::new();
        loop {
            // Not even touched: to ask is what does harm.
            taken.push(std::hint::black_box(Vec::with_capacity(1 << 20)));
        }
    }
    if cfg!(feature = "recurses") {
        return Ok(recurse(word));
    }
    if cfg!(feature = "floods") {
        for number in 0u64.. {
            call.create(&format!("flood-{number}"), &number)?;
        }
    }
    assert!(!cfg!(feature = "traps"), "trapped on purpose");
    if cfg!(feature = "wanders") {
        call.put(&format!("wandered-{}", word % 1_000), &word)?;
    }
    Ok(word)
}

/// What is done with the result keeps the compiler from making a loop of it.
#[expect(unconditional_recursion, reason = "that is the harm")]
fn recurse(depth: u64) -> u64 {
    recurse(std::hint::black_box(depth) + 1).wrapping_mul(std::hint::black_box(3))
}

#[cfg(all(
    test,
    not(any(feature = "loops", feature = "allocates", feature = "floods", feature = "recurses"))
))]
mod tests {
    use super::*;
    use quorate_recipe::testing::TestMount;

    #[test]
    fn without_a_feature_it_is_harmless() {
        let mut mount = TestMount::<Hostile>::new();
        let session = mount.session();
        mount.call::<()>(session, "object", "behave", &()).done();
        let _: u64 = mount.call(session, "object", "harm", &()).done();
        mount.call::<()>(session, "object", "stay", &()).done();
        mount.close(session);
        assert_eq!(mount.paths(), ["object", "object/behaved", "object/harmed"]);
    }
}
