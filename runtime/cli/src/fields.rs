//! `--field value` by what an operation says it takes.
//!
//! Comes in: words of a command line, the JSON Schema of an operation's arguments (see
//! `quorate_recipe::Schema`). Goes out: the arguments as JSON, or an error that names the field and
//! what it may be; the schema in words. Invariant: what a schema does not say is let pass, since the
//! recipe judges it again. Must never: refuse a value for a schema it does not understand.

use crate::exit::Mistake;
use crate::output::{listed, table};
use anyhow::{Result, bail};
use quorate_types::recipe::OperationDescriptor;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Words as `(field, value)`; a field without a value is `None`.
type Given<'a> = Vec<(String, Option<&'a str>)>;

/// `--wait-ms 5 --note text --force` as an object; nothing at all is the empty one, which is every
/// argument at its default. `schema`: JSON; empty when the recipe says nothing.
pub(crate) fn arguments_of(words: &[String], schema: &str) -> Result<Value> {
    let given = split(words)?;
    let schema: Value = serde_json::from_str(schema).unwrap_or(Value::Null);
    if given.is_empty() && schema["properties"].is_null() && !schema.is_null() {
        // It takes no fields: null is nothing.
        return Ok(Value::Null);
    }
    let mut fields = Map::new();
    for (name, word) in given {
        let value = match property(&schema, &name)? {
            Some(form) => value_as(&form, &name, word)?,
            None => word.map_or(Value::Bool(true), guess),
        };
        if fields.insert(name.clone(), value).is_some() {
            let flag = flag_of(&name);
            bail!(Mistake::bad_arguments(format!("{flag} was given twice: pass it once")));
        }
    }
    check_required(&schema, &fields)?;
    Ok(Value::Object(fields))
}

fn split(words: &[String]) -> Result<Given<'_>> {
    let mut given = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
            bail!(Mistake::bad_arguments(format!(
                "`{word}` is no field: write --name value, or pass --args with JSON"
            )));
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, rest.next_if(|next| !next.starts_with("--")).map(String::as_str)),
        };
        given.push((name.replace('-', "_"), value));
    }
    Ok(given)
}

/// The form of a field; `None`: any.
fn property(schema: &Value, name: &str) -> Result<Option<Value>> {
    let Some(properties) = schema["properties"].as_object() else {
        let takes_nothing = schema["type"] == "null";
        if takes_nothing {
            let flag = flag_of(name);
            bail!(Mistake::bad_arguments(format!("{flag}: this operation takes no arguments")));
        }
        return Ok(None);
    };
    if let Some(form) = properties.get(name) {
        return Ok(Some(form.clone()));
    }
    if schema["additionalProperties"] != false {
        return Ok(None);
    }
    let known = listed(properties.keys().map(|name| flag_of(name)));
    let flag = flag_of(name);
    bail!(Mistake::bad_arguments(format!("there is no field {flag}; there are: {known}")))
}

fn flag_of(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// What a word means when nothing is said of its field.
fn guess(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned()))
}

fn value_as(form: &Value, name: &str, word: Option<&str>) -> Result<Value> {
    let Some(word) = word else {
        if allows_type(form, "boolean") {
            return Ok(Value::Bool(true));
        }
        let (flag, wanted) = (flag_of(name), in_words(form));
        bail!(Mistake::bad_arguments(format!("{flag} needs a value: {wanted}")));
    };
    match value_in_form(form, word)? {
        Some(value) => Ok(value),
        None => {
            let (flag, wanted) = (flag_of(name), in_words(form));
            bail!(Mistake::bad_arguments(format!("{flag} cannot be `{word}`: it is {wanted}")))
        }
    }
}

/// The word as a value of this form, if it is one.
fn value_in_form(form: &Value, word: &str) -> Result<Option<Value>> {
    if let Some(forms) = form["anyOf"].as_array().or_else(|| form["oneOf"].as_array()) {
        for form in forms {
            if let Some(value) = value_in_form(form, word)? {
                return Ok(Some(value));
            }
        }
        return Ok(None);
    }
    if let Some(constant) = form.get("const") {
        return Ok((constant == word).then(|| constant.clone()));
    }
    if form["contentEncoding"] == "binary" {
        return bytes_of(word).map(Some);
    }
    let value = guess(word);
    Ok(match form["type"].as_str() {
        Some("string") => Some(Value::String(word.to_owned())),
        Some("integer") => Some(value).filter(|value| is_integer_within(form, value)),
        Some("number") => Some(value).filter(Value::is_number),
        Some("boolean") => Some(value).filter(Value::is_boolean),
        Some("null") => Some(value).filter(Value::is_null),
        Some("array") => Some(list_of(form, word)?),
        Some("object") => Some(value).filter(Value::is_object),
        _ => Some(value),
    })
}

