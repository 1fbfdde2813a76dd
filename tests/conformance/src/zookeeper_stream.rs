//! How a ZooKeeper client reaches a server: TCP, or TLS over it.
//!
//! Comes in: an address, certificate files. Goes out: a blocking stream. Invariant: the server's
//! certificate is checked against the authority and the address dialled. Must never wait without a
//! deadline.

use crate::PATIENCE;
use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

/// What a client with TLS trusts and shows; PEM files.
#[derive(Clone, Debug)]
pub struct ZooKeeperTls {
    /// Who signs for servers.
    pub authority: PathBuf,
    /// Certificate and key of the client; `None`: it shows nothing.
    pub shown: Option<(PathBuf, PathBuf)>,
    /// Whether it speaks TLS 1.2 only, as older Java does.
    pub is_old: bool,
}

impl ZooKeeperTls {
    fn config(&self) -> Result<ClientConfig> {
        let mut authorities = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.authority)? {
            authorities.add(certificate?)?;
        }
        let versions: &[&SupportedProtocolVersion] =
            if self.is_old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_root_certificates(authorities);
        let Some((certificate, key)) = &self.shown else { return Ok(config.with_no_client_auth()) };
        let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
        Ok(config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?)
    }
}

/// A connection to a server.
#[derive(Debug)]
pub enum ZooKeeperStream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl ZooKeeperStream {
    /// Dials without TLS.
    ///
    /// # Errors
    /// The network.
    pub fn plain(address: SocketAddr) -> Result<ZooKeeperStream> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(ZooKeeperStream::Plain(stream))
    }

    /// Dials with TLS and finishes the handshake. In TLS 1.3 a client learns only by its first read that
    /// the server did not take its certificate.
    ///
    /// # Errors
    /// The network, the files, or either side refuses the other's certificate.
    pub fn tls(address: SocketAddr, tls: &ZooKeeperTls) -> Result<ZooKeeperStream> {
        let ZooKeeperStream::Plain(mut stream) = ZooKeeperStream::plain(address)? else {
            unreachable!("it was dialled without TLS")
        };
        let name = ServerName::IpAddress(address.ip().into());
        let mut connection = ClientConnection::new(Arc::new(tls.config()?), name)?;
        connection.complete_io(&mut stream).context("the TLS handshake")?;
        Ok(ZooKeeperStream::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// The connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            ZooKeeperStream::Plain(stream) => stream,
            ZooKeeperStream::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for ZooKeeperStream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            ZooKeeperStream::Plain(stream) => stream.read(into),
            ZooKeeperStream::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for ZooKeeperStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            ZooKeeperStream::Plain(stream) => stream.write(bytes),
            ZooKeeperStream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            ZooKeeperStream::Plain(stream) => stream.flush(),
            ZooKeeperStream::Tls(stream) => stream.flush(),
        }
    }
}
