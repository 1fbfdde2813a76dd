//! `quorate call`: one call of a recipe.
//!
//! Comes in: an object, an operation, arguments as JSON or as `--field value`. Goes out: the reply
//! as JSON. Waits while the call is parked.

use crate::arguments::{CallArguments, Reach};
use crate::exit::Mistake;
use crate::output::Output;
use crate::{connect, json_cbor};
use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

pub(crate) async fn run(reach: &Reach, call: &CallArguments, output: Output) -> Result<()> {
    let arguments = match &call.args {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| Mistake::not_json("--args", text, &error))?
        }
        None => fields_of(&call.fields)?,
    };
    let client = connect(reach).await?;
    let cbor = json_cbor::to_cbor(&arguments)?;
    let reply = client.call_raw(&call.object, &call.operation, cbor).await;
    let reply = match reply {
        Ok(reply) => json_cbor::to_json(&reply)?,
        Err(error) => {
            // The refusal is what the user needs to see, whatever becomes of the session.
            let _ = client.close().await;
            return Err(error.into());
        }
    };
    client.close().await?;
    let text = if reply.is_null() { "done".to_owned() } else { pretty(&reply) };
    output.print(&text, &json!({ "reply": reply }));
    Ok(())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// `--wait-ms 5 --note text --force` as an object; nothing at all is the empty one, which is every
/// argument at its default.
fn fields_of(words: &[String]) -> Result<Value> {
    let mut fields = Map::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
            bail!(Mistake::bad_arguments(format!(
                "`{word}` is no field: write --name value, or pass --args with JSON"
            )));
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value_of(value)),
            None => match rest.next_if(|next| !next.starts_with("--")) {
                Some(value) => (name, value_of(value)),
                None => (name, Value::Bool(true)),
            },
        };
        if fields.insert(name.replace('-', "_"), value).is_some() {
            bail!(Mistake::bad_arguments(format!("--{name} was given twice: pass it once")));
        }
    }
    Ok(Value::Object(fields))
}

fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(words: &[&str]) -> Result<Value> {
        fields_of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn fields_become_an_object() {
        let value = fields(&["--wait-ms", "5", "--note", "a b", "--force", "--by=-3"]).unwrap();
        assert_eq!(value, json!({ "wait_ms": 5, "note": "a b", "force": true, "by": -3 }));
        assert_eq!(fields(&[]).unwrap(), json!({}));
    }

    #[test]
    fn wrong_words_are_refused() {
        assert!(fields(&["wait", "5"]).is_err());
        assert!(fields(&["--a", "1", "--a", "2"]).is_err());
    }
}
