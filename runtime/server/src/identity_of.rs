//! Who a certificate is for: reads the URI that the cluster's authority wrote into it.
//!
//! Comes in: a certificate that TLS has already verified against the authority. Goes out: a server
//! id or a client name. Invariant: exactly one `quorate:` URI, of this cluster, in exactly the form
//! that is issued; anything missing, doubled or added is refused, never read generously. Must never
//! look at the subject's common name.

use quorate_types::ServerId;
use rustls_pki_types::CertificateDer;
use std::fmt;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateName {
    /// A server of the cluster.
    Server(ServerId),
    /// A client of the cluster.
    Client(String),
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateName::Server(server) => write!(f, "server {server}"),
            CertificateName::Client(name) => write!(f, "client `{name}`"),
        }
    }
}

/// Why a certificate names nobody of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamelessCertificate {
    /// The connection showed no certificate.
    #[error("no certificate was shown")]
    Absent,
    /// It cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// It holds no name that quorate issues, or more than one.
    #[error("the certificate must hold exactly one quorate:// URI; it holds {0}")]
    NotOneName(usize),
    /// The name is of another cluster or not in the form issued.
    #[error("the certificate is for `{found}`, not for a server or client of `{cluster}`")]
    Foreign {
        /// The URI.
        found: String,
        /// The cluster here.
        cluster: String,
    },
}

/// The name in a verified certificate.
///
/// # Errors
/// It names nobody of this cluster.
pub fn identity_of(
    certificate: &CertificateDer<'_>,
    cluster: &str,
) -> Result<CertificateName, NamelessCertificate> {
    let uris = uris(certificate)?;
    let names = uris.iter().filter(|uri| uri.starts_with("quorate:")).collect::<Vec<_>>();
    let [name] = names.as_slice() else {
        return Err(NamelessCertificate::NotOneName(names.len()));
    };
    parse_name(name, cluster).ok_or_else(|| NamelessCertificate::Foreign {
        found: printable(name),
        cluster: cluster.to_owned(),
    })
}

fn parse_name(uri: &str, cluster: &str) -> Option<CertificateName> {
    let path = uri.strip_prefix("quorate://")?.strip_prefix(cluster)?.strip_prefix('/')?;
    match path.split_once('/')? {
        ("server", id) => {
            let server = id.parse::<u64>().ok()?;
            // One spelling per id: no sign, no leading zero.
            (server > 0 && server.to_string() == id)
                .then_some(CertificateName::Server(ServerId(server)))
        }
        ("client", name) if crate::configuration::is_plain_name(name) => {
            Some(CertificateName::Client(name.to_owned()))
        }
        _ => None,
    }
}

/// Text from a certificate as it may be logged.
fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_default).collect()
}

/// Every URI among a certificate's names.
pub(crate) fn uris(certificate: &CertificateDer<'_>) -> Result<Vec<String>, NamelessCertificate> {
    let unreadable = |reason: String| NamelessCertificate::Unreadable(reason);
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| unreadable(error.to_string()))?;
    if !rest.is_empty() {
        return Err(unreadable(String::from("bytes follow it")));
    }
    let names = parsed.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    let uris = names.into_iter().flat_map(|extension| &extension.value.general_names);
    let uris = uris.filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    Ok(uris.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::ClusterAuthority;
    use rustls_pki_types::pem::PemObject;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn issued_certificates_say_whom_they_are_for() {
        let authority = ClusterAuthority::create("orders").unwrap();
        let server = authority.issue_server(ServerId(3), &[String::from("::1")]).unwrap();
        let client = authority.issue_client("alice").unwrap();
        let name = |pem: &str, cluster| identity_of(&der(pem), cluster);
        assert_eq!(
            name(&server.certificate_pem, "orders"),
            Ok(CertificateName::Server(ServerId(3)))
        );
        assert_eq!(
            name(&client.certificate_pem, "orders"),
            Ok(CertificateName::Client(String::from("alice")))
        );
        let foreign = name(&client.certificate_pem, "order");
        assert!(matches!(foreign, Err(NamelessCertificate::Foreign { .. })), "{foreign:?}");
        let authority = name(authority.certificate_pem(), "orders");
        assert!(matches!(authority, Err(NamelessCertificate::Foreign { .. })), "{authority:?}");
    }

    #[test]
    fn only_the_form_that_is_issued_is_read() {
        for uri in [
            "quorate://orders/server/0",
            "quorate://orders/server/01",
            "quorate://orders/server/+1",
            "quorate://orders/server/1/",
            "quorate://orders/server/",
            "quorate://orders/server",
            "quorate://orders/client/",
            "quorate://orders/client/a/b",
            "quorate://orders/clients/a",
            "quorate://orders2/server/1",
            "quorate:orders/server/1",
        ] {
            assert_eq!(parse_name(uri, "orders"), None, "{uri}");
        }
    }

    #[test]
    fn a_certificate_without_a_name_or_with_two_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let with = |uris: &[&str]| {
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names =
                uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
            let der = params.self_signed(&key).unwrap().der().clone();
            identity_of(&der, "orders")
        };
        assert_eq!(with(&[]), Err(NamelessCertificate::NotOneName(0)));
        let two = ["quorate://orders/server/1", "quorate://orders/server/2"];
        assert_eq!(with(&two), Err(NamelessCertificate::NotOneName(2)));
        let beside = ["https://example.org", "quorate://orders/server/1"];
        assert_eq!(with(&beside), Ok(CertificateName::Server(ServerId(1))));
    }
}
