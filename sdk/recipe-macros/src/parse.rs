//! Reads the attribute and the `impl` into a plain description.
//!
//! Comes in: tokens. Goes out: a [`ParsedRecipe`], or every error found, each at its place.

use proc_macro2::{Span, TokenStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, ItemImpl, Lit,
    Meta, PathArguments, ReturnType, Token, Type,
};

/// Every event, with the number of parameters its handlers have.
pub(crate) const EVENTS: &[(&str, usize, &str)] = &[
    ("mounted", 1, "(run: &Run)"),
    ("object_created", 1, "(run: &Run)"),
    ("config_changed", 2, "(run: &Run, before: C)"),
    ("session_closed", 2, "(run: &Run, session: SessionId)"),
    ("timer", 2, "(run: &Run, name: &str)"),
    ("ticket_expired", 2, "(run: &Run, ended: EndedTicket)"),
    ("ticket_cancelled", 2, "(run: &Run, ended: EndedTicket)"),
    ("znode_changed", 2, "(run: &Run, path: &str)"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Query,
}

pub(crate) struct ParsedOperation {
    pub(crate) method: Ident,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The type of its arguments, if it takes any.
    pub(crate) arguments: Option<Type>,
    /// The type of its reply.
    pub(crate) reply: Type,
    pub(crate) doc: String,
}

pub(crate) struct ParsedHandler {
    pub(crate) method: Ident,
    pub(crate) event: String,
}

pub(crate) struct ParsedRecipe {
    pub(crate) item: ItemImpl,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) state_version: u32,
    pub(crate) fuel: Option<u64>,
    pub(crate) config: Option<Type>,
    pub(crate) doc: String,
    pub(crate) operations: Vec<ParsedOperation>,
    pub(crate) handlers: Vec<ParsedHandler>,
    pub(crate) migrate: Option<Ident>,
}

/// Errors found so far; reading goes on, so that one build shows them all.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    fn say(&mut self, at: impl Spanned, message: impl std::fmt::Display) {
        self.push(Error::new(at.span(), message));
    }
}

pub(crate) fn parse(arguments: TokenStream, input: TokenStream) -> syn::Result<ParsedRecipe> {
    let mut errors = Errors::default();
    let mut item: ItemImpl = syn::parse2(input).map_err(|error| {
        Error::new(error.span(), "#[recipe] stands on an `impl` block: `impl Lock { … }`")
    })?;
    if let Some((_, path, _)) = &item.trait_ {
        errors.say(path, "#[recipe] stands on an inherent `impl`, not on that of a trait");
    }
    if !item.generics.params.is_empty() {
        errors.say(&item.generics, "a recipe has no generic parameters");
    }
    let settings = parse_settings(arguments, &mut errors);
    let mut recipe = ParsedRecipe {
        doc: doc_of(&item.attrs),
        item: item.clone(),
        name: settings.name,
        version: settings.version,
        state_version: settings.state_version,
        fuel: settings.fuel,
        config: settings.config,
        operations: Vec::new(),
        handlers: Vec::new(),
        migrate: None,
    };
    for member in &mut item.items {
        if let ImplItem::Fn(method) = member {
            parse_method(method, &mut recipe, &mut errors);
        }
    }
    if recipe.operations.is_empty() {
        errors.say(&item.self_ty, "a recipe needs at least one #[command] or #[query]");
    }
    recipe.item = item;
    match errors.0 {
        Some(error) => Err(error),
        None => Ok(recipe),
    }
}

struct Settings {
    name: String,
    version: Option<String>,
    state_version: u32,
    fuel: Option<u64>,
    config: Option<Type>,
}

fn parse_settings(arguments: TokenStream, errors: &mut Errors) -> Settings {
    let mut settings =
        Settings { name: String::new(), version: None, state_version: 1, fuel: None, config: None };
    let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
    let metas = match syn::parse::Parser::parse2(parser, arguments) {
        Ok(metas) => metas,
        Err(error) => {
            errors.push(error);
            return settings;
        }
    };
    for meta in &metas {
        if let Err(error) = parse_setting(meta, &mut settings) {
            errors.push(error);
        }
    }
    if settings.name.is_empty() {
        errors.say(Span::call_site(), "#[recipe] needs a name: #[recipe(name = \"lock\")]");
    }
    settings
}

