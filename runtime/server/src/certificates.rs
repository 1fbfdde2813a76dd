//! The cluster's certificate authority: makes it, keeps it in a folder, issues certificates.
//!
//! Comes in: a cluster name, server ids with their hosts, client names. Goes out: PEM text and
//! files. Invariant: every certificate names exactly one server or client of one cluster, in a
//! URI, and an authority signs for its own cluster only. Keys are written readable for their owner
//! only and must never be logged.

use crate::configuration::is_plain_name;
use quorate_types::ServerId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name that every server's certificate holds, so that clients and peers can ask for it
/// whatever the address they dial. Which server it is says the URI.
pub const SERVER_NAME: &str = "server.quorate.internal";

/// File of the authority's certificate in its folder.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// File of the authority's key in its folder. Needed to issue certificates only, not by servers.
pub const AUTHORITY_KEY_FILE: &str = "authority-key.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks differ: a certificate is valid a little before it is made.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
const AUTHORITY_DAYS: u32 = 3_650;
const LEAF_DAYS: u32 = 825;

/// Why a certificate cannot be made or an authority cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The name cannot be part of a certificate.
    #[error(
        "`{0}` is no name: 1 to 63 lower-case letters, digits and dashes, not beginning with a dash"
    )]
    Name(String),
    /// The host cannot be part of a certificate.
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds no authority of quorate.
    #[error("{} is not the certificate of a quorate authority: {reason}", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Making(#[from] rcgen::Error),
}

/// The authority of one cluster.
pub struct ClusterAuthority {
    cluster: String,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct IssuedCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM; a secret.
    pub key_pem: String,
}

