//! `quorate recipe readme`: the tables of a recipe's README, from what its component says of itself.
//!
//! Comes in: a component, a README with two marks. Goes out: the README with the tables between them
//! renewed. Invariant: what stands outside of the marks stays byte by byte; the same component gives
//! the same tables. Must never: write a README that has no marks.

use crate::exit::Mistake;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use quorate_types::recipe::{OperationDescriptor, OperationKind, RecipeDescriptor};
use serde_json::{Value, json};
use std::path::Path;

const BEGIN: &str = "<!-- tables of `quorate recipe readme`: begin -->\n";
const END: &str = "<!-- tables of `quorate recipe readme`: end -->\n";

/// Renews a README; with `check`, only says whether it is out of date.
pub(crate) fn run(component: &Path, readme: &Path, check: bool, output: Output) -> Result<()> {
    let bytes = std::fs::read(component).with_context(|| component.display().to_string())?;
    let inspection = quorate_recipe_host::inspect(&bytes)
        .with_context(|| format!("{} is no recipe", component.display()))?;
    let before = std::fs::read_to_string(readme).with_context(|| readme.display().to_string())?;
    let after =
        renewed(&before, &inspection.descriptor).with_context(|| readme.display().to_string())?;
    let shown = readme.display().to_string();
    let is_current = before == after;
    if check && !is_current {
        bail!("{shown} is out of date: run `quorate recipe readme` without --check");
    }
    if !is_current {
        std::fs::write(readme, after).with_context(|| readme.display().to_string())?;
    }
    let text = if is_current { "is up to date" } else { "was renewed" };
    output.print(&format!("{shown} {text}"), &json!({ "file": shown, "changed": !is_current }));
    Ok(())
}

/// The text with the tables of this recipe between its marks.
fn renewed(text: &str, descriptor: &RecipeDescriptor) -> Result<String> {
    let parts = text.split_once(BEGIN).and_then(|(head, rest)| {
        let (_, tail) = rest.split_once(END)?;
        Some((head, tail))
    });
    let Some((head, tail)) = parts else {
        let marks = format!("put these two lines where the tables are to be:\n{BEGIN}{END}");
        bail!(Mistake::bad_arguments(marks));
    };
    Ok(format!("{head}{BEGIN}{}{END}{tail}", tables(descriptor)))
}

fn tables(descriptor: &RecipeDescriptor) -> String {
    let mut text =
        String::from("| operation | what it does | arguments | reply |\n|---|---|---|---|\n");
    for operation in &descriptor.operations {
        text.push_str(&row(&operation_cells(operation)));
    }
    let config: Value = serde_json::from_str(&descriptor.config_schema).unwrap_or(Value::Null);
    if config["properties"].is_object() {
        text.push_str("\n| a mount may be given | value | meaning |\n|---|---|---|\n");
        for (name, form) in config["properties"].as_object().into_iter().flatten() {
            text.push_str(&row(&[format!("`{name}`"), kind(form), doc(form)]));
        }
    }
    text
}

fn operation_cells(operation: &OperationDescriptor) -> [String; 4] {
    let word = match operation.kind {
        OperationKind::Command => "command",
        OperationKind::Query => "query",
    };
    let parsed = |schema: &str| serde_json::from_str(schema).unwrap_or(Value::Null);
    let arguments = parsed(&operation.arguments_schema);
    let reply = parsed(&operation.reply_schema);
    let takes = if arguments["type"] == "null" { "none".to_owned() } else { value(&arguments) };
    [format!("`{}` ({word})", operation.name), operation.doc.clone(), takes, value(&reply)]
}

/// The fields of a record, each with its words; of anything else, what it is.
fn value(form: &Value) -> String {
    let Some(properties) = form["properties"].as_object() else { return kind(form) };
    let required = form["required"].as_array().cloned().unwrap_or_default();
    let is_closed = form["additionalProperties"] == false;
    let field = |(name, form): (&String, &Value)| {
        let may_be_absent = is_closed && !required.contains(&json!(name));
        let optional = if may_be_absent { ", optional" } else { "" };
        let colon = if doc(form).is_empty() { "" } else { ": " };
        format!("`{name}` ({}{optional}){colon}{}", kind(form), doc(form))
    };
    let fields: Vec<String> = properties.iter().map(field).collect();
    fields.join("<br>")
}

fn doc(form: &Value) -> String {
    form["description"].as_str().unwrap_or_default().to_owned()
}

/// What a value is, in as few words as will do.
fn kind(form: &Value) -> String {
    if let Some(forms) = form["anyOf"].as_array().or_else(|| form["oneOf"].as_array()) {
        let words: Vec<String> = forms.iter().map(kind).collect();
        return words.join(" or ");
    }
    if let Some(constant) = form["const"].as_str() {
        return format!("`{constant}`");
    }
    if form["contentEncoding"] == "binary" {
        return String::from("bytes");
    }
    match form["type"].as_str() {
        Some("string") => String::from("text"),
        Some("boolean") => String::from("true or false"),
        Some("array") if form["items"].is_object() => format!("list of: {}", kind(&form["items"])),
        Some("object") => match form["properties"].as_object() {
            Some(fields) if !fields.is_empty() => {
                let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
                names.join(", ")
            }
            _ => format!("names with: {}", kind(&form["additionalProperties"])),
        },
        Some(other) => other.to_owned(),
        None => String::from("anything"),
    }
}

fn row(cells: &[String]) -> String {
    let plain = |cell: &String| cell.replace('\n', " ").replace('|', "\\|");
    let cells: Vec<String> = cells.iter().map(plain).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standard_recipes::STANDARD_RECIPES;

    #[test]
    fn the_readme_of_every_standard_recipe_is_up_to_date() {
        assert!(!STANDARD_RECIPES.is_empty(), "run `cargo xtask recipes`");
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        for (name, component) in STANDARD_RECIPES {
            let descriptor = quorate_recipe_host::inspect(component).unwrap().descriptor;
            let text = std::fs::read_to_string(plugins.join(name).join("README.md")).unwrap();
            let is_current = renewed(&text, &descriptor).unwrap() == text;
            assert!(is_current, "plugins/{name}/README.md: run `cargo xtask recipe-tables`");
        }
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let operation = OperationDescriptor {
            name: String::from("take"),
            kind: OperationKind::Command,
            arguments_schema: String::from(
                r#"{"type":"object","properties":{"kind":{"description":"Which.","oneOf":
                [{"const":"a"},{"const":"b"}]},"n":{"type":"integer"}},"required":["n"],
                "additionalProperties":false}"#,
            ),
            reply_schema: String::from(r#"{"type":"null"}"#),
            doc: String::from("Takes | or\nwaits."),
        };
        let descriptor = RecipeDescriptor {
            name: String::from("thing"),
            version: String::from("1.0.0"),
            state_version: 1,
            config_schema: String::new(),
            doc: String::new(),
            operations: vec![operation],
        };
        let once = renewed(&format!("before\n{BEGIN}old\n{END}after\n"), &descriptor).unwrap();
        assert!(once.starts_with("before\n") && once.ends_with("after\n"), "{once}");
        let wanted = "| `take` (command) | Takes \\| or waits. | `kind` (`a` or `b`, optional): \
                      Which.<br>`n` (integer) | null |\n";
        assert!(once.contains(wanted), "{once}");
        assert!(!once.contains("old"));
        assert_eq!(renewed(&once, &descriptor).unwrap(), once);
        assert!(renewed("no marks", &descriptor).is_err());
    }
}
