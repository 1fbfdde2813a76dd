//! One command line: words, and JSON with references to what came before.
//!
//! `$NAME.field` stands for a part of the last reply to the call NAME, `@NAME` for the number of the
//! session NAME; within strings they are text. Must never: guess; what is not known is an error.

use serde_json::Value;

/// Takes the first word off; both are empty at the end.
pub(crate) fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

/// The JSON that is left of a line, with its references replaced; `None`: nothing is left.
pub(crate) fn json_of(
    text: &str,
    reference: &dyn Fn(char, &str) -> Result<Value, String>,
) -> Result<Option<Value>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let replaced = replace_references(text, reference)?;
    serde_json::from_str(&replaced).map(Some).map_err(|error| format!("`{replaced}`: {error}"))
}

fn replace_references(
    text: &str,
    reference: &dyn Fn(char, &str) -> Result<Value, String>,
) -> Result<String, String> {
    let mut replaced = String::new();
    let mut within_string = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if !within_string && matches!(character, '$' | '@') {
            let mut name = String::new();
            let is_part = |next: &char| next.is_alphanumeric() || matches!(next, '_' | '-' | '.');
            while let Some(next) = characters.next_if(is_part) {
                name.push(next);
            }
            replaced.push_str(&reference(character, &name)?.to_string());
            continue;
        }
        replaced.push(character);
        match character {
            '"' => within_string = !within_string,
            '\\' if within_string => replaced.extend(characters.next()),
            _ => {}
        }
    }
    Ok(replaced)
}

/// The part of a reply that `fields`, names with points between them, lead to.
pub(crate) fn part_of<'reply>(reply: &'reply Value, fields: &str) -> Option<&'reply Value> {
    fields.split('.').filter(|field| !field.is_empty()).try_fold(reply, |value, field| match field
        .parse::<usize>(
    ) {
        Ok(place) if value.is_array() => value.get(place),
        _ => value.get(field),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(mark: char, name: &str) -> Result<Value, String> {
        match (mark, name) {
            ('@', "a") => Ok(json!(7)),
            ('$', "grant.fence") => Ok(json!(1_002)),
            other => Err(format!("{other:?} is not known")),
        }
    }

    #[test]
    fn references_are_replaced_outside_of_strings() {
        let text = r#"{"s": @a, "f": [$grant.fence], "t": "@a \" $b"}"#;
        let json = json_of(text, &known).unwrap().unwrap();
        assert_eq!(json, json!({ "s": 7, "f": [1_002], "t": "@a \" $b" }));
        assert_eq!(json_of("  ", &known), Ok(None));
        assert!(json_of("$nobody", &known).unwrap_err().contains("nobody"));
    }

    #[test]
    fn parts_of_a_reply_are_found_by_name_and_place() {
        let reply = json!({ "list": [1, { "x": 2 }] });
        assert_eq!(part_of(&reply, "list.1.x"), Some(&json!(2)));
        assert_eq!(part_of(&reply, ""), Some(&reply));
        assert_eq!(part_of(&reply, "list.5"), None);
    }
}
