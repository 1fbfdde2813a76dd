//! Writes the code of a recipe that was read.
//!
//! Comes in: a [`ParsedRecipe`]. Goes out: tokens that name everything by its full path.

use crate::parse::{Kind, ParsedHandler, ParsedOperation, ParsedRecipe};
use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn expand(recipe: &ParsedRecipe) -> TokenStream {
    let item = &recipe.item;
    let recipe_type = &item.self_ty;
    let describe = expand_describe(recipe);
    let name = &recipe.name;
    let operations = recipe.operations.iter().map(expand_operation);
    let handlers = recipe.handlers.iter().map(expand_handler);
    let migrate = expand_migrate(recipe);
    quote! {
        #item

        impl ::quorate_recipe::Recipe for #recipe_type {
            #describe

            fn invoke(
                call: &::quorate_recipe::Call,
                operation: &str,
                arguments: &[u8],
            ) -> ::quorate_recipe::Result<::quorate_recipe::Outcome> {
                match operation {
                    #(#operations)*
                    _ => ::core::result::Result::Err(::quorate_recipe::Failure::new(
                        "unknown-operation",
                        ::std::format!("{} has no operation {operation:?}", #name),
                    )),
                }
            }

            fn on_event(
                run: &::quorate_recipe::Run,
                event: &::quorate_recipe::Event,
            ) -> ::quorate_recipe::Result<()> {
                match event {
                    #(#handlers)*
                    _ => { let _ = run; ::core::result::Result::Ok(()) }
                }
            }

            #migrate
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::quorate_recipe::export_component!(#recipe_type);
        };
    }
}

fn expand_describe(recipe: &ParsedRecipe) -> TokenStream {
    let ParsedRecipe { name, state_version, doc, .. } = recipe;
    let version = match &recipe.version {
        Some(version) => quote!(#version),
        None => quote!(::core::env!("CARGO_PKG_VERSION")),
    };
    let fuel_wanted = match recipe.fuel {
        Some(fuel) => quote!(::core::option::Option::Some(#fuel)),
        None => quote!(::core::option::Option::None),
    };
    let config_schema = match &recipe.config {
        Some(config) => quote!(::quorate_recipe::schema_of::<#config>()),
        None => quote!(::std::string::String::new()),
    };
    let operations = recipe.operations.iter().map(|operation| {
        let ParsedOperation { name, doc, reply, .. } = operation;
        let arguments = match &operation.arguments {
            Some(arguments) => quote!(::quorate_recipe::schema_of::<#arguments>()),
            None => quote!(::quorate_recipe::schema_of::<()>()),
        };
        let kind = match operation.kind {
            Kind::Command => quote!(Command),
            Kind::Query => quote!(Query),
        };
        quote! {
            ::quorate_recipe::OperationDescriptor {
                name: #name,
                kind: ::quorate_recipe::OperationKind::#kind,
                doc: #doc,
                arguments_schema: #arguments,
                reply_schema: ::quorate_recipe::schema_of::<#reply>(),
            },
        }
    });
    quote! {
        fn describe() -> ::quorate_recipe::Descriptor {
            ::quorate_recipe::Descriptor {
                name: #name,
                version: #version,
                state_version: #state_version,
                doc: #doc,
                operations: ::std::vec![#(#operations)*],
                config_schema: #config_schema,
                fuel_wanted: #fuel_wanted,
            }
        }
    }
}

fn expand_operation(operation: &ParsedOperation) -> TokenStream {
    let ParsedOperation { method, name, .. } = operation;
    let convert = match operation.kind {
        Kind::Command => quote!(::quorate_recipe::IntoOutcome::into_outcome),
        Kind::Query => quote!(::quorate_recipe::IntoReply::into_reply),
    };
    if operation.arguments.is_some() {
        return quote! {
            #name => {
                let arguments = ::quorate_recipe::read_arguments(arguments)?;
                #convert(Self::#method(call, arguments)?)
            }
        };
    }
    quote! {
        #name => {
            let () = ::quorate_recipe::read_no_arguments(arguments)?;
            #convert(Self::#method(call)?)
        }
    }
}

fn expand_handler(handler: &ParsedHandler) -> TokenStream {
    let method = &handler.method;
    let event = quote!(::quorate_recipe::Event);
    match handler.event.as_str() {
        "mounted" => quote!(#event::Mounted => Self::#method(run),),
        "object_created" => quote!(#event::ObjectCreated => Self::#method(run),),
        "config_changed" => quote! {
            #event::ConfigChanged(before) => {
                Self::#method(run, ::quorate_recipe::read_config(before)?)
            }
        },
        "session_closed" => quote! {
            #event::SessionClosed(session) => Self::#method(run, *session),
        },
        "timer" => quote!(#event::Timer(name) => Self::#method(run, name),),
        "ticket_expired" => quote!(#event::TicketExpired(ended) => Self::#method(run, *ended),),
        "ticket_cancelled" => quote! {
            #event::TicketCancelled(ended) => Self::#method(run, *ended),
        },
        "znode_changed" => quote!(#event::ZnodeChanged(path) => Self::#method(run, path),),
        other => unreachable!("event {other} is not in the table of events"),
    }
}

fn expand_migrate(recipe: &ParsedRecipe) -> TokenStream {
    let body = match &recipe.migrate {
        Some(method) => quote!(Self::#method(run, from_state_version)),
        None => {
            let state_version = recipe.state_version;
            quote! {{
                let _ = run;
                ::quorate_recipe::no_migration(from_state_version, #state_version)
            }}
        }
    };
    quote! {
        fn migrate(
            run: &::quorate_recipe::Run,
            from_state_version: u32,
        ) -> ::quorate_recipe::Result<()> {
            #body
        }
    }
}
