//! `quorate recipe inspect`: what a component file or an installed recipe is, takes, gives and costs.
//!
//! Comes in: a file's bytes, or what the cluster's catalogue says. Goes out: text for an author, or
//! JSON with the whole schemas. Invariant: a figure is of one run of one operation, and says so.
//! Must never: call an operation of the cluster; samples are run within this process.

use crate::fields;
use crate::json_cbor;
use crate::output::{Output, table};
use anyhow::{Context, Result};
use quorate_client::{ErrorCode, InstalledRecipe};
use quorate_recipe_host::{Compiler, Inspection, Sample, SampleMount, component_digest};
use quorate_types::limits::Limits;
use quorate_types::recipe::{OperationDescriptor, OperationKind, RecipeDescriptor};
use quorate_types::{Outcome, Refusal, Reply};
use serde_json::{Value, json};
use std::path::Path;

/// What is said of samples wherever they are shown.
const SAMPLES_ARE: &str = "each operation was run once, here, on an object that holds nothing, with the \
                           least that its schema allows; other arguments and other state take other \
                           fuel, so this is one sample and no bound";

/// One operation's run.
struct Taken {
    arguments: Value,
    sample: Sample,
}

/// A component file.
pub(crate) fn file(path: &Path, output: Output) -> Result<()> {
    let component = std::fs::read(path).with_context(|| path.display().to_string())?;
    let no_recipe = || format!("{} is no recipe", path.display());
    let compiler = Compiler::new().with_context(no_recipe)?;
    let compiled =
        compiler.compile(&component_digest(&component), &component).with_context(no_recipe)?;
    let inspection = compiler.inspection(&compiled, component.len());
    let descriptor = &inspection.descriptor;
    let config = least_config(&descriptor.config_schema);
    let config_bytes = if config.is_null() { Vec::new() } else { json_cbor::to_cbor(&config)? };
    let mount = SampleMount::new(&compiled, &component, config_bytes.into());
    let mut taken = Vec::new();
    if let Ok(mount) = &mount {
        for operation in &descriptor.operations {
            let arguments = fields::least(&operation.arguments_schema);
            let sample = mount.sample(&operation.name, &json_cbor::to_cbor(&arguments)?);
            taken.push(Taken { arguments, sample });
        }
    }
    let refused = mount.err();
    let text = file_text(&inspection, &taken, refused.as_ref());
    output.print(&text, &file_json(&inspection, &config, &taken, refused.as_ref()));
    Ok(())
}

/// A recipe of the cluster's catalogue, with what other commands show of it.
pub(crate) fn installed(recipe: &InstalledRecipe, listed: Value, output: Output) {
    let text = format!(
        "{}\n\n{} bytes, sha256 {}\nA component file also tells its imports, exports, compiled size and \
         fuel: quorate recipe inspect FILE",
        descriptor_text(&recipe.descriptor, &[]),
        recipe.bytes,
        recipe.digest
    );
    let mut value = listed;
    value["operations"] = operations_json(&recipe.descriptor, &[]);
    value["config_schema"] = schema_json(&recipe.descriptor.config_schema);
    output.print(&text, &value);
}

/// Nothing, unless the schema demands something.
fn least_config(schema: &str) -> Value {
    let parsed: Value = serde_json::from_str(schema).unwrap_or_default();
    let demands = parsed["required"].as_array().is_some_and(|names| !names.is_empty());
    if demands { fields::least(schema) } else { Value::Null }
}

fn descriptor_text(descriptor: &RecipeDescriptor, taken: &[Taken]) -> String {
    let RecipeDescriptor { name, version, state_version, doc, .. } = descriptor;
    let mut text = format!("{name} {version}, state version {state_version}\n{doc}");
    let mut samples = taken.iter();
    for operation in &descriptor.operations {
        let title = format!("{} ({})", operation.name, kind_word(operation.kind));
        let mut told = fields::operation_text(operation);
        if let Some(Taken { arguments, sample }) = samples.next() {
            let (fuel, end) = (grouped(sample.fuel), outcome_text(&sample.outcome));
            told.push_str(&format!("\n\nA sample, of {arguments}: {fuel} fuel; {end}."));
        }
        text.push_str(&format!("\n\n{title}\n{}", indented(&told)));
    }
    let config = fields::rows(&descriptor.config_schema);
    if !config.is_empty() {
        let rows = table(&["field", "value", "", "what it is for"], &config);
        text.push_str(&format!("\n\nthe mount's configuration\n{}", indented(&rows)));
    }
    text
}

