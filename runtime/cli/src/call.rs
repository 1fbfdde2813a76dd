//! `quorate call`: one call of a recipe, or what an object can be asked.
//!
//! Comes in: an object, an operation, arguments as JSON or as `--field value`. Goes out: the reply
//! as JSON. Waits while the call is parked.

use crate::arguments::{CallArguments, CommandLine, Reach};
use crate::exit::Mistake;
use crate::output::{Output, listed};
use crate::recipe::operations_text;
use crate::{connect, fields, json_cbor};
use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use quorate_client::{Client, ErrorCode, InstalledRecipe, MountedRecipe};
use quorate_types::recipe::OperationDescriptor;
use serde_json::{Value, json};

pub(crate) async fn run(reach: &Reach, call: &CallArguments, output: Output) -> Result<()> {
    let Some(object) = &call.object else {
        let mut all = CommandLine::command();
        let own = all.find_subcommand_mut("call").context("`call` is a command")?;
        return Ok(own.print_help()?);
    };
    let given = call.args.as_ref().map(|text| {
        serde_json::from_str(text).map_err(|error| Mistake::not_json("--args", text, &error))
    });
    let given: Option<Value> = given.transpose()?;
    let client = connect(reach).await?;
    let done = perform(&client, object, (call, given), output).await;
    // What went wrong is what the user needs to see, whatever becomes of the session.
    let closed = client.close().await;
    done?;
    Ok(closed?)
}

async fn perform(
    client: &Client,
    object: &str,
    (call, given): (&CallArguments, Option<Value>),
    output: Output,
) -> Result<()> {
    let Some(operation) = &call.operation else {
        return tell_operations(client, object, output).await;
    };
    if call.help || call.fields.iter().any(|word| word == "--help") {
        return tell_fields(client, object, operation, output).await;
    }
    let arguments = match given {
        Some(arguments) => arguments,
        None => {
            fields::arguments_of(&call.fields, &arguments_schema(client, object, operation).await)?
        }
    };
    let cbor = json_cbor::to_cbor(&arguments)?;
    let reply = client.call_raw(object, operation, cbor).await?;
    let reply = json_cbor::to_json(&reply)?;
    let text = if reply.is_null() { "done".to_owned() } else { pretty(&reply) };
    output.print(&text, &json!({ "reply": reply }));
    Ok(())
}

/// The mount that an object lies in, and its recipe.
async fn governing(client: &Client, object: &str) -> Result<(MountedRecipe, InstalledRecipe)> {
    let holds = |mount: &MountedRecipe| {
        let rest = object.strip_prefix(mount.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mounts = client.list_mounts().await?;
    let Some(mount) = mounts.iter().find(|mount| holds(mount)).cloned() else {
        let known = listed(mounts.iter().map(|mount| mount.path.as_str()));
        let text = format!("no recipe is mounted above `{object}`; mounts: {known}");
        bail!(Mistake::new(ErrorCode::NoMount, text));
    };
    let recipes = client.list_recipes().await?;
    let recipe = recipes.into_iter().find(|recipe| recipe.digest == mount.digest);
    match recipe {
        Some(recipe) => Ok((mount, recipe)),
        None => bail!(Mistake::new(
            ErrorCode::NoRecipe,
            format!("the recipe of {} was removed meanwhile: try again", mount.path)
        )),
    }
}

/// What an operation takes; empty if that cannot be told: the call itself then says what is wrong.
async fn arguments_schema(client: &Client, object: &str, operation: &str) -> String {
    let Ok((_, recipe)) = governing(client, object).await else { return String::new() };
    let known = recipe.descriptor.operation(operation);
    known.map_or_else(String::new, |known| known.arguments_schema.clone())
}

async fn tell_operations(client: &Client, object: &str, output: Output) -> Result<()> {
    let (mount, recipe) = governing(client, object).await?;
    let operations = &recipe.descriptor.operations;
    let text = format!(
        "{object} is an object of {}@{}, mounted at {}\n\n{}\n\nnext: quorate call {object} \
         OPERATION --help",
        mount.recipe,
        mount.version,
        mount.path,
        operations_text(operations)
    );
    let value = json!({
        "object": object,
        "recipe": mount.recipe,
        "version": mount.version,
        "mount": mount.path.as_str(),
        "operations": operations,
    });
    output.print(&text, &value);
    Ok(())
}

async fn tell_fields(client: &Client, object: &str, operation: &str, output: Output) -> Result<()> {
    let (mount, recipe) = governing(client, object).await?;
    let Some(known) = recipe.descriptor.operation(operation) else {
        let names: Vec<&str> =
            recipe.descriptor.operations.iter().map(|known| known.name.as_str()).collect();
        let text = format!(
            "{}@{} has no operation `{operation}`; there are: {}",
            mount.recipe,
            mount.version,
            names.join(", ")
        );
        bail!(Mistake::bad_arguments(text));
    };
    output.print(&fields_text(object, known), &json!({ "operation": known }));
    Ok(())
}

fn fields_text(object: &str, operation: &OperationDescriptor) -> String {
    let told = fields::operation_text(operation);
    format!("quorate call {object} {} [--FIELD VALUE …]\n\n{told}", operation.name)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
