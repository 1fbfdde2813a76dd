//! What arguments, replies and configurations look like, for whoever calls.
//!
//! Comes in: types, by `#[derive(Schema)]` or from the list here. Goes out: JSON Schema (draft
//! 2020-12) of the value that a type's CBOR form stands for; bytes are strings that say
//! `"contentEncoding": "binary"`. Invariant: a value that a type's `Serialize` writes fits its schema.
//! Must never: depend on a value; a schema is the same in every run.

use crate::blob::Blob;
use crate::object::SessionId;
use crate::ticket::{Reply, Ticket, TicketId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A type that can say what its values look like. Derive it.
///
/// ```
/// use quorate_recipe::prelude::*;
///
/// /// How to wait.
/// #[derive(Deserialize, Schema)]
/// #[serde(deny_unknown_fields)]
/// pub struct Acquire {
///     /// Milliseconds.
///     pub wait_ms: Option<u64>,
/// }
///
/// assert_eq!(
///     quorate_recipe::schema_of::<Acquire>(),
///     "{\"type\":\"object\",\"properties\":{\"wait_ms\":{\"description\":\"Milliseconds.\",\
///      \"anyOf\":[{\"type\":\"integer\",\"minimum\":0},{\"type\":\"null\"}]}},\
///      \"additionalProperties\":false}",
/// );
/// ```
#[diagnostic::on_unimplemented(
    message = "it is not known what values of `{Self}` look like",
    label = "has no schema",
    note = "derive `Schema` for it, beside `Serialize` or `Deserialize`"
)]
pub trait Schema {
    /// Whether a field of this type may be left out.
    const MAY_BE_ABSENT: bool = false;

    /// Writes the members of the schema's JSON object, without its braces.
    fn write_members(to: &mut String);
}

/// The schema of a type, as JSON.
#[must_use]
pub fn schema_of<T: Schema + ?Sized>() -> String {
    let mut text = String::new();
    write_schema::<T>(&mut text);
    text
}

/// Writes the schema of a type.
pub fn write_schema<T: Schema + ?Sized>(to: &mut String) {
    to.push('{');
    T::write_members(to);
    to.push('}');
}

macro_rules! plain {
    ($($members:literal: $($type:ty),+;)*) => {$($(
        impl Schema for $type {
            fn write_members(to: &mut String) {
                to.push_str($members);
            }
        }
    )+)*};
}

plain! {
    "\"type\":\"boolean\"": bool;
    "\"type\":\"integer\",\"minimum\":0,\"maximum\":255": u8;
    "\"type\":\"integer\",\"minimum\":0,\"maximum\":65535": u16;
    "\"type\":\"integer\",\"minimum\":0,\"maximum\":4294967295": u32;
    "\"type\":\"integer\",\"minimum\":0": u64, SessionId, TicketId;
    "\"type\":\"integer\",\"minimum\":-128,\"maximum\":127": i8;
    "\"type\":\"integer\",\"minimum\":-32768,\"maximum\":32767": i16;
    "\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647": i32;
    "\"type\":\"integer\"": i64;
    "\"type\":\"number\"": f32, f64;
    "\"type\":\"string\"": String, str;
    "\"type\":\"string\",\"contentEncoding\":\"binary\"": Blob;
    "\"type\":\"null\"": ();
}

impl<T: Schema> Schema for Option<T> {
    const MAY_BE_ABSENT: bool = true;

    fn write_members(to: &mut String) {
        to.push_str("\"anyOf\":[");
        write_schema::<T>(to);
        to.push_str(",{\"type\":\"null\"}]");
    }
}

fn write_list<T: Schema>(to: &mut String) {
    to.push_str("\"type\":\"array\",\"items\":");
    write_schema::<T>(to);
}

impl<T: Schema> Schema for Vec<T> {
    fn write_members(to: &mut String) {
        write_list::<T>(to);
    }
}

impl<T: Schema> Schema for BTreeSet<T> {
    fn write_members(to: &mut String) {
        write_list::<T>(to);
        to.push_str(",\"uniqueItems\":true");
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn write_members(to: &mut String) {
        to.push_str("\"type\":\"object\",\"additionalProperties\":");
        write_schema::<T>(to);
    }
}

impl<A: Schema, B: Schema> Schema for (A, B) {
    fn write_members(to: &mut String) {
        write_items(to, &[write_schema::<A>, write_schema::<B>]);
    }
}

impl<A: Schema, B: Schema, C: Schema> Schema for (A, B, C) {
    fn write_members(to: &mut String) {
        write_items(to, &[write_schema::<A>, write_schema::<B>, write_schema::<C>]);
    }
}

/// A ticket is stored as its number.
impl<R> Schema for Ticket<R> {
    fn write_members(to: &mut String) {
        TicketId::write_members(to);
    }
}

/// The caller sees what it waited for.
impl<R: Schema> Schema for Reply<R> {
    fn write_members(to: &mut String) {
        R::write_members(to);
    }
}

/// Writes the members for a list of so many items, each of its own form. For derived code.
#[doc(hidden)]
pub fn write_items(to: &mut String, items: &[fn(&mut String)]) {
    to.push_str("\"type\":\"array\",\"prefixItems\":[");
    for (place, write) in items.iter().enumerate() {
        if place > 0 {
            to.push(',');
        }
        write(to);
    }
    let _ = write!(to, "],\"minItems\":{0},\"maxItems\":{0}", items.len());
}

/// A named part of a value. For derived code.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As JSON has it, quoted.
    pub name: &'static str,
    /// As JSON has it, quoted; empty: none.
    pub doc: &'static str,
    /// Whether it may be left out.
    pub may_be_absent: bool,
    /// Writes the members of its schema.
    pub write_members: fn(&mut String),
}

