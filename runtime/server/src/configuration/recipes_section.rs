//! Which recipes may be installed: the section `[recipes]`.
//!
//! Comes in: the section, and files of keys. Goes out: lists, then the trust that the recipe host
//! holds components against. Invariant: a list that is there and empty lets nothing in; a key that
//! cannot be read ends the start, since a server that trusts less than it should is as wrong as one
//! that trusts more. What the lists mean is in `runtime/docs/configuration.md`.

use super::ConfigurationError;
use super::section::Section;
use quorate_recipe_host::{SignerKey, Trust};
use quorate_types::ComponentDigest;
use quorate_types::limits::Limits;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Which recipes may be installed. Both `None`: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipesConfig {
    /// These components.
    pub allowed: Option<Vec<ComponentDigest>>,
    /// Components that one of these has signed.
    pub signers: Option<Vec<SignerSource>>,
}

/// Where the key of a signer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerSource {
    /// Here.
    Key(SignerKey),
    /// In this file, PEM.
    File(PathBuf),
}

/// A signer's key that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "recipes.signers: {}: {reason}; a signer is 64 hexadecimal digits or a file that `quorate recipe \
     keygen` writes, NAME.pem",
    path.display()
)]
pub struct SignerError {
    path: PathBuf,
    reason: String,
}

/// Reads the section.
pub(super) fn read(root: &Section<'_>) -> Result<RecipesConfig, ConfigurationError> {
    let section = root.section("recipes", &["allowed", "signers"])?;
    let Some(section) = section else { return Ok(RecipesConfig::default()) };
    let allowed = section.strings("allowed")?.map(|texts| {
        let digest =
            |text| ComponentDigest::from_hex(text).ok_or_else(|| no_digest(&section, text));
        texts.into_iter().map(digest).collect::<Result<Vec<_>, _>>()
    });
    let signers = section.strings("signers")?.map(|texts| {
        let count_max = Limits::PRODUCTION.recipe_signers_max;
        if texts.len() > count_max as usize {
            let message = format!("`recipes.signers` holds {}, at most {count_max}", texts.len());
            return Err(section.error("signers", message));
        }
        texts.into_iter().map(|text| signer(&section, text)).collect::<Result<Vec<_>, _>>()
    });
    Ok(RecipesConfig { allowed: allowed.transpose()?, signers: signers.transpose()? })
}

fn no_digest(section: &Section<'_>, text: &str) -> ConfigurationError {
    let message = format!(
        "`recipes.allowed` holds `{text}`: a digest is 64 hexadecimal digits, as `quorate recipe \
         inspect FILE` prints it"
    );
    section.error("allowed", message)
}

/// 64 digits are a key, everything else is a path.
fn signer(section: &Section<'_>, text: &str) -> Result<SignerSource, ConfigurationError> {
    if text.is_empty() {
        let message = "`recipes.signers` holds an empty text".to_owned();
        return Err(section.error("signers", message));
    }
    let key = SignerKey::from_hex(text).map(SignerSource::Key);
    Ok(key.unwrap_or_else(|| SignerSource::File(section.beside(text))))
}

impl RecipesConfig {
    /// Reads the files of keys.
    ///
    /// # Errors
    /// One cannot be read, or holds no key.
    pub fn trust(&self) -> Result<Trust, SignerError> {
        let allowed = self.allowed.as_ref().map(|digests| digests.iter().copied().collect());
        let keys = |signers: &Vec<SignerSource>| signers.iter().map(SignerSource::key).collect();
        let signers: Option<Result<Vec<SignerKey>, SignerError>> = self.signers.as_ref().map(keys);
        Ok(Trust::new(allowed, signers.transpose()?))
    }

    /// Writes the section, if there is anything to say.
    pub(super) fn write(&self, text: &mut String) {
        let lists = [
            ("allowed", self.allowed.as_ref().map(|all| list(all.iter().map(ToString::to_string)))),
            ("signers", self.signers.as_ref().map(|all| list(all.iter().map(SignerSource::text)))),
        ];
        if *self != RecipesConfig::default() {
            text.push_str("\n[recipes]\n");
        }
        for (name, list) in lists {
            if let Some(list) = list {
                let _ = writeln!(text, "{name} = {list}");
            }
        }
    }
}

fn list(texts: impl Iterator<Item = String>) -> String {
    toml::Value::Array(texts.map(toml::Value::String).collect()).to_string()
}

impl SignerSource {
    fn text(&self) -> String {
        match self {
            SignerSource::Key(key) => key.to_string(),
            SignerSource::File(path) => path.display().to_string(),
        }
    }

    fn key(&self) -> Result<SignerKey, SignerError> {
        let path = match self {
            SignerSource::Key(key) => return Ok(*key),
            SignerSource::File(path) => path,
        };
        let error = |reason| SignerError { path: path.clone(), reason };
        let text = std::fs::read_to_string(path).map_err(|why| error(why.to_string()))?;
        SignerKey::from_pem(&text).map_err(|why| error(why.to_string()))
    }
}
