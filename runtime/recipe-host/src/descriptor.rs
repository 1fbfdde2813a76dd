//! Checks of what a component says of itself.
//!
//! Comes in: the answer of `describe`, from an author who may err or lie. Goes out: a descriptor
//! fit to be shown, stored and looked up, or the first rule it breaks.
//! Invariant: names of accepted descriptors are plain text, unique and bounded in size.

use crate::contract::guest;
use quorate_types::recipe::{OperationDescriptor, OperationKind, RecipeDescriptor};

/// Bytes of a name or a version.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of all texts of one descriptor.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Operations of one recipe.
const OPERATIONS_MAX: usize = 256;

/// Turns the guest's answer into a descriptor.
///
/// # Errors
/// The first rule broken, as the end of a sentence that begins "describe() answered with".
pub(crate) fn check(answer: guest::Descriptor) -> Result<RecipeDescriptor, String> {
    if !is_kebab_case(&answer.name) {
        return Err(format!(
            "the name {}: lower-case letters, digits and single dashes, a letter first, at most \
             {NAME_BYTES_MAX} bytes",
            quoted(&answer.name)
        ));
    }
    if !is_version(&answer.version) {
        return Err(format!(
            "the version {}: it must be major.minor.patch, as 1.0.0",
            quoted(&answer.version)
        ));
    }
    if answer.operations.is_empty() {
        return Err(String::from("no operation at all"));
    }
    if answer.operations.len() > OPERATIONS_MAX {
        return Err(format!(
            "{} operations, {OPERATIONS_MAX} are allowed",
            answer.operations.len()
        ));
    }
    let text_bytes = text_bytes(&answer);
    if text_bytes > TEXT_BYTES_MAX {
        return Err(format!("{text_bytes} bytes of text, {TEXT_BYTES_MAX} are allowed"));
    }
    check_schema("the configuration", &answer.config_schema)?;
    check_doc("the recipe", &answer.doc)?;
    Ok(RecipeDescriptor {
        name: answer.name,
        version: answer.version,
        state_version: answer.state_version,
        config_schema: answer.config_schema,
        doc: answer.doc,
        operations: operations(answer.operations)?,
    })
}

fn operations(answered: Vec<guest::Operation>) -> Result<Vec<OperationDescriptor>, String> {
    let mut operations: Vec<OperationDescriptor> = Vec::with_capacity(answered.len());
    for operation in answered {
        if !is_kebab_case(&operation.name) {
            return Err(format!(
                "the operation name {}: it must be in kebab-case, as `try-acquire`",
                quoted(&operation.name)
            ));
        }
        if operations.iter().any(|earlier| earlier.name == operation.name) {
            return Err(format!("the operation {} twice", quoted(&operation.name)));
        }
        check_schema(&format!("the arguments of {}", operation.name), &operation.arguments_schema)?;
        check_schema(&format!("the reply of {}", operation.name), &operation.reply_schema)?;
        check_doc(&operation.name, &operation.doc)?;
        operations.push(OperationDescriptor {
            name: operation.name,
            kind: match operation.kind {
                guest::OperationKind::Command => OperationKind::Command,
                guest::OperationKind::Query => OperationKind::Query,
            },
            arguments_schema: operation.arguments_schema,
            reply_schema: operation.reply_schema,
            doc: operation.doc,
        });
    }
    Ok(operations)
}

/// Tools read it to turn fields into arguments: it is JSON, or there is none.
fn check_schema(of: &str, schema: &str) -> Result<(), String> {
    if schema.is_empty() {
        return Ok(());
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(schema) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a description of {of} that is no JSON: {error}")),
    }
}

/// It is printed on terminals, which obey control characters.
fn check_doc(of: &str, doc: &str) -> Result<(), String> {
    match doc.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some(found) => Err(format!("the character {found:?} in the words about {of}")),
        None => Ok(()),
    }
}

fn text_bytes(answer: &guest::Descriptor) -> usize {
    let of_operations: usize = answer
        .operations
        .iter()
        .map(|operation| {
            operation.arguments_schema.len() + operation.reply_schema.len() + operation.doc.len()
        })
        .sum();
    answer.config_schema.len() + answer.doc.len() + of_operations
}

/// Text from a guest for a message: escaped, so that it cannot draw on a terminal, and cut.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Lower-case letters, digits and single dashes between them, a letter first.
fn is_kebab_case(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

/// Semantic versioning 2.0.0: three numbers, then optionally a pre-release and build metadata.
fn is_version(version: &str) -> bool {
    if version.len() > NAME_BYTES_MAX {
        return false;
    }
    let (rest, build) = match version.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (version, None),
    };
    let (core, pre_release) = match rest.split_once('-') {
        Some((core, pre_release)) => (core, Some(pre_release)),
        None => (rest, None),
    };
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && build.is_none_or(|build| build.split('.').all(is_identifier))
        && pre_release.is_none_or(|pre_release| {
            pre_release.split('.').all(|part| {
                is_identifier(part)
                    && (is_number(part) || !part.bytes().all(|b| b.is_ascii_digit()))
            })
        })
}

fn is_number(part: &str) -> bool {
    part.parse::<u32>().is_ok_and(|number| number.to_string() == part)
}

fn is_identifier(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for name in ["lock", "rw-lock", "a1-2b"] {
            assert!(is_kebab_case(name), "{name}");
        }
        for name in ["", "Lock", "1lock", "-lock", "lock-", "rw--lock", "rw_lock", "löck", "a b"] {
            assert!(!is_kebab_case(name), "{name}");
        }
        assert!(!is_kebab_case(&"a".repeat(NAME_BYTES_MAX + 1)));
    }

    #[test]
    fn versions_are_semantic() {
        for version in ["0.0.0", "1.20.3", "1.0.0-rc.1", "1.0.0+2024-01-01", "1.0.0-a-b+c"] {
            assert!(is_version(version), "{version}");
        }
        for version in
            ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0-01", "v1.0.0"]
        {
            assert!(!is_version(version), "{version}");
        }
    }

    #[test]
    fn text_of_a_guest_is_shown_without_control_characters() {
        assert_eq!(quoted("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        assert!(quoted(&"x".repeat(10_000)).len() < 100);
    }
}
