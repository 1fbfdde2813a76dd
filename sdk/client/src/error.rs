//! Everything that can go wrong for a user of the client, in words that say what to do next.
//!
//! Comes in: what TLS, QUIC, the session and the servers report. Goes out: one [`ClientError`].
//! Invariant: whether the request may have been done is always said.

use crate::protocol::CallFailure;
use quorate_types::{ErrorCode, PathError, Refusal};
use thiserror::Error;

/// Why a request, or a connection, came to nothing.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ClientError {
    /// The configuration cannot be used: a PEM file, an endpoint.
    #[error("{0}")]
    Configuration(String),
    /// The server's certificate is not from the cluster's authority, or has expired.
    #[error(
        "the certificate of {endpoint} is not trusted ({reason}). It was checked against the \
         authority in {authority}; pass the `authority.pem` of the cluster that this server belongs to"
    )]
    Untrusted {
        /// The server tried.
        endpoint: String,
        /// Where the trusted authority came from.
        authority: String,
        /// In the words of TLS.
        reason: String,
    },
    /// The server's certificate is from the right authority and for another name.
    #[error(
        "the certificate of {endpoint} does not name `{server_name}`: every server of a cluster \
         carries that name; if the certificates were made otherwise, set the server name ({reason})"
    )]
    WrongServerName {
        /// The server tried.
        endpoint: String,
        /// The name looked for.
        server_name: String,
        /// In the words of TLS.
        reason: String,
    },
    /// The server asks for a client certificate and none was configured.
    #[error(
        "{endpoint} asks for a client certificate: pass one, with its key, issued by the cluster's \
         authority (`quorate cluster client NAME --authority FOLDER` makes them)"
    )]
    CertificateRequired {
        /// The server tried.
        endpoint: String,
    },
    /// The server does not accept the client certificate.
    #[error(
        "{endpoint} does not accept the client certificate in {certificate} ({reason}): it must be \
         issued by the cluster's authority and be in force"
    )]
    CertificateRefused {
        /// The server tried.
        endpoint: String,
        /// Where the certificate came from.
        certificate: String,
        /// In the words of TLS.
        reason: String,
    },
    /// Something answers there and does not speak this protocol.
    #[error(
        "{endpoint} does not speak `quorate/1` ({reason}): is it the native port (7420 by default)?"
    )]
    NotQuorate {
        /// The server tried.
        endpoint: String,
        /// In the words of TLS or QUIC.
        reason: String,
    },
    /// No server could be reached.
    #[error(
        "no server answers at {endpoints} ({reason}): is it running, and is the UDP port open?"
    )]
    Unreachable {
        /// The endpoints tried.
        endpoints: String,
        /// What was seen.
        reason: String,
    },
    /// The connection broke. Within a session the client reconnects by itself.
    #[error("the connection to {endpoint} broke: {reason}")]
    Disconnected {
        /// The server.
        endpoint: String,
        /// What was seen.
        reason: String,
    },
    /// A server refused. Nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// The session has ended: its ephemerals are gone, its locks are free. Connect again.
    #[error("the session has ended: {reason}")]
    SessionLost {
        /// How it was learned.
        reason: String,
    },
    /// The deadline passed.
    #[error("{}", deadline_words(*.sent, .last_refusal.as_ref()))]
    DeadlinePassed {
        /// Whether the request had been sent: then it may have been done, or be done yet.
        sent: bool,
        /// What the last try was told.
        last_refusal: Option<Refusal>,
    },
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
    /// The path given is none.
    #[error("`{path}` is no path: {error}")]
    Path {
        /// What was given.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// The arguments of a call have no CBOR form.
    #[error("the arguments cannot be written as CBOR: {0}")]
    Arguments(String),
    /// The reply is not of the type asked for.
    #[error("the reply to `{operation}` is not what was expected: {reason}")]
    Reply {
        /// What was asked.
        operation: String,
        /// What came.
        reason: String,
    },
}

fn deadline_words(sent: bool, last_refusal: Option<&Refusal>) -> String {
    let known = if sent {
        "the deadline passed before the answer came; the request may have been done"
    } else {
        "the deadline passed before the request could be sent; nothing was done"
    };
    match last_refusal {
        Some(refusal) => format!("{known} (the last try was refused: {refusal})"),
        None => known.to_owned(),
    }
}

impl ClientError {
    /// The code of the refusal, when a server refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// The recipe's own code, when a recipe refused.
    #[must_use]
    pub fn recipe_code(&self) -> Option<&str> {
        match self {
            ClientError::Refused(refusal) => refusal.recipe_code.as_deref(),
            _ => None,
        }
    }

    /// Whether trying again without changing anything about the configuration can help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Disconnected { .. } => true,
            ClientError::Refused(refusal) => refusal.code.is_transient(),
            _ => false,
        }
    }
}

impl From<CallFailure> for ClientError {
    fn from(failure: CallFailure) -> ClientError {
        match failure {
            CallFailure::Refused(refusal) => ClientError::Refused(refusal),
            CallFailure::DeadlinePassed { sent, last_refusal } => {
                ClientError::DeadlinePassed { sent, last_refusal }
            }
            CallFailure::SessionLost(reason) => ClientError::SessionLost { reason },
            CallFailure::Closed => ClientError::Closed,
        }
    }
}
