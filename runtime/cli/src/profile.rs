//! The profile: where the servers are and which certificates to use, in one small file.
//!
//! Comes in: flags, the environment, a profile file. Goes out: a client's configuration. Must
//! never overwrite a profile that a person wrote.

use crate::arguments::Reach;
use crate::exit::Mistake;
use anyhow::{Context, Result, bail};
use quorate_client::{ClientConfig, Pem};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Marks a profile that may be replaced by the next `dev` cluster.
const WRITTEN_BY_DEV: &str = "quorate dev";

/// A profile file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Servers as host:port.
    pub(crate) endpoints: Vec<String>,
    /// Certificate of the cluster's authority.
    pub(crate) ca: PathBuf,
    /// The client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// Key of the client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// What wrote the file, if a program did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) written_by: Option<String>,
}

impl Profile {
    /// Reads a profile; relative paths in it are relative to its folder.
    pub(crate) fn load(path: &Path) -> Result<Profile> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the profile {}", path.display()))?;
        let mut profile: Profile = toml::from_str(&text)
            .with_context(|| format!("{} is not a profile", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let absolute = |file: &mut PathBuf| *file = folder.join(&*file);
        absolute(&mut profile.ca);
        profile.certificate.iter_mut().for_each(absolute);
        profile.key.iter_mut().for_each(absolute);
        Ok(profile)
    }

    /// Writes the profile.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(path, toml::to_string(self)?)
            .with_context(|| format!("cannot write the profile {}", path.display()))
    }

    /// Writes the profile where every command finds it, unless a person's profile is there.
    /// Gives the place if it was written.
    pub(crate) fn save_as_default(&self) -> Result<Option<PathBuf>> {
        let Some(path) = default_path() else { return Ok(None) };
        let ours = Profile { written_by: Some(WRITTEN_BY_DEV.to_owned()), ..self.clone() };
        if path.exists() {
            let theirs = Profile::load(&path).ok().and_then(|profile| profile.written_by);
            if theirs.as_deref() != Some(WRITTEN_BY_DEV) {
                return Ok(None);
            }
        }
        ours.save(&path)?;
        Ok(Some(path))
    }
}

/// `quorate/profile.toml` in the user's configuration folder.
fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("quorate/profile.toml"))
}

/// Puts flags, environment and profile together.
pub(crate) fn resolve(reach: &Reach) -> Result<Profile> {
    let mut profile = match &reach.profile {
        Some(path) => Profile::load(path)?,
        None => match default_path().filter(|path| path.exists()) {
            Some(path) => Profile::load(&path)?,
            None => Profile::default(),
        },
    };
    if !reach.endpoints.is_empty() {
        profile.endpoints.clone_from(&reach.endpoints);
    }
    if let Some(ca) = &reach.ca {
        profile.ca.clone_from(ca);
    }
    if reach.certificate.is_some() {
        profile.certificate.clone_from(&reach.certificate);
    }
    if reach.key.is_some() {
        profile.key.clone_from(&reach.key);
    }
    if profile.endpoints.is_empty() {
        bail!(Mistake::bad_arguments(
            "no server is known: run `quorate dev`, or pass --profile FILE (written by `quorate \
             dev` and `quorate cluster create`), or --endpoints and --ca"
        ));
    }
    if profile.ca.as_os_str().is_empty() {
        bail!(Mistake::bad_arguments(
            "no authority is known to trust the servers by: pass --ca FILE (authority.pem in the \
             cluster's folder), or --profile FILE"
        ));
    }
    Ok(profile)
}

/// A client's configuration from a profile.
pub(crate) fn client_config(profile: &Profile, reach: &Reach) -> Result<ClientConfig> {
    let mut config = ClientConfig::new(profile.endpoints.clone(), Pem::read(&profile.ca)?);
    config.client_certificate_pem = profile.certificate.as_ref().map(Pem::read).transpose()?;
    config.client_key_pem = profile.key.as_ref().map(Pem::read).transpose()?;
    config.session_timeout = Duration::from_millis(reach.session_timeout_ms);
    config.connect_timeout = Duration::from_millis(reach.timeout_ms);
    config.request_timeout = Duration::from_millis(reach.timeout_ms);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_profile_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        let profile = Profile {
            endpoints: vec!["127.0.0.1:1".to_owned()],
            ca: PathBuf::from("ca.pem"),
            ..Profile::default()
        };
        profile.save(&path).unwrap();
        let mut reach = Reach { profile: Some(path), ..Reach::default() };
        let found = resolve(&reach).unwrap();
        assert_eq!(found.endpoints, ["127.0.0.1:1"]);
        assert_eq!(found.ca, folder.path().join("ca.pem"));
        reach.endpoints = vec!["127.0.0.1:2".to_owned()];
        assert_eq!(resolve(&reach).unwrap().endpoints, ["127.0.0.1:2"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        std::fs::write(&path, "endpoints = []\nca = \"a\"\nport = 1\n").unwrap();
        let error = format!("{:#}", Profile::load(&path).unwrap_err());
        assert!(error.contains("port"), "{error}");
    }
}