/// A list as JSON, or as words with commas between them.
fn list_of(form: &Value, word: &str) -> Result<Value> {
    if let Ok(list @ Value::Array(_)) = serde_json::from_str(word) {
        return Ok(list);
    }
    let mut items = Vec::new();
    for part in word.split(',').filter(|part| !part.is_empty()) {
        items.push(value_in_form(&form["items"], part)?.unwrap_or_else(|| guess(part)));
    }
    Ok(Value::Array(items))
}

/// Bytes: the word itself, or what the file `@NAME` holds.
fn bytes_of(word: &str) -> Result<Value> {
    let bytes = match word.strip_prefix('@') {
        Some(name) => std::fs::read(Path::new(name)).map_err(|error| {
            Mistake::bad_arguments(format!("the file `{name}` cannot be read: {error}"))
        })?,
        None => word.as_bytes().to_vec(),
    };
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({ "bytes": digits }))
}

fn is_integer_within(form: &Value, value: &Value) -> bool {
    let wide =
        |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    let Some(number) = wide(value) else { return false };
    wide(&form["minimum"]).is_none_or(|least| number >= least)
        && wide(&form["maximum"]).is_none_or(|most| number <= most)
}

fn allows_type(form: &Value, wanted: &str) -> bool {
    let forms = form["anyOf"].as_array().or_else(|| form["oneOf"].as_array());
    form["type"] == wanted
        || forms.is_some_and(|forms| forms.iter().any(|form| allows_type(form, wanted)))
}

fn check_required(schema: &Value, fields: &Map<String, Value>) -> Result<()> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let missing: Vec<String> = required
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| !fields.contains_key(*name))
        .map(|name| format!("{} ({})", flag_of(name), in_words(&schema["properties"][name])))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(Mistake::bad_arguments(format!("missing: {}", missing.join(", "))))
}

/// A form in words.
pub(crate) fn in_words(form: &Value) -> String {
    if let Some(forms) = form["anyOf"].as_array().or_else(|| form["oneOf"].as_array()) {
        let words: Vec<String> = forms.iter().map(in_words).collect();
        return words.join(" or ");
    }
    if let Some(constant) = form.get("const") {
        return constant.as_str().map_or_else(|| constant.to_string(), |text| format!("`{text}`"));
    }
    if form["contentEncoding"] == "binary" {
        return String::from("bytes (text, or @FILE)");
    }
    match form["type"].as_str() {
        Some("integer") => match (form["minimum"].as_i64(), form["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            (Some(least), None) => format!("a whole number from {least} on"),
            _ => String::from("a whole number"),
        },
        Some("number") => String::from("a number"),
        Some("string") => String::from("text"),
        Some("boolean") => String::from("true or false"),
        Some("null") => String::from("null"),
        Some("array") if form["items"].is_object() => {
            format!("a list, each {}", in_words(&form["items"]))
        }
        Some("array") => String::from("a list"),
        Some("object") => match form["properties"].as_object() {
            Some(fields) if !fields.is_empty() => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                format!("a JSON object of {}", names.join(", "))
            }
            _ => String::from("a JSON object"),
        },
        _ => String::from("anything"),
    }
}

/// An operation in words: what it does, takes and gives.
pub(crate) fn operation_text(operation: &OperationDescriptor) -> String {
    let rows = rows(&operation.arguments_schema);
    let reply: Value = serde_json::from_str(&operation.reply_schema).unwrap_or_default();
    let takes = if rows.is_empty() {
        String::from("It takes no fields.")
    } else {
        table(&["field", "value", "", "what it is for"], &rows)
    };
    format!("{}\n\n{takes}\n\nIt gives {}.", operation.doc, in_words(&reply))
}

/// The least value that a schema allows: fields only where they are needed, the smallest numbers,
/// the shortest texts. `schema`: JSON; empty when the recipe says nothing, and then an object
/// without fields.
pub(crate) fn least(schema: &str) -> Value {
    match serde_json::from_str(schema) {
        Ok(schema) => least_of(&schema),
        Err(_) => json!({}),
    }
}

fn least_of(form: &Value) -> Value {
    if let Some(forms) = form["anyOf"].as_array().or_else(|| form["oneOf"].as_array()) {
        let null = forms.iter().find(|form| form["type"] == "null");
        return null.or_else(|| forms.first()).map_or(Value::Null, least_of);
    }
    if let Some(constant) = form.get("const") {
        return constant.clone();
    }
    if form["contentEncoding"] == "binary" {
        return json!({ "bytes": "" });
    }
    match form["type"].as_str() {
        Some("integer" | "number") => least_number(form),
        Some("string") => json!(""),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => {
            let needed = form["required"].as_array().into_iter().flatten();
            let field = |name: &str| (name.to_owned(), least_of(&form["properties"][name]));
            needed.filter_map(Value::as_str).map(field).collect()
        }
        _ => Value::Null,
    }
}

/// The number nearest to zero.
fn least_number(form: &Value) -> Value {
    let (least, most) = (&form["minimum"], &form["maximum"]);
    match (least.as_f64(), most.as_f64()) {
        (Some(bound), _) if bound > 0.0 => least.clone(),
        (_, Some(bound)) if bound < 0.0 => most.clone(),
        _ => json!(0),
    }
}

