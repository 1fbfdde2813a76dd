//! One question to one server, without a session.
//!
//! Comes in: a configuration and a server. Goes out: how that server sees the cluster. Leaves no
//! trace in the log, so it works without a leader and changes nothing that it reports.

use crate::config::ClientConfig;
use crate::dial::{Dialer, TransportEvent};
use crate::error::ClientError;
use quorate_types::request::ServerStatus;
use quorate_types::{Outcome, Reply};
use quorate_wire::native::{ClientFrame, FrameBuffer, ServerFrame, encode_client};
use std::sync::Arc;

/// More than any status: some hundred bytes a member.
const STATUS_BYTES_MAX: u32 = 1 << 20;

/// How the first of the configured servers that answers sees the cluster; configure one to ask
/// that one.
///
/// ```no_run
/// # async fn example() -> Result<(), quorate_client::ClientError> {
/// use quorate_client::{ClientConfig, Pem, ask_status};
/// let config = ClientConfig::new(["127.0.0.1:7420"], Pem::read("ca.pem")?);
/// println!("{} leads", ask_status(&config).await?.leader.unwrap_or_default());
/// # Ok(()) }
/// ```
///
/// # Errors
/// What is wrong with the configuration, a certificate or the server; the deadline is
/// [`ClientConfig::connect_timeout`].
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn ask_status(config: &ClientConfig) -> Result<ServerStatus, ClientError> {
    let late = ClientError::DeadlinePassed { sent: true, last_refusal: None };
    tokio::time::timeout(config.connect_timeout, ask(config)).await.unwrap_or(Err(late))
}

async fn ask(config: &ClientConfig) -> Result<ServerStatus, ClientError> {
    let dialer = Arc::new(Dialer::new(config)?);
    let mut transport = Arc::clone(&dialer).dial(config.targets()?).await?;
    transport.queue(&encode_client(&ClientFrame::Status));
    let mut received = FrameBuffer::new();
    loop {
        match transport.next(&dialer).await {
            TransportEvent::Sent => {}
            TransportEvent::Ended(error) => return Err(error),
            TransportEvent::Received(bytes) => {
                received.push(&bytes);
                let frame = received.next_server(STATUS_BYTES_MAX).map_err(|error| {
                    let reason = error.to_string();
                    ClientError::NotQuorate { endpoint: transport.target.clone(), reason }
                })?;
                if let Some(frame) = frame {
                    transport.close("asked").await;
                    return status_of(frame);
                }
            }
        }
    }
}

fn status_of(frame: ServerFrame) -> Result<ServerStatus, ClientError> {
    let outcome: Outcome = match frame {
        ServerFrame::Reply { outcome, .. } => outcome,
        ServerFrame::Refused(refusal) | ServerFrame::Goodbye(refusal) => Err(refusal),
        other => return Err(unexpected(&format!("{other:?}"))),
    };
    match outcome.map_err(ClientError::Refused)? {
        Reply::Status(status) => Ok(status),
        other => Err(unexpected(&format!("{other:?}"))),
    }
}

fn unexpected(answer: &str) -> ClientError {
    let reason = format!("the server answered {answer}");
    ClientError::Reply { operation: "status".to_owned(), reason }
}
