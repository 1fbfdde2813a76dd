//! `#[derive(Schema)]`: the form of a type as serde writes it.
//!
//! Comes in: a struct or an enum with its serde attributes. Goes out: an implementation of
//! `quorate_recipe::Schema`. Invariant: names, defaults and closedness are those that serde derives;
//! what serde would write in a form that is not described here is refused at its place. Must never:
//! guess.

use crate::parse::doc_of;
use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Result, Type};

/// What serde's attributes say of a type, a variant or a field.
#[derive(Default)]
struct Told {
    rename: Option<String>,
    rename_all: Option<String>,
    has_default: bool,
    is_skipped: bool,
    is_closed: bool,
}

const UNDESCRIBED: [&str; 8] = [
    "flatten",
    "with",
    "tag",
    "content",
    "untagged",
    "remote",
    "serialize_with",
    "deserialize_with",
];

fn read_attributes(attributes: &[Attribute]) -> Result<Told> {
    let mut told = Told::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            if UNDESCRIBED.contains(&word.as_str()) {
                let words = format!("a described type cannot have #[serde({word})]");
                return Err(Error::new(meta.path.span(), words));
            }
            let value = match meta.value() {
                Ok(value) => Some(value.parse::<syn::Expr>()?),
                Err(_) => None,
            };
            let text = value.as_ref().and_then(text_of);
            match word.as_str() {
                "rename" => told.rename = text,
                "rename_all" => told.rename_all = text,
                "default" => told.has_default = true,
                "skip" => told.is_skipped = true,
                "deny_unknown_fields" => told.is_closed = true,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(told)
}

fn text_of(value: &syn::Expr) -> Option<String> {
    match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The words of a name in snake or camel case.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in name.split('_') {
        for (place, letter) in part.chars().enumerate() {
            match words.last_mut() {
                Some(word) if place > 0 && !letter.is_uppercase() => word.push(letter),
                _ => words.push(letter.to_lowercase().collect()),
            }
        }
    }
    words
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

/// The name as serde writes it.
fn renamed(name: &str, rule: Option<&String>, at: impl Spanned) -> Result<String> {
    let Some(rule) = rule else { return Ok(name.to_owned()) };
    let words = words_of(name);
    match rule.as_str() {
        "kebab-case" => Ok(words.join("-")),
        "snake_case" => Ok(words.join("_")),
        "lowercase" => Ok(name.to_lowercase()),
        "camelCase" => {
            let rest: String = words[1..].iter().map(|word| capital(word)).collect();
            Ok(format!("{}{rest}", words[0]))
        }
        "PascalCase" => Ok(words.iter().map(|word| capital(word)).collect()),
        other => Err(Error::new(at.span(), format!("rename_all = {other:?} is not described"))),
    }
}

/// Text as JSON has it.
fn json_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push(' '),
            other if other.is_control() => quoted.push_str(&format!("\\u{:04x}", other as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn json_doc(attributes: &[Attribute]) -> String {
    let doc = doc_of(attributes);
    if doc.is_empty() { doc } else { json_text(&doc) }
}

/// An expression of type `fn(&mut String)` that writes a type's members.
fn writer_of(of: &Type) -> TokenStream {
    quote!(<#of as ::quorate_recipe::Schema>::write_members)
}

/// A statement that writes the members for these fields to `to`.
fn write_fields(fields: &Fields, told: &Told, rename_all: Option<&String>) -> Result<TokenStream> {
    match fields {
        Fields::Unit => Ok(quote!(to.push_str("\"type\":\"null\"");)),
        Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
            let write = writer_of(&unnamed.unnamed[0].ty);
            Ok(quote!(#write(to);))
        }
        Fields::Unnamed(unnamed) => {
            let items = unnamed.unnamed.iter().map(|field| {
                let of = &field.ty;
                quote!(::quorate_recipe::write_schema::<#of>)
            });
            Ok(quote!(::quorate_recipe::write_items(to, &[#(#items),*]);))
        }
        Fields::Named(named) => {
            let mut parts = Vec::new();
            for field in &named.named {
                let own = read_attributes(&field.attrs)?;
                if own.is_skipped {
                    continue;
                }
                let ident = field.ident.as_ref().expect("a named field has a name").to_string();
                let ident = ident.trim_start_matches("r#");
                let name = match own.rename {
                    Some(name) => name,
                    None => renamed(ident, rename_all, field)?,
                };
                let (name, doc) = (json_text(&name), json_doc(&field.attrs));
                let of = &field.ty;
                let has_default = own.has_default || told.has_default;
                let write = writer_of(of);
                parts.push(quote! {
                    ::quorate_recipe::SchemaField {
                        name: #name,
                        doc: #doc,
                        may_be_absent:
                            #has_default || <#of as ::quorate_recipe::Schema>::MAY_BE_ABSENT,
                        write_members: #write,
                    }
                });
            }
            let is_closed = told.is_closed;
            Ok(quote!(::quorate_recipe::write_fields(to, &[#(#parts),*], #is_closed);))
        }
    }
}

fn write_variants(data: &syn::DataEnum, told: &Told) -> Result<TokenStream> {
    let mut parts = Vec::new();
    for variant in &data.variants {
        let own = read_attributes(&variant.attrs)?;
        if own.is_skipped {
            continue;
        }
        let name = match &own.rename {
            Some(name) => name.clone(),
            None => renamed(&variant.ident.to_string(), told.rename_all.as_ref(), variant)?,
        };
        let (name, doc) = (json_text(&name), json_doc(&variant.attrs));
        let write = match &variant.fields {
            Fields::Unit => quote!(::core::option::Option::None),
            fields => {
                let write = write_fields(fields, &own, own.rename_all.as_ref())?;
                quote!(::core::option::Option::Some(|to: &mut ::std::string::String| { #write }))
            }
        };
        parts.push(quote! {
            ::quorate_recipe::SchemaVariant { name: #name, doc: #doc, write_members: #write }
        });
    }
    Ok(quote!(::quorate_recipe::write_variants(to, &[#(#parts),*]);))
}

/// The implementation, or what is wrong.
pub(crate) fn derive(input: TokenStream) -> Result<TokenStream> {
    let mut input: DeriveInput = syn::parse2(input)?;
    let told = read_attributes(&input.attrs)?;
    let write = match &input.data {
        Data::Struct(data) => write_fields(&data.fields, &told, told.rename_all.as_ref())?,
        Data::Enum(data) => write_variants(data, &told)?,
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span(), "a union has no form in CBOR"));
        }
    };
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(::quorate_recipe::Schema));
    }
    let name = &input.ident;
    let (parameters, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #parameters ::quorate_recipe::Schema for #name #arguments #bounds {
            fn write_members(to: &mut ::std::string::String) {
                #write
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn complains(input: TokenStream, words: &str) {
        let error = derive(input).unwrap_err().to_string();
        assert!(error.contains(words), "{words:?} is not in {error}");
    }

    #[test]
    fn what_is_not_described_is_refused() {
        complains(
            quote!(
                struct A {
                    #[serde(flatten)]
                    b: B,
                }
            ),
            "flatten",
        );
        complains(
            quote!(
                #[serde(tag = "kind")]
                enum A {
                    B,
                }
            ),
            "tag",
        );
        complains(
            quote!(
                #[serde(rename_all = "SHOUTING")]
                struct A {
                    b: u8,
                }
            ),
            "SHOUTING",
        );
        complains(quote!(union A { b: u8 }), "union");
    }

    #[test]
    fn names_follow_serde() {
        let named = |name: &str, rule: &str| {
            renamed(name, Some(&rule.to_owned()), proc_macro2::Span::call_site()).unwrap()
        };
        assert_eq!(named("wait_ms", "camelCase"), "waitMs");
        assert_eq!(named("wait_ms", "kebab-case"), "wait-ms");
        assert_eq!(named("PlainOne", "kebab-case"), "plain-one");
        assert_eq!(named("PlainOne", "snake_case"), "plain_one");
        assert_eq!(named("PlainOne", "lowercase"), "plainone");
        assert_eq!(named("wait_ms", "PascalCase"), "WaitMs");
    }

    #[test]
    fn text_is_quoted_as_json_wants_it() {
        assert_eq!(json_text("a \"b\" \\ c\nd\t"), "\"a \\\"b\\\" \\\\ c d\\u0009\"");
    }
}
