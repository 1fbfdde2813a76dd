//! What documents must look like.
//!
//! Comes in: a [`Definition`] and a document. Goes out: everything in which the document differs.
//! Invariant: a document that passed has every required field, and every field defined is of its
//! type. Must never: change a document.

use crate::json::{self, Json};
use quorate_recipe::prelude::*;
use std::borrow::Cow;

/// Fields that a definition may have.
const FIELDS_MAX: usize = 100;
/// Bytes of a field's path.
const PATH_BYTES_MAX: usize = 256;

/// The document is JSON and has these fields. It may have others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// At most 100.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Where it is: a JSON Pointer (RFC 6901) through objects, `/server/port` say. Empty: the whole
    /// document.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Whether it must be there.
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Anything.
    Any,
    /// Null.
    Null,
    /// True or false.
    Boolean,
    /// A number without fraction or exponent.
    Integer,
    /// Any number.
    Number,
    /// Text.
    String,
    /// A list.
    Array,
    /// Named members.
    Object,
}

/// In what a document differs from its definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Problem {
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub wrong: String,
}

impl FieldType {
    fn fits(self, value: &Json) -> bool {
        match self {
            FieldType::Any => true,
            FieldType::Null => *value == Json::Null,
            FieldType::Boolean => *value == Json::Boolean,
            FieldType::Integer => *value == Json::Integer,
            FieldType::Number => matches!(value, Json::Integer | Json::Fraction),
            FieldType::String => *value == Json::Text,
            FieldType::Array => *value == Json::Array,
            FieldType::Object => matches!(value, Json::Object(_)),
        }
    }
}

fn name_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Boolean => "a boolean",
        Json::Integer => "an integer",
        Json::Fraction => "a number",
        Json::Text => "a string",
        Json::Array => "an array",
        Json::Object(_) => "an object",
    }
}

/// The value at a path, through objects.
fn find<'a>(document: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('/').skip(1).try_fold(document, |value, segment| match value {
        Json::Object(members) => {
            let name = match segment.contains('~') {
                true => Cow::Owned(segment.replace("~1", "/").replace("~0", "~")),
                false => Cow::Borrowed(segment),
            };
            let place = members.binary_search_by(|(other, _)| other.as_str().cmp(&name)).ok()?;
            Some(&members[place].1)
        }
        _ => None,
    })
}

impl Definition {
    /// Refuses a definition that is none.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |words: String| Err(Failure::new("bad-definition", words));
        if self.fields.len() > FIELDS_MAX {
            return wrong(format!("a definition has at most {FIELDS_MAX} fields"));
        }
        for field in &self.fields {
            let path = &field.path;
            if path.len() > PATH_BYTES_MAX || !(path.is_empty() || path.starts_with('/')) {
                return wrong(format!(
                    "the path {path:?} is none: it is empty or starts with a slash, \
                     and has at most {PATH_BYTES_MAX} bytes"
                ));
            }
        }
        Ok(())
    }

    /// Refuses a document that differs, with every [`Problem`].
    pub(crate) fn judge(&self, document: &str) -> Result<()> {
        let document = json::read(document).map_err(|error| {
            let wrong = format!("byte {}: {}", error.at, error.wrong);
            let problem = Problem { path: String::new(), wrong: wrong.clone() };
            let words = format!("the document is not JSON; {wrong}");
            Failure::new("bad-document", words).with_detail(&[problem])
        })?;
        let problems: Vec<Problem> =
            self.fields.iter().filter_map(|field| problem_of(field, &document)).collect();
        let Some(first) = problems.first() else { return Ok(()) };
        let words = format!(
            "the document differs from its definition; {:?} {} (problems in all: {})",
            first.path,
            first.wrong,
            problems.len()
        );
        Err(Failure::new("bad-document", words).with_detail(&problems))
    }
}

fn problem_of(field: &Field, document: &Json) -> Option<Problem> {
    let wrong = match find(document, &field.path) {
        None if field.required => "is missing".to_owned(),
        Some(value) if !field.kind.fits(value) => format!("is {}", name_of(value)),
        _ => return None,
    };
    Some(Problem { path: field.path.clone(), wrong })
}