fn file_text(inspection: &Inspection, taken: &[Taken], refused: Option<&Refusal>) -> String {
    let fuel_max = grouped(Limits::PRODUCTION.recipe_fuel_max);
    let wanted = match inspection.fuel_wanted {
        Some(fuel) => format!("{} fuel of {fuel_max}", grouped(fuel)),
        None => format!("none of its own: {fuel_max} fuel"),
    };
    let row = |name: &str, words: String| vec![name.to_owned(), words];
    let of_bytes = |bytes: usize| grouped(bytes as u64);
    let rows = vec![
        row("component", format!("{} bytes", of_bytes(inspection.component_bytes))),
        row("sha256", inspection.digest.to_string()),
        row(
            "compiled",
            format!(
                "{} bytes, in {} ms here",
                of_bytes(inspection.compiled_bytes),
                inspection.compile_time.as_millis()
            ),
        ),
        row("imports", inspection.imports.join(" ")),
        row("exports", inspection.exports.join(" ")),
        row("memory", format!("{} bytes at the start", grouped(inspection.initial_memory_bytes))),
        row("limits wanted", wanted),
        row("describe", format!("{} fuel", grouped(inspection.describe_fuel))),
    ];
    let samples = match refused {
        Some(refusal) => {
            format!("No samples: mounting it was refused here ({}).", refusal_text(refusal))
        }
        None => format!("Of the samples: {SAMPLES_ARE}."),
    };
    let descriptor = descriptor_text(&inspection.descriptor, taken);
    // A table without a header: its first line is empty.
    format!("{descriptor}\n{}\n\n{samples}", table(&["", ""], &rows))
}

fn file_json(
    inspection: &Inspection,
    config: &Value,
    taken: &[Taken],
    refused: Option<&Refusal>,
) -> Value {
    let descriptor = &inspection.descriptor;
    json!({
        "name": descriptor.name,
        "version": descriptor.version,
        "state_version": descriptor.state_version,
        "doc": descriptor.doc,
        "config_schema": schema_json(&descriptor.config_schema),
        "operations": operations_json(descriptor, taken),
        "bytes": inspection.component_bytes,
        "compiled_bytes": inspection.compiled_bytes,
        "compile_ms": u64::try_from(inspection.compile_time.as_millis()).unwrap_or(u64::MAX),
        "initial_memory_bytes": inspection.initial_memory_bytes,
        "describe_fuel": inspection.describe_fuel,
        "fuel_wanted": inspection.fuel_wanted,
        "fuel_max": Limits::PRODUCTION.recipe_fuel_max,
        "digest": inspection.digest.to_string(),
        "imports": inspection.imports,
        "exports": inspection.exports,
        "samples": {
            "are": SAMPLES_ARE,
            "config": config,
            "refused": refused.map(refusal_text),
        },
    })
}

fn operations_json(descriptor: &RecipeDescriptor, taken: &[Taken]) -> Value {
    let mut samples = taken.iter();
    let operation_json = |operation: &OperationDescriptor| {
        let mut value = json!({
            "name": operation.name,
            "kind": kind_word(operation.kind),
            "doc": operation.doc,
            "arguments_schema": schema_json(&operation.arguments_schema),
            "reply_schema": schema_json(&operation.reply_schema),
        });
        if let Some(Taken { arguments, sample }) = samples.next() {
            value["sample"] = json!({
                "arguments": arguments,
                "fuel": sample.fuel,
                "outcome": outcome_word(&sample.outcome),
                "refusal": sample.outcome.as_ref().err().map(refusal_text),
            });
        }
        value
    };
    descriptor.operations.iter().map(operation_json).collect()
}

/// What a recipe says as JSON is shown as JSON; what is none, as text.
fn schema_json(schema: &str) -> Value {
    if schema.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(schema).unwrap_or_else(|_| json!(schema))
}

fn kind_word(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Command => "command",
        OperationKind::Query => "query",
    }
}

/// `done`, `parked`, or the code of the refusal: the recipe's own if it is one of those.
fn outcome_word(outcome: &Outcome) -> String {
    match outcome {
        Ok(Reply::Parked(_)) => String::from("parked"),
        Ok(_) => String::from("done"),
        Err(refusal) => code_of(refusal).to_owned(),
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Ok(Reply::Parked(_)) => String::from("it waits"),
        Ok(Reply::Called(reply)) => match json_cbor::to_json(reply) {
            Ok(reply) => format!("it gave {reply}"),
            Err(error) => format!("it gave what cannot be read: {error:#}"),
        },
        Ok(_) => String::from("done"),
        Err(refusal) => refusal_text(refusal),
    }
}

fn code_of(refusal: &Refusal) -> &str {
    match (refusal.code, &refusal.recipe_code) {
        (ErrorCode::RecipeRefused, Some(code)) => code,
        (code, _) => code.name(),
    }
}

fn refusal_text(refusal: &Refusal) -> String {
    format!("{}: {}", code_of(refusal), refusal.message)
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("  {line}") };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        let shown: Vec<String> = [0, 999, 1_000, 12_345_678].map(grouped).into();
        assert_eq!(shown, ["0", "999", "1 000", "12 345 678"]);
    }

    #[test]
    fn a_configuration_is_given_only_where_one_is_demanded() {
        assert_eq!(least_config(""), Value::Null);
        let optional = r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#;
        assert_eq!(least_config(optional), Value::Null);
        let demanded =
            r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#;
        assert_eq!(least_config(demanded), json!({ "a": 0 }));
    }
}
