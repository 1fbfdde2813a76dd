//! Codes of errors, for scripts: the exit code by kind of error, and the name in `--json`.
//!
//! Comes in: an error. Goes out: 1 anything else, 2 wrong input, 3 not there, 4 refused as things
//! stand (exists, wrong version, lock held), 5 unavailable (no leader, unreachable), 6 trust or
//! rights, 7 out of time, 8 a recipe's fault. Invariant: one kind of error has one pair of codes,
//! whoever found it, this program or a server.

use quorate_client::{ClientError, ErrorCode};
use quorate_recipe_build::BuildError;
use quorate_recipe_host::RecipeError;
use std::fmt;

/// Something wrong that this program finds by itself, without being told by a server.
#[derive(Debug)]
pub(crate) struct Mistake {
    code: ErrorCode,
    text: String,
}

impl Mistake {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Mistake {
        Mistake { code, text: text.into() }
    }

    /// The command line is wrong.
    pub(crate) fn bad_arguments(text: impl Into<String>) -> Mistake {
        Mistake::new(ErrorCode::BadArguments, text)
    }

    /// The value of a flag should be JSON.
    pub(crate) fn not_json(flag: &str, given: &str, error: &serde_json::Error) -> Mistake {
        Mistake::bad_arguments(format!(
            "{flag} is not JSON: {error} of `{given}`; it looks like '{{\"field\": 1}}'"
        ))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Mistake {}

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return client_code(error);
    }
    match name_of(error) {
        Some("bad-arguments") => 2,
        Some("no-recipe") => 3,
        Some("recipe-invalid") => 8,
        _ => 1,
    }
}

/// The name of an error in `--json`, if it has one.
pub(crate) fn name_of(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return client_name(error);
    }
    if let Some(mistake) = error.downcast_ref::<Mistake>() {
        return Some(mistake.code.name());
    }
    let is_invalid = error.downcast_ref::<RecipeError>().is_some()
        || matches!(error.downcast_ref::<BuildError>(), Some(BuildError::Invalid(_)));
    is_invalid.then_some(ErrorCode::RecipeInvalid.name())
}

fn client_name(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Refused(refusal) => Some(refusal.code.name()),
        ClientError::Unreachable { .. } => Some("unreachable"),
        ClientError::Disconnected { .. } => Some("disconnected"),
        ClientError::NotQuorate { .. } => Some("not-quorate"),
        ClientError::Untrusted { .. } | ClientError::WrongServerName { .. } => Some("untrusted"),
        ClientError::CertificateRequired { .. } => Some("certificate-required"),
        ClientError::CertificateRefused { .. } => Some("certificate-refused"),
        ClientError::DeadlinePassed { .. } => Some(ErrorCode::TimedOut.name()),
        ClientError::SessionLost { .. } => Some(ErrorCode::SessionExpired.name()),
        ClientError::Path { .. } | ClientError::Configuration(_) => {
            Some(ErrorCode::BadArguments.name())
        }
        _ => None,
    }
}

fn client_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Refused(refusal) => refusal_code(refusal.code),
        ClientError::Unreachable { .. }
        | ClientError::Disconnected { .. }
        | ClientError::SessionLost { .. }
        | ClientError::NotQuorate { .. } => 5,
        ClientError::Untrusted { .. }
        | ClientError::WrongServerName { .. }
        | ClientError::CertificateRequired { .. }
        | ClientError::CertificateRefused { .. } => 6,
        ClientError::DeadlinePassed { .. } => 7,
        ClientError::Path { .. } | ClientError::Configuration(_) => 2,
        _ => 1,
    }
}

fn refusal_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::NoNode | ErrorCode::NoMount | ErrorCode::NoRecipe | ErrorCode::NoMember => 3,
        ErrorCode::NotAllowed
        | ErrorCode::NotAuthorized
        | ErrorCode::GovernedByRecipe
        | ErrorCode::RecipeNotTrusted
        | ErrorCode::SessionRefused => 6,
        ErrorCode::TimedOut => 7,
        ErrorCode::RecipeTrapped
        | ErrorCode::RecipeOutOfFuel
        | ErrorCode::RecipeOutOfMemory
        | ErrorCode::RecipeOverLimit
        | ErrorCode::RecipeInvalid
        | ErrorCode::MountSuspended => 8,
        other if other.is_transient() => 5,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use quorate_client::Refusal;

    #[test]
    fn the_kind_of_error_decides_the_exit_code() {
        let code = |code| code_of(&ClientError::Refused(Refusal::new(code, "")).into());
        assert_eq!(code(ErrorCode::NoNode), 3);
        assert_eq!(code(ErrorCode::BadVersion), 4);
        assert_eq!(code(ErrorCode::NoLeader), 5);
        assert_eq!(code(ErrorCode::RecipeNotTrusted), 6);
        assert_eq!(code(ErrorCode::RecipeOutOfFuel), 8);
        assert_eq!(code_of(&anyhow::anyhow!("else")), 1);
    }

    #[test]
    fn what_this_program_finds_has_the_codes_that_a_server_would_give() {
        let codes = |error: anyhow::Error| (code_of(&error), name_of(&error));
        assert_eq!(codes(Mistake::bad_arguments("").into()), (2, Some("bad-arguments")));
        let found = Mistake::new(ErrorCode::NoRecipe, "");
        assert_eq!(codes(found.into()), (3, Some("no-recipe")));
        let invalid: Result<(), _> = Err(RecipeError::NotWasm);
        let invalid = invalid.context("x cannot be installed").unwrap_err();
        assert_eq!(codes(invalid), (8, Some("recipe-invalid")));
        assert_eq!(codes(anyhow::anyhow!("else")), (1, None));
    }
}
