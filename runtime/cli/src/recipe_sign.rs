//! `quorate recipe keygen`, `quorate recipe sign`: who stands for a component.
//!
//! Comes in: a name, or a component and a key. Goes out: a key in two files, or a signature beside
//! the component. Invariant: what is signed passed the servers' checks here first, and its name is
//! told. Must never: overwrite a key, or print a private one.

use crate::exit::Mistake;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use quorate_client::RecipeSignature;
use quorate_recipe_host::SigningKey;
use quorate_server::certificates::{write_public, write_secret};
use quorate_server::configuration::is_plain_name;
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(crate) fn keygen(name: &str, out: &Path, output: Output) -> Result<()> {
    if !is_plain_name(name) {
        bail!(Mistake::bad_arguments(format!(
            "`{name}` names no key: 1 to 63 lower-case letters, digits and dashes"
        )));
    }
    let (secret, public) = (out.join(format!("{name}-key.pem")), out.join(format!("{name}.pem")));
    if let Some(there) = [&secret, &public].into_iter().find(|path| path.exists()) {
        bail!(Mistake::bad_arguments(format!(
            "{} exists already, and keys are never overwritten: take another name",
            there.display()
        )));
    }
    let key = SigningKey::generate()?;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    write_secret(&secret, &key.to_pem())?;
    write_public(&public, &key.signer().to_pem())?;
    let signer = key.signer().to_string();
    let text = format!(
        "wrote {} (keep it secret) and {}\nnext: quorate recipe sign FILE --signing-key {}\n      in every \
         server's quorate.toml: [recipes] signers = [\"{signer}\"]",
        secret.display(),
        public.display(),
        secret.display()
    );
    let value = json!({
        "key": secret.display().to_string(),
        "public": public.display().to_string(),
        "signer": signer,
    });
    output.print(&text, &value);
    Ok(())
}

pub(crate) fn sign(path: &Path, key: &Path, out: Option<PathBuf>, output: Output) -> Result<()> {
    let pem =
        std::fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?;
    let key = SigningKey::from_pem(&pem).map_err(|error| {
        Mistake::bad_arguments(format!("{} cannot sign: {error}", key.display()))
    })?;
    let component = std::fs::read(path).with_context(|| {
        format!("cannot read {}; `quorate recipe build` makes it", path.display())
    })?;
    let inspection = quorate_recipe_host::inspect(&component)
        .with_context(|| format!("{} is not worth a signature", path.display()))?;
    let out = out.unwrap_or_else(|| beside(path));
    std::fs::write(&out, key.sign(&inspection.digest).0)
        .with_context(|| out.display().to_string())?;
    let (name, version) = (&inspection.descriptor.name, &inspection.descriptor.version);
    let (digest, signer) = (inspection.digest.to_string(), key.signer().to_string());
    let text = format!(
        "signed {name} {version} (sha256 {digest}) by {signer} → {}\nnext: quorate recipe install {}",
        out.display(),
        path.display()
    );
    let value = json!({
        "name": name,
        "version": version,
        "digest": digest,
        "signer": signer,
        "signature": out.display().to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

/// The signature of a component: the one given, or one that lies beside it.
pub(crate) fn signature_of(
    component: &Path,
    given: Option<&Path>,
) -> Result<Option<RecipeSignature>> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => beside(component),
    };
    if given.is_none() && !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let no_signature = |error| Mistake::bad_arguments(format!("{}: {error}", path.display()));
    Ok(Some(RecipeSignature::try_from(&*bytes).map_err(no_signature)?))
}

/// Where the signature of a component is looked for: `lock.wasm.sig` for `lock.wasm`.
fn beside(component: &Path) -> PathBuf {
    let mut path = OsString::from(component);
    path.push(".sig");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_secret_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("keys");
        let output = Output::new(true);
        keygen("release", &out, output).unwrap();
        let secret = out.join("release-key.pem");
        let mode = std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let before = std::fs::read_to_string(&secret).unwrap();
        let refused = keygen("release", &out, output).unwrap_err().to_string();
        assert!(refused.contains("never overwritten"), "{refused}");
        // Nor does a lone half make way.
        std::fs::remove_file(out.join("release.pem")).unwrap();
        assert!(keygen("release", &out, output).is_err());
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), before);
        assert!(keygen("../x", &out, output).is_err());
    }

    #[test]
    fn a_signature_is_found_beside_its_component() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("lock.wasm");
        assert_eq!(signature_of(&component, None).unwrap(), None);
        std::fs::write(folder.path().join("lock.wasm.sig"), [7; 64]).unwrap();
        let found = signature_of(&component, None).unwrap();
        assert_eq!(found, Some(RecipeSignature([7; 64])));
        let other = folder.path().join("other");
        assert!(signature_of(&component, Some(&other)).is_err(), "what is given must be there");
        std::fs::write(&other, [7; 63]).unwrap();
        let refused = signature_of(&component, Some(&other)).unwrap_err().to_string();
        assert!(refused.contains("64 bytes, not 63"), "{refused}");
    }
}
