//! The keys of a `zoo.cfg` that are about ZooKeeper clients with TLS.
//!
//! Comes in: a file that is being read. Goes out: where and how clients connect with TLS. Invariant:
//! stores are PEM files; one of another kind is refused with the command that makes PEM of it. Must
//! never take a client with TLS for one without: where it cannot be had, the server does not start.

use super::{Reading, Surroundings, any_ip};
use crate::configuration::{ConfigurationError, TlsPaths};
use crate::zookeeper::{ShownCertificates, ZooKeeperConfig, ZooKeeperTls};
use std::net::SocketAddr;
use std::path::PathBuf;

const SUPER_USER: &str = "X509AuthenticationProvider.superUser";

impl<S: Surroundings> Reading<'_, S> {
    /// How clients connect with TLS. `files`: the server's own, for what is not named.
    pub(super) fn client_tls(
        &mut self,
        files: TlsPaths,
    ) -> Result<Option<ZooKeeperTls>, ConfigurationError> {
        let listen = self.secure_address()?;
        let port_unification = self.given.boolean("client.portUnification")?;
        let key_store = self.pem_store("ssl.keyStore")?;
        let trust_store = self.pem_store("ssl.trustStore")?;
        let client_certificates = self.shown_certificates()?;
        let super_user = self.given.text(SUPER_USER).map(str::to_owned);
        if listen.is_none() && !port_unification {
            for key in
                ["ssl.keyStore.location", "ssl.trustStore.location", "ssl.clientAuth", SUPER_USER]
            {
                if !self.given.has(key) {
                    continue;
                }
                let message = format!(
                    "`{key}` has no effect: there is neither `secureClientPort` nor `client.portUnification`"
                );
                self.given.warn(key, &message);
            }
            return Ok(None);
        }
        let (certificate, key) = match key_store {
            Some(store) => (store.clone(), store),
            None => (files.certificate, files.key),
        };
        let authority = trust_store.unwrap_or(files.authority);
        let files = TlsPaths { authority, certificate, key };
        Ok(Some(ZooKeeperTls { listen, port_unification, client_certificates, files, super_user }))
    }

    /// Without a client port there is nothing that could take both kinds of clients.
    pub(super) fn check_unification(&mut self, config: &mut ZooKeeperConfig) {
        let Some(tls) = config.tls.take_if(|tls| tls.port_unification && config.listen.is_none())
        else {
            return;
        };
        let message = "`client.portUnification` has no effect: there is no `clientPort`";
        self.given.warn("client.portUnification", message);
        let alone = ZooKeeperTls { port_unification: false, ..tls };
        config.tls = Some(alone).filter(|tls| tls.listen.is_some());
    }

    fn secure_address(&self) -> Result<Option<SocketAddr>, ConfigurationError> {
        let key = "secureClientPortAddress";
        let host = self.given.text(key).map(str::to_owned);
        let Some(port) = self.port("secureClientPort")? else {
            if host.is_some() {
                let message = format!("`{key}` is given without `secureClientPort`");
                return Err(self.given.error(key, message));
            }
            return Ok(None);
        };
        let ip = host.map_or(Ok(any_ip()), |host| self.client_ip(key, &host))?;
        Ok(Some(SocketAddr::new(ip, port)))
    }

    fn shown_certificates(&self) -> Result<ShownCertificates, ConfigurationError> {
        let key = "ssl.clientAuth";
        let Some(text) = self.given.text(key) else { return Ok(ShownCertificates::default()) };
        let mut words = ShownCertificates::WORDS.iter();
        let found = words.find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, shown)| *shown).ok_or_else(|| {
            let message = format!("`{key}` must be none, want or need, not `{text}`");
            self.given.error(key, message)
        })
    }

    /// The file of a store, if one is named.
    fn pem_store(&self, store: &str) -> Result<Option<PathBuf>, ConfigurationError> {
        let (location, kind) = (format!("{store}.location"), format!("{store}.type"));
        let (path, given) = (self.given.path(&location), self.given.text(&kind));
        let Some(path) = path else { return Ok(None) };
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let kind = given.unwrap_or(ending).to_ascii_uppercase();
        if kind == "PEM" {
            return Ok(Some(path));
        }
        let shown = path.display();
        let next = match kind.as_str() {
            "JKS" => format!(
                "make a PKCS12 store of it with `keytool -importkeystore -srckeystore {shown} -destkeystore \
                 store.p12 -deststoretype PKCS12`, and PEM of that with `openssl pkcs12 -in store.p12 -nodes \
                 -out store.pem`"
            ),
            "P12" | "PFX" | "PKCS12" => {
                format!("make PEM of it with `openssl pkcs12 -in {shown} -nodes -out store.pem`")
            }
            _ => String::from("name a file that ends with .pem"),
        };
        let message = format!("`{location}={shown}` is no PEM file, and no other is read: {next}");
        Err(self.given.error(&location, message))
    }
}
