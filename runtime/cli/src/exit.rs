//! Exit codes by kind of error, for scripts.
//!
//! Comes in: an error. Goes out: 1 anything else, 3 not there, 4 refused as things stand (exists,
//! wrong version, lock held), 5 unavailable (no leader, unreachable), 6 trust or rights, 7 out of
//! time, 8 a recipe's fault. 2 is the command line's own.

use quorate_client::{ClientError, ErrorCode};

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<ClientError>().map_or(1, client_code)
}

fn client_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Refused(refusal) => refusal_code(refusal.code),
        ClientError::Unreachable { .. }
        | ClientError::Disconnected { .. }
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
    use quorate_client::Refusal;

    #[test]
    fn the_kind_of_error_decides_the_exit_code() {
        let code = |code| code_of(&ClientError::Refused(Refusal::new(code, "")).into());
        assert_eq!(code(ErrorCode::NoNode), 3);
        assert_eq!(code(ErrorCode::BadVersion), 4);
        assert_eq!(code(ErrorCode::NoLeader), 5);
        assert_eq!(code(ErrorCode::RecipeOutOfFuel), 8);
        assert_eq!(code_of(&anyhow::anyhow!("else")), 1);
    }
}