/// One row per field: flag, form, whether it is needed, what it is for.
pub(crate) fn rows(schema: &str) -> Vec<Vec<String>> {
    let schema: Value = serde_json::from_str(schema).unwrap_or(Value::Null);
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let row = |(name, form): (&String, &Value)| {
        let needed = if required.contains(&json!(name)) { "needed" } else { "" };
        let doc = form["description"].as_str().unwrap_or_default().to_owned();
        vec![flag_of(name), in_words(form), needed.to_owned(), doc]
    };
    properties.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{
        "wait_ms":{"description":"How long.","anyOf":[{"type":"integer","minimum":0},{"type":"null"}]},
        "note":{"type":"string"},
        "force":{"type":"boolean"},
        "data":{"type":"string","contentEncoding":"binary"},
        "kind":{"oneOf":[{"const":"first"},{"const":"last"}]},
        "tags":{"type":"array","items":{"type":"string"}},
        "count":{"type":"integer","minimum":1,"maximum":9}
        },"required":["count"],"additionalProperties":false}"#;

    fn arguments(words: &[&str], schema: &str) -> Result<Value> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        arguments_of(&words, schema)
    }

    #[track_caller]
    fn complains(words: &[&str], schema: &str, of: &str) {
        let error = arguments(words, schema).unwrap_err().to_string();
        assert!(error.contains(of), "{of:?} is not in {error:?}");
    }

    #[test]
    fn without_a_schema_values_are_json_or_text() {
        let value =
            arguments(&["--wait-ms", "5", "--note", "a b", "--force", "--by=-3"], "").unwrap();
        assert_eq!(value, json!({ "wait_ms": 5, "note": "a b", "force": true, "by": -3 }));
        assert_eq!(arguments(&[], "").unwrap(), json!({}));
    }

    #[test]
    fn a_schema_decides_what_a_word_means() {
        let words = ["--count", "3", "--note", "17", "--wait-ms", "null", "--force"];
        let wanted = json!({ "count": 3, "note": "17", "wait_ms": null, "force": true });
        assert_eq!(arguments(&words, SCHEMA).unwrap(), wanted);
        let words = ["--count=3", "--data", "ab", "--kind", "last", "--tags", "a,1"];
        let wanted =
            json!({ "count": 3, "data": { "bytes": "6162" }, "kind": "last", "tags": ["a", "1"] });
        assert_eq!(arguments(&words, SCHEMA).unwrap(), wanted);
        assert_eq!(arguments(&[], r#"{"type":"null"}"#).unwrap(), Value::Null);
    }

    #[test]
    fn what_is_wrong_is_said_of_the_field() {
        complains(&["wait", "5"], SCHEMA, "`wait` is no field");
        complains(&["--count", "1", "--count", "2"], SCHEMA, "--count was given twice");
        complains(
            &["--wait-ms", "soon"],
            SCHEMA,
            "--wait-ms cannot be `soon`: it is a whole number",
        );
        complains(&["--count", "10"], SCHEMA, "a whole number from 1 to 9");
        complains(&["--kind", "middle"], SCHEMA, "`first` or `last`");
        complains(&["--note"], SCHEMA, "--note needs a value: text");
        complains(&["--speed", "1"], SCHEMA, "there is no field --speed; there are: --");
        complains(&["--note", "x"], SCHEMA, "missing: --count (a whole number from 1 to 9)");
        complains(&["--count", "1", "--data", "@/no/such/file"], SCHEMA, "cannot be read");
        complains(&["--count", "1"], r#"{"type":"null"}"#, "takes no arguments");
    }

    #[test]
    fn the_least_value_has_what_is_needed_and_no_more() {
        assert_eq!(least(SCHEMA), json!({ "count": 1 }));
        assert_eq!(least(""), json!({}));
        assert_eq!(least(r#"{"type":"null"}"#), Value::Null);
        let all = r#"{"type":"object","properties":{
            "a":{"type":"string"},"b":{"type":"string","contentEncoding":"binary"},
            "c":{"oneOf":[{"const":"x"},{"const":"y"}]},"d":{"type":"integer","maximum":-3},
            "e":{"anyOf":[{"type":"integer"},{"type":"null"}]},"f":{"type":"array"},
            "g":{"type":"boolean"},"h":{"type":"object"}},
            "required":["a","b","c","d","e","f","g","h"]}"#;
        let wanted = json!({ "a": "", "b": { "bytes": "" }, "c": "x", "d": -3, "e": null, "f": [],
            "g": false, "h": {} });
        assert_eq!(least(all), wanted);
    }

    #[test]
    fn fields_are_told_in_rows() {
        let rows = rows(SCHEMA);
        let row = rows.iter().find(|row| row[0] == "--wait-ms").unwrap();
        assert_eq!(row[1..], ["a whole number from 0 on or null", "", "How long."]);
        assert_eq!(rows.iter().find(|row| row[0] == "--count").unwrap()[2], "needed");
    }
}