impl ClusterAuthority {
    /// A new authority, in memory only.
    ///
    /// # Errors
    /// The name cannot be a cluster's.
    pub fn create(cluster: &str) -> Result<ClusterAuthority, CertificateError> {
        let mut params = named(cluster, &format!("quorate authority {cluster}"), AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("quorate://{cluster}/authority"))?];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate_pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(ClusterAuthority { cluster: cluster.to_owned(), certificate_pem, issuer })
    }

    /// Writes both files into `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// A file is there already or cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), CertificateError> {
        let at = |source| CertificateError::File { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(at)?;
        write_secret(&folder.join(AUTHORITY_KEY_FILE), &self.issuer.key().serialize_pem())?;
        write_public(&folder.join(AUTHORITY_FILE), &self.certificate_pem)
    }

    /// Reads what [`ClusterAuthority::save`] wrote.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be.
    pub fn load(folder: &Path) -> Result<ClusterAuthority, CertificateError> {
        let path = folder.join(AUTHORITY_FILE);
        let certificate_pem = read(&path)?;
        let key_pem = read(&folder.join(AUTHORITY_KEY_FILE))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(&key_pem)?)?;
        let no_authority = |reason| CertificateError::NoAuthority { path: path.clone(), reason };
        let cluster = authority_cluster(&certificate_pem).map_err(no_authority)?;
        Ok(ClusterAuthority { cluster, certificate_pem, issuer })
    }

    /// The cluster that this authority signs for.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The authority's certificate, PEM: what servers and clients trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for a server reached under these host names and IP addresses.
    ///
    /// # Errors
    /// A host is none.
    pub fn issue_server(
        &self,
        server: ServerId,
        hosts: &[String],
    ) -> Result<IssuedCertificate, CertificateError> {
        let mut params = named(&self.cluster, &format!("quorate server {server}"), LEAF_DAYS)?;
        params.subject_alt_names =
            vec![uri(&format!("quorate://{}/server/{server}", self.cluster))?, dns(SERVER_NAME)?];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => dns(host)?,
            });
        }
        // A server is a client of its peers.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// A certificate for a client.
    ///
    /// # Errors
    /// The name cannot be a client's.
    pub fn issue_client(&self, name: &str) -> Result<IssuedCertificate, CertificateError> {
        let mut params = named(name, &format!("quorate client {name}"), LEAF_DAYS)?;
        params.subject_alt_names = vec![uri(&format!("quorate://{}/client/{name}", self.cluster))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<IssuedCertificate, CertificateError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl IssuedCertificate {
    /// Writes `<stem>.pem` and `<stem>-key.pem` into `folder` and says where.
    ///
    /// # Errors
    /// A file is there already or cannot be written.
    pub fn save(&self, folder: &Path, stem: &str) -> Result<(PathBuf, PathBuf), CertificateError> {
        let certificate = folder.join(format!("{stem}.pem"));
        let key = folder.join(format!("{stem}-key.pem"));
        write_secret(&key, &self.key_pem)?;
        write_public(&certificate, &self.certificate_pem)?;
        Ok((certificate, key))
    }
}

/// Parameters that all certificates share; `name` becomes part of a URI.
fn named(name: &str, common_name: &str, days: u32) -> Result<CertificateParams, CertificateError> {
    if !is_plain_name(name) {
        return Err(CertificateError::Name(name.to_owned()));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + (now + DAY * days);
    Ok(params)
}

fn uri(text: &str) -> Result<SanType, CertificateError> {
    Ok(SanType::URI(text.try_into()?))
}

fn dns(host: &str) -> Result<SanType, CertificateError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err(CertificateError::Host(host.to_owned()));
    }
    Ok(SanType::DnsName(host.try_into()?))
}

fn authority_cluster(certificate_pem: &str) -> Result<String, String> {
    use rustls_pki_types::pem::PemObject;
    let der = rustls_pki_types::CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(|error| error.to_string())?;
    let uris = crate::identity_of::uris(&der).map_err(|error| error.to_string())?;
    let cluster = uris.iter().find_map(|uri| {
        uri.strip_prefix("quorate://")?.strip_suffix("/authority").map(str::to_owned)
    });
    cluster.ok_or_else(|| String::from("it names no cluster"))
}

fn read(path: &Path) -> Result<String, CertificateError> {
    fs::read_to_string(path)
        .map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

/// Writes a file that only its owner may read. Never over another: a key that is lost by mistake
/// cannot be made again.
pub fn write_secret(path: &Path, text: &str) -> Result<(), CertificateError> {
    write_new(path, text, 0o600)
}

/// Writes a file that everybody may read, never over another.
pub fn write_public(path: &Path, text: &str) -> Result<(), CertificateError> {
    write_new(path, text, 0o644)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_authority_reads_back_and_keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let made = ClusterAuthority::create("orders").unwrap();
        made.save(folder.path()).unwrap();
        let read = ClusterAuthority::load(folder.path()).unwrap();
        assert_eq!((read.cluster(), read.certificate_pem()), ("orders", made.certificate_pem()));
        let issued = read.issue_client("alice").unwrap();
        let (certificate, key) = issued.save(folder.path(), "alice").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&key), 0o600);
        assert_eq!(mode(&folder.path().join(AUTHORITY_KEY_FILE)), 0o600);
        assert_eq!(mode(&certificate) & 0o600, 0o600);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        ClusterAuthority::create("orders").unwrap().save(folder.path()).unwrap();
        let again = ClusterAuthority::create("orders").unwrap().save(folder.path());
        assert!(matches!(again, Err(CertificateError::File { .. })));
    }

    #[test]
    fn a_certificate_that_is_no_authority_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let authority = ClusterAuthority::create("orders").unwrap();
        let issued = authority.issue_client("alice").unwrap();
        write_public(&folder.path().join(AUTHORITY_FILE), &issued.certificate_pem).unwrap();
        write_secret(&folder.path().join(AUTHORITY_KEY_FILE), &issued.key_pem).unwrap();
        let loaded = ClusterAuthority::load(folder.path());
        assert!(matches!(loaded, Err(CertificateError::NoAuthority { .. })));
    }

    #[test]
    fn names_that_would_change_the_uri_are_refused() {
        assert!(ClusterAuthority::create("or/ders").is_err());
        let authority = ClusterAuthority::create("orders").unwrap();
        for name in ["", "a/server/1", "A", "a b", "-a"] {
            assert!(authority.issue_client(name).is_err(), "{name:?}");
        }
        let host = [String::from("a b")];
        assert!(matches!(
            authority.issue_server(ServerId(1), &host),
            Err(CertificateError::Host(_))
        ));
    }
}
