//! `quorate recipe`: from a crate to a mounted recipe.
//!
//! Comes in: crates, component files, names. Goes out: components, an installed catalogue, mounts.
//! Invariant: what is sent to the cluster was checked here first by the same rules, so that an
//! author sees errors without a cluster.

use crate::arguments::{Reach, RecipeCommand};
use crate::exit::Mistake;
use crate::output::{Output, listed, table};
use crate::{connect, json_cbor, readme, recipe_inspect, recipe_new, recipe_sign, recipe_test};
use anyhow::{Context, Result};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::{
    Client, ComponentDigest, ErrorCode, InstalledRecipe, MountRequest, MountedRecipe,
    RecipeSignature,
};
use quorate_recipe_build::BuildRequest;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) async fn run(reach: &Reach, command: RecipeCommand, output: Output) -> Result<()> {
    match command {
        RecipeCommand::New(arguments) => recipe_new::run(&arguments, output),
        RecipeCommand::Build { source, out, features } => build(&source, out, features, output),
        RecipeCommand::Test { folder } => recipe_test::run(&folder, output),
        RecipeCommand::Inspect { recipe } if Path::new(&recipe).is_file() => {
            recipe_inspect::file(Path::new(&recipe), output)
        }
        RecipeCommand::Keygen { name, out } => recipe_sign::keygen(&name, &out, output),
        RecipeCommand::Sign { component, signing_key, out } => {
            recipe_sign::sign(&component, &signing_key, out, output)
        }
        RecipeCommand::Metrics { path } => {
            crate::metrics::run(reach, path.as_deref(), output).await
        }
        RecipeCommand::Readme { component, readme, check } => {
            readme::run(&component, &readme, check, output)
        }
        command => {
            let client = connect(reach).await?;
            let done = perform(&client, command, output).await;
            // A session ends by its timeout if it cannot be closed now.
            let closed = client.close().await;
            done?;
            Ok(closed?)
        }
    }
}

async fn perform(client: &Client, command: RecipeCommand, output: Output) -> Result<()> {
    match command {
        RecipeCommand::New(_)
        | RecipeCommand::Build { .. }
        | RecipeCommand::Test { .. }
        | RecipeCommand::Readme { .. }
        | RecipeCommand::Keygen { .. }
        | RecipeCommand::Sign { .. }
        | RecipeCommand::Metrics { .. } => Ok(()),
        RecipeCommand::Install { component, signature } => {
            install_file(client, &component, signature.as_deref(), output).await
        }
        RecipeCommand::List => list(client, output).await,
        RecipeCommand::Inspect { recipe } => {
            let found = find(client, &recipe).await?;
            recipe_inspect::installed(&found, recipe_json(&found), output);
            Ok(())
        }
        RecipeCommand::Mount { path, recipe, config, open, fuel } => {
            let digest = find(client, &recipe).await?.digest;
            let config = config_of(config.as_deref())?;
            let request = MountRequest { path, digest, config, open, fuel };
            mount(client, request, &recipe, output).await
        }
        RecipeCommand::Upgrade { path, recipe, config, shadow } => {
            let mount = mounted(client, &path).await?;
            let next = find(client, &recipe).await?;
            if let Some(calls) = shadow {
                return crate::shadow::run(client, &mount, &next, calls.get(), output).await;
            }
            let config = config.map(|config| config_of(Some(&config))).transpose()?;
            change_version(client, mount, next, config, output).await
        }
        RecipeCommand::Rollback { path } => {
            let mount = mounted(client, &path).await?;
            let before = version_before(client, &mount).await?;
            change_version(client, mount, before, None, output).await
        }
        RecipeCommand::Resume { path } => {
            let mount = mounted(client, &path).await?;
            let was = mount.suspended.clone();
            client.mount(request_of(mount)).await?;
            let text = match &was {
                Some(reason) => format!("{path} serves again; it was suspended: {reason}"),
                None => format!("{path} was not suspended"),
            };
            output.print(&text, &json!({ "path": path, "was": was }));
            Ok(())
        }
        RecipeCommand::Unmount { path } => {
            client.unmount(&path).await?;
            output.print(&format!("unmounted {path}"), &json!({ "unmounted": path }));
            Ok(())
        }
        RecipeCommand::Remove { recipe } => {
            let found = find(client, &recipe).await?;
            client.remove_recipe(found.digest).await?;
            output.print(&format!("removed {}", full_name(&found)), &recipe_json(&found));
            Ok(())
        }
    }
}

