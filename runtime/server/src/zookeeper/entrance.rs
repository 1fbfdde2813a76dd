//! How a connection of a ZooKeeper client comes in: plain, with TLS, or either by its first byte.
//!
//! Comes in: a TCP connection, and what its port takes. Goes out: a stream of ZooKeeper's frames, with
//! who the client's certificate says that it is. Invariant: whoever comes in by TLS has passed its whole
//! handshake; a certificate that is shown and not good ends the connection. Must never wait without
//! being waited for: who calls has a deadline.

use super::config::{ShownCertificates, ZooKeeperTls};
use super::subject::{SubjectError, subject_of};
use crate::tls::{TlsError, TlsMaterial};
use crate::transport::HANDSHAKES_MAX;
use quorate_replica::zookeeper::Proved;
use std::io;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// First byte of a TLS handshake. A frame of ZooKeeper's that began with it would be 352 MiB long, and
/// words are letters.
const TLS_HANDSHAKE: u8 = 22;

/// What a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    Plain,
    Tls,
    Either,
}

/// A connection that has come in.
pub(super) enum Entered {
    Plain(TcpStream),
    /// With the identities that its certificate proves.
    Tls(Box<TlsStream<TcpStream>>, Vec<Proved>),
}

/// Why a connection does not come in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEntered {
    #[error("the connection or its TLS handshake: {0}")]
    Handshake(#[from] io::Error),
    #[error("the client's certificate: {0}")]
    Subject(#[from] SubjectError),
}

/// What TLS needs.
pub(super) struct TlsEntrance {
    acceptor: TlsAcceptor,
    /// A handshake takes about a millisecond of a thread that peers need too: a crowd waits its turn.
    handshakes: Semaphore,
    super_user: Option<String>,
}

impl TlsEntrance {
    pub(super) fn new(config: &ZooKeeperTls) -> Result<TlsEntrance, TlsError> {
        let material = TlsMaterial::load(&config.files)?;
        let acceptor = TlsAcceptor::from(material.zookeeper_door(config.client_certificates)?);
        if config.client_certificates == ShownCertificates::None && config.super_user.is_some() {
            tracing::warn!(
                "nobody is an administrator by certificate: clients are not asked for any"
            );
        }
        let handshakes = Semaphore::new(HANDSHAKES_MAX);
        Ok(TlsEntrance { acceptor, handshakes, super_user: config.super_user.clone() })
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<Entered, NotEntered> {
        let permit = self.handshakes.acquire().await.expect("it is never closed");
        let stream = self.acceptor.accept(stream).await?;
        drop(permit);
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let subject = shown.map(subject_of).transpose()?;
        let proved = subject.map_or_else(Vec::new, |subject| self.proved(subject));
        Ok(Entered::Tls(Box::new(stream), proved))
    }

    /// What a subject proves. One without a name proves nothing.
    fn proved(&self, subject: String) -> Vec<Proved> {
        if subject.is_empty() {
            return Vec::new();
        }
        let is_super = self.super_user.as_ref() == Some(&subject);
        let administrator = is_super.then(Proved::administrator);
        let own = Proved { scheme: String::from("x509"), id: subject.clone(), name: subject };
        administrator.into_iter().chain([own]).collect()
    }
}

/// Lets a connection in as its port does. `tls`: there if any port takes TLS.
pub(super) async fn enter(
    stream: TcpStream,
    entrance: Entrance,
    tls: Option<&TlsEntrance>,
) -> Result<Entered, NotEntered> {
    let shakes_hands = match entrance {
        Entrance::Plain => false,
        Entrance::Tls => true,
        Entrance::Either => begins_with_handshake(&stream).await?,
    };
    match tls {
        Some(tls) if shakes_hands => tls.shake_hands(stream).await,
        _ => Ok(Entered::Plain(stream)),
    }
}

async fn begins_with_handshake(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let there = stream.peek(&mut first).await?;
    Ok(there == 1 && first[0] == TLS_HANDSHAKE)
}