fn parse_setting(meta: &Meta, settings: &mut Settings) -> syn::Result<()> {
    const EXPECTED: &str = "expected name = \"lock\", version = \"1.0.0\", state = 1, fuel = 10_000_000 or config = Config";
    let Meta::NameValue(pair) = meta else {
        return Err(Error::new(meta.span(), EXPECTED));
    };
    let key = pair.path.get_ident().map(ToString::to_string).unwrap_or_default();
    if key == "config" {
        let value = &pair.value;
        settings.config = Some(syn::parse2(quote::quote!(#value))?);
        return Ok(());
    }
    let Expr::Lit(literal) = &pair.value else {
        return Err(Error::new(pair.value.span(), EXPECTED));
    };
    match (key.as_str(), &literal.lit) {
        ("name", Lit::Str(text)) => {
            settings.name = text.value();
            check(text, is_kebab_case(&text.value()), "a name is in kebab case, such as \"lock\"")
        }
        ("version", Lit::Str(text)) => {
            settings.version = Some(text.value());
            check(text, is_version(&text.value()), "a version is three numbers, such as \"1.0.0\"")
        }
        ("state", Lit::Int(number)) => {
            settings.state_version = number.base10_parse()?;
            check(number, settings.state_version > 0, "state versions count from 1")
        }
        ("fuel", Lit::Int(number)) => {
            settings.fuel = Some(number.base10_parse()?);
            Ok(())
        }
        _ => Err(Error::new(pair.span(), EXPECTED)),
    }
}

fn check(at: impl Spanned, holds: bool, message: &str) -> syn::Result<()> {
    if holds { Ok(()) } else { Err(Error::new(at.span(), message)) }
}

fn is_kebab_case(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_version(version: &str) -> bool {
    let parts: Vec<&str> = version.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

fn parse_method(method: &mut ImplItemFn, recipe: &mut ParsedRecipe, errors: &mut Errors) {
    let doc = doc_of(&method.attrs);
    let mut marks = Vec::new();
    method.attrs.retain(|attribute| {
        let path = attribute.path();
        let is_mark = ["command", "query", "on", "migrate"].iter().any(|mark| path.is_ident(mark));
        if is_mark {
            marks.push(attribute.clone());
        }
        !is_mark
    });
    if marks.is_empty() {
        return;
    }
    check_signature(method, errors);
    for mark in &marks {
        if mark.path().is_ident("on") {
            parse_handler(mark, method, recipe, errors);
        } else if mark.path().is_ident("migrate") {
            check_parameters(method, 2..=2, "(run: &Run, from_state_version: u32)", errors);
            if recipe.migrate.replace(method.sig.ident.clone()).is_some() {
                errors.say(mark, "there is a #[migrate] already");
            }
        } else {
            let kind = if mark.path().is_ident("query") { Kind::Query } else { Kind::Command };
            parse_operation(method, kind, doc.clone(), recipe, errors);
        }
    }
}

fn check_signature(method: &ImplItemFn, errors: &mut Errors) {
    let signature = &method.sig;
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        errors.say(
            receiver,
            "state lives in the tree, not in a value: an instance lives for one run. \
             Write `call: &Call` (an operation) or `run: &Run` (a handler) instead of `self`",
        );
    }
    if let Some(word) = &signature.asyncness {
        errors.say(word, "a recipe does not await: to wait for something, park the caller");
    }
    if !signature.generics.params.is_empty() {
        errors.say(&signature.generics, "the caller sends bytes: an operation is not generic");
    }
}

fn check_parameters(
    method: &ImplItemFn,
    allowed: std::ops::RangeInclusive<usize>,
    form: &str,
    errors: &mut Errors,
) {
    let inputs = &method.sig.inputs;
    let has_receiver = matches!(inputs.first(), Some(FnArg::Receiver(_)));
    if !has_receiver && !allowed.contains(&inputs.len()) {
        let message = format!("the parameters of `{}` are {form}", method.sig.ident);
        errors.say(&method.sig, message);
    }
}

fn parse_operation(
    method: &ImplItemFn,
    kind: Kind,
    doc: String,
    recipe: &mut ParsedRecipe,
    errors: &mut Errors,
) {
    let form = "(call: &Call) or (call: &Call, arguments: T); \
                several arguments are the fields of one struct";
    check_parameters(method, 1..=2, form, errors);
    let name = method.sig.ident.to_string().trim_start_matches("r#").replace('_', "-");
    if recipe.operations.iter().any(|operation| operation.name == name) {
        errors.say(&method.sig.ident, format!("there is an operation `{name}` already"));
    }
    let Some(reply) = reply_of(&method.sig.output) else {
        return errors.say(&method.sig, "an operation gives back `Result<T>`");
    };
    recipe.operations.push(ParsedOperation {
        method: method.sig.ident.clone(),
        name,
        kind,
        arguments: method.sig.inputs.get(1).and_then(type_of),
        reply,
        doc,
    });
}

fn type_of(parameter: &FnArg) -> Option<Type> {
    match parameter {
        FnArg::Typed(typed) => Some((*typed.ty).clone()),
        FnArg::Receiver(_) => None,
    }
}

/// The `T` of `Result<T>`.
fn reply_of(output: &ReturnType) -> Option<Type> {
    let ReturnType::Type(_, of) = output else { return None };
    let Type::Path(path) = &**of else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(reply) => Some(reply.clone()),
        _ => None,
    }
}

fn parse_handler(
    mark: &Attribute,
    method: &ImplItemFn,
    recipe: &mut ParsedRecipe,
    errors: &mut Errors,
) {
    let known = || EVENTS.iter().map(|event| event.0).collect::<Vec<_>>().join(", ");
    let events = mark.parse_args_with(Punctuated::<Ident, Token![,]>::parse_terminated);
    let events = match events {
        Ok(events) if !events.is_empty() => events,
        _ => return errors.say(mark, format!("write #[on(event)]; events are {}", known())),
    };
    for event in events {
        let name = event.to_string();
        let Some((_, parameters, form)) = EVENTS.iter().find(|event| event.0 == name) else {
            errors.say(&event, format!("there is no event `{name}`; events are {}", known()));
            continue;
        };
        check_parameters(method, *parameters..=*parameters, form, errors);
        if recipe.handlers.iter().any(|handler| handler.event == name) {
            errors.say(&event, format!("there is a handler of `{name}` already"));
        }
        recipe.handlers.push(ParsedHandler { method: method.sig.ident.clone(), event: name });
    }
}

pub(crate) fn doc_of(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(literal) = &pair.value else { return None };
        match &literal.lit {
            Lit::Str(text) if pair.path.is_ident("doc") => Some(text.value().trim().to_owned()),
            _ => None,
        }
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}