fn build(source: &Path, out: Option<PathBuf>, features: Vec<String>, output: Output) -> Result<()> {
    let (component, target) = if source.is_file() {
        let folder = source.parent().unwrap_or(source).to_path_buf();
        (component_of_module(source)?, folder)
    } else {
        (build_component(source, features, output)?, source.join("target"))
    };
    let inspection = quorate_recipe_host::inspect(&component)
        .context("the component was built and cannot be a recipe")?;
    let name = inspection.descriptor.name.clone();
    let out = out.unwrap_or_else(|| target.join(format!("{name}.wasm")));
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    std::fs::write(&out, &component).with_context(|| out.display().to_string())?;
    let (bytes, digest) = (component.len(), inspection.digest);
    let text = format!(
        "{} {} → {} ({bytes} bytes, sha256 {digest})\nnext: quorate recipe install {}",
        name,
        inspection.descriptor.version,
        out.display(),
        out.display()
    );
    let value = json!({
        "name": name,
        "version": inspection.descriptor.version,
        "file": out.display().to_string(),
        "bytes": bytes,
        "digest": digest.to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

/// Builds the recipe of a crate, with a Wasm compiler installed first if there is none.
pub(crate) fn build_component(
    folder: &Path,
    features: Vec<String>,
    output: Output,
) -> Result<Vec<u8>> {
    let toolchain = quorate_recipe_build::install(&mut |text| output.note(text))?;
    let folder = folder.to_path_buf();
    let request = BuildRequest { folder, package: None, features, target_folder: None };
    let built = quorate_recipe_build::build(&request, &toolchain, &mut |text| output.note(text))?;
    Ok(built.component)
}

/// What another language's compiler made.
fn component_of_module(path: &Path) -> Result<Vec<u8>> {
    let module = std::fs::read(path).with_context(|| path.display().to_string())?;
    quorate_recipe_build::component_from(&module)
        .with_context(|| format!("{} cannot be a recipe", path.display()))
}

async fn install_file(
    client: &Client,
    path: &Path,
    signature: Option<&Path>,
    output: Output,
) -> Result<()> {
    let component = std::fs::read(path).with_context(|| {
        format!("cannot read {}; `quorate recipe build` makes it", path.display())
    })?;
    // Checked by the servers too; here the author sees every reason at once and without an upload.
    quorate_recipe_host::inspect(&component)
        .with_context(|| format!("{} cannot be installed", path.display()))?;
    let signature = recipe_sign::signature_of(path, signature)?;
    let installed = install(client, component.into(), signature, output).await?;
    let text = format!(
        "installed {}\nnext: quorate recipe mount /PATH {}",
        full_name(&installed),
        installed.descriptor.name
    );
    output.print(&text, &recipe_json(&installed));
    Ok(())
}

/// Uploads and installs a component, with a progress bar.
pub(crate) async fn install(
    client: &Client,
    component: Bytes,
    signature: Option<RecipeSignature>,
    output: Output,
) -> Result<InstalledRecipe> {
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = "uploading {bar:30} {bytes}/{total_bytes}";
    bar.set_style(ProgressStyle::with_template(style).context("the bar's template")?);
    let shown = bar.clone();
    let installed = client
        .upload_and_install(component, signature, move |done, total| {
            shown.set_length(u64::from(total));
            shown.set_position(u64::from(done));
        })
        .await;
    bar.finish_and_clear();
    Ok(installed?)
}

async fn list(client: &Client, output: Output) -> Result<()> {
    let recipes = client.list_recipes().await?;
    let mounts = client.list_mounts().await?;
    let recipe_rows: Vec<Vec<String>> = recipes
        .iter()
        .map(|recipe| {
            vec![
                recipe.descriptor.name.clone(),
                recipe.descriptor.version.clone(),
                if recipe.ready { "ready" } else { "loading" }.to_owned(),
                recipe.bytes.to_string(),
                recipe.digest.to_string().chars().take(16).collect(),
            ]
        })
        .collect();
    let mount_rows: Vec<Vec<String>> = mounts
        .iter()
        .map(|mount| {
            vec![
                mount.path.to_string(),
                format!("{}@{}", mount.recipe, mount.version),
                mount.suspended.clone().unwrap_or_else(|| "serving".to_owned()),
            ]
        })
        .collect();
    let text = format!(
        "{}\n\n{}",
        table(&["recipe", "version", "state", "bytes", "digest"], &recipe_rows),
        table(&["mount", "recipe", "state"], &mount_rows)
    );
    let value = json!({
        "recipes": recipes.iter().map(recipe_json).collect::<Vec<_>>(),
        "mounts": mounts.iter().map(mount_json).collect::<Vec<_>>(),
    });
    output.print(&text, &value);
    Ok(())
}

pub(crate) fn full_name(recipe: &InstalledRecipe) -> String {
    format!("{}@{}", recipe.descriptor.name, recipe.descriptor.version)
}

fn recipe_json(recipe: &InstalledRecipe) -> Value {
    json!({
        "name": recipe.descriptor.name,
        "version": recipe.descriptor.version,
        "state_version": recipe.descriptor.state_version,
        "doc": recipe.descriptor.doc,
        "digest": recipe.digest.to_string(),
        "bytes": recipe.bytes,
        "ready": recipe.ready,
        "operations": recipe.descriptor.operations,
    })
}

fn mount_json(mount: &MountedRecipe) -> Value {
    json!({
        "path": mount.path.as_str(),
        "recipe": mount.recipe,
        "version": mount.version,
        "digest": mount.digest.to_string(),
        "open": mount.open,
        "suspended": mount.suspended,
        "faults": mount.faults,
    })
}

/// The installed recipe that `wanted` names: a name, `name@version` or a digest. Of several
/// versions the newest installed.
async fn find(client: &Client, wanted: &str) -> Result<InstalledRecipe> {
    let recipes = client.list_recipes().await?;
    let digest = ComponentDigest::from_hex(wanted);
    let matching = recipes.iter().filter(|recipe| match digest {
        Some(digest) => recipe.digest == digest,
        None => wanted == recipe.descriptor.name || wanted == full_name(recipe),
    });
    let newest = matching.max_by_key(|recipe| recipe.installed).cloned();
    Ok(newest.ok_or_else(|| {
        let known = listed(recipes.iter().map(full_name));
        let text = format!("no recipe `{wanted}` is installed; installed: {known}");
        Mistake::new(ErrorCode::NoRecipe, text)
    })?)
}

fn config_of(text: Option<&str>) -> Result<Bytes> {
    let Some(text) = text else { return Ok(Bytes::new()) };
    let value: Value =
        serde_json::from_str(text).map_err(|error| Mistake::not_json("--config", text, &error))?;
    Ok(json_cbor::to_cbor(&value)?.into())
}

async fn mount(client: &Client, request: MountRequest, recipe: &str, output: Output) -> Result<()> {
    let (path, digest) = (request.path.clone(), request.digest);
    client.mount(request).await?;
    let text = format!("mounted {recipe} at {path}\nnext: quorate call {path}/NAME OPERATION");
    output.print(&text, &json!({ "path": path, "digest": digest.to_string() }));
    Ok(())
}

/// The mount at exactly this path.
pub(crate) async fn mounted(client: &Client, path: &str) -> Result<MountedRecipe> {
    let mounts = client.list_mounts().await?;
    let known = listed(mounts.iter().map(|mount| mount.path.as_str()));
    let found = mounts.iter().find(|mount| mount.path.as_str() == path).cloned();
    Ok(found.ok_or_else(|| {
        let text = format!("no recipe is mounted at `{path}`; mounts: {known}");
        Mistake::new(ErrorCode::NoMount, text)
    })?)
}

/// What would mount it as it is.
fn request_of(mount: MountedRecipe) -> MountRequest {
    let MountedRecipe { path, digest, config, open, fuel, .. } = mount;
    MountRequest { path: path.to_string(), digest, config, open, fuel }
}

/// The version of a mount's recipe that was installed last before the one that governs it.
async fn version_before(client: &Client, mount: &MountedRecipe) -> Result<InstalledRecipe> {
    let recipes = client.list_recipes().await?;
    let present = recipes.iter().find(|recipe| recipe.digest == mount.digest);
    let present = present.map(|recipe| recipe.installed);
    let older = recipes.iter().filter(|recipe| {
        recipe.descriptor.name == mount.recipe
            && present.is_some_and(|present| recipe.installed < present)
    });
    let newest = older.max_by_key(|recipe| recipe.installed).cloned();
    Ok(newest.ok_or_else(|| {
        let text = format!(
            "no version of {} was installed before {}: `quorate recipe upgrade` takes any that is \
             installed",
            mount.recipe, mount.version
        );
        Mistake::new(ErrorCode::NoRecipe, text)
    })?)
}

async fn change_version(
    client: &Client,
    mount: MountedRecipe,
    next: InstalledRecipe,
    config: Option<Bytes>,
    output: Output,
) -> Result<()> {
    let path = mount.path.to_string();
    let before = format!("{}@{}", mount.recipe, mount.version);
    let mut request = request_of(mount);
    request.digest = next.digest;
    request.config = config.unwrap_or(request.config);
    client.mount(request).await?;
    let after = full_name(&next);
    let text = format!("{path} is governed by {after}; it was {before}");
    let value = json!({
        "path": path,
        "before": before,
        "after": after,
        "digest": next.digest.to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

pub(crate) fn operations_text(operations: &[quorate_types::recipe::OperationDescriptor]) -> String {
    let rows: Vec<Vec<String>> = operations
        .iter()
        .map(|operation| {
            let kind = match operation.kind {
                quorate_types::recipe::OperationKind::Command => "command",
                quorate_types::recipe::OperationKind::Query => "query",
            };
            let first_line = operation.doc.lines().next().unwrap_or("").to_owned();
            vec![operation.name.clone(), kind.to_owned(), first_line]
        })
        .collect();
    table(&["operation", "kind", "what it does"], &rows)
}