/// Writes the members for a value of named parts. For derived code.
#[doc(hidden)]
pub fn write_fields(to: &mut String, fields: &[Field], is_closed: bool) {
    to.push_str("\"type\":\"object\",\"properties\":{");
    for (place, field) in fields.iter().enumerate() {
        if place > 0 {
            to.push(',');
        }
        let _ = write!(to, "{}:{{", field.name);
        write_doc(to, field.doc);
        (field.write_members)(to);
        to.push('}');
    }
    to.push('}');
    let required: Vec<&str> =
        fields.iter().filter(|field| !field.may_be_absent).map(|field| field.name).collect();
    if !required.is_empty() {
        let _ = write!(to, ",\"required\":[{}]", required.join(","));
    }
    if is_closed {
        to.push_str(",\"additionalProperties\":false");
    }
}

fn write_doc(to: &mut String, doc: &str) {
    if !doc.is_empty() {
        let _ = write!(to, "\"description\":{doc},");
    }
}

/// One of the forms that a value may have. For derived code.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// As JSON has it, quoted.
    pub name: &'static str,
    /// As JSON has it, quoted; empty: none.
    pub doc: &'static str,
    /// Writes the members of what it carries; `None`: nothing.
    pub write_members: Option<fn(&mut String)>,
}

/// Writes the members for a value that has one of several forms. For derived code.
#[doc(hidden)]
pub fn write_variants(to: &mut String, variants: &[Variant]) {
    to.push_str("\"oneOf\":[");
    for (place, variant) in variants.iter().enumerate() {
        to.push_str(if place > 0 { ",{" } else { "{" });
        write_doc(to, variant.doc);
        let name = variant.name;
        match variant.write_members {
            None => {
                let _ = write!(to, "\"const\":{name}");
            }
            Some(write) => {
                let _ = write!(to, "\"type\":\"object\",\"properties\":{{{name}:{{");
                write(to);
                let _ = write!(to, "}}}},\"required\":[{name}],\"additionalProperties\":false");
            }
        }
        to.push('}');
    }
    to.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate as quorate_recipe;
    use quorate_recipe::Schema;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Schema)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        /// The "first" one.
        PlainOne,
        Carrying(u8),
        Named {
            at_ms: u64,
        },
    }

    #[derive(Serialize, Deserialize, Schema)]
    #[serde(deny_unknown_fields)]
    struct Wanted<T> {
        /// How
        /// often.
        count: u32,
        #[serde(default)]
        note: String,
        #[serde(rename = "for")]
        purpose: Option<T>,
        #[serde(skip)]
        _unseen: u64,
    }

    #[derive(Serialize, Deserialize, Schema)]
    struct Wrapped(Vec<u8>);

    #[test]
    fn records_say_which_fields_they_need() {
        assert_eq!(
            schema_of::<Wanted<bool>>(),
            r#"{"type":"object","properties":{"count":{"description":"How often.","type":"integer","minimum":0,"maximum":4294967295},"note":{"type":"string"},"for":{"anyOf":[{"type":"boolean"},{"type":"null"}]}},"required":["count"],"additionalProperties":false}"#
        );
    }

    #[test]
    fn choices_say_their_names() {
        assert_eq!(
            schema_of::<Kind>(),
            r#"{"oneOf":[{"description":"The \"first\" one.","const":"plain-one"},{"type":"object","properties":{"carrying":{"type":"integer","minimum":0,"maximum":255}},"required":["carrying"],"additionalProperties":false},{"type":"object","properties":{"named":{"type":"object","properties":{"at_ms":{"type":"integer","minimum":0}},"required":["at_ms"]}},"required":["named"],"additionalProperties":false}]}"#
        );
    }

    #[test]
    fn what_wraps_one_value_looks_like_it() {
        assert_eq!(schema_of::<Wrapped>(), schema_of::<Vec<u8>>());
        assert_eq!(schema_of::<Reply<u64>>(), schema_of::<u64>());
        assert_eq!(
            schema_of::<(bool, BTreeMap<String, Blob>)>(),
            r#"{"type":"array","prefixItems":[{"type":"boolean"},{"type":"object","additionalProperties":{"type":"string","contentEncoding":"binary"}}],"minItems":2,"maxItems":2}"#
        );
    }
}
