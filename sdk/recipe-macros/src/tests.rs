//! What the attribute complains of, and that it writes what it should.

use crate::recipe_tokens;
use proc_macro2::TokenStream;
use quote::quote;

fn settings() -> TokenStream {
    quote!(name = "lock", version = "1.0.0", state = 1)
}

/// Text of the errors, or of the code if there are none.
fn expanded(settings: TokenStream, item: TokenStream) -> String {
    recipe_tokens(settings, item).to_string()
}

#[track_caller]
fn complains(settings: TokenStream, item: TokenStream, words: &str) {
    let text = expanded(settings, item);
    assert!(text.contains("compile_error"), "no error in {text}");
    assert!(text.contains(words), "{words:?} is not in {text}");
}

fn one_command() -> TokenStream {
    quote!(
        impl Lock {
            #[command]
            fn acquire(call: &Call) -> Result<()> {
                Ok(())
            }
        }
    )
}

#[test]
fn a_sound_recipe_expands_without_errors_and_without_its_marks() {
    let text = expanded(
        settings(),
        quote!(
            /// A lock.
            impl Lock {
                /// Takes it.
                #[command]
                fn try_acquire(call: &Call, wanted: Acquire) -> Result<Reply<Grant>> {
                    todo()
                }
                #[query]
                fn holder(call: &Call) -> Result<u64> {
                    todo()
                }
                #[on(mounted)]
                fn mounted(run: &Run) -> Result<()> {
                    todo()
                }
                #[on(ticket_expired, ticket_cancelled)]
                fn ended(run: &Run, ended: EndedTicket) -> Result<()> {
                    todo()
                }
                #[migrate]
                fn migrate(run: &Run, from: u32) -> Result<()> {
                    todo()
                }
                fn plain(&self) {}
            }
        ),
    );
    assert!(!text.contains("compile_error"), "{text}");
    assert!(!text.contains("# [command]") && !text.contains("# [on"), "{text}");
    for expected in ["\"try-acquire\"", "\"Takes it.\"", "\"A lock.\"", "TicketCancelled"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn self_is_refused_with_the_reason() {
    let item = quote!(
        impl Lock {
            #[command]
            fn acquire(&mut self) -> Result<()> {}
        }
    );
    complains(settings(), item, "state lives in the tree, not in a value");
}

#[test]
fn a_recipe_without_a_name_or_operations_is_refused() {
    complains(quote!(version = "1.0.0"), one_command(), "needs a name");
    complains(settings(), quote!(impl Lock {}), "at least one #[command] or #[query]");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    complains(quote!(name = "My Lock"), one_command(), "kebab case");
    complains(quote!(name = "lock-"), one_command(), "kebab case");
    complains(quote!(name = "lock", version = "1.0"), one_command(), "three numbers");
    complains(quote!(name = "lock", state = 0), one_command(), "count from 1");
    complains(quote!(name = "lock", colour = "red"), one_command(), "expected name");
    complains(quote!(name = lock), one_command(), "expected name");
}

#[test]
fn what_is_not_an_inherent_impl_is_refused() {
    complains(
        settings(),
        quote!(
            struct Lock;
        ),
        "stands on an `impl` block",
    );
    let of_trait = quote!(
        impl Other for Lock {
            #[command]
            fn acquire(call: &Call) -> Result<()> {}
        }
    );
    complains(settings(), of_trait, "inherent `impl`");
    let generic = quote!(
        impl<T> Lock<T> {
            #[command]
            fn acquire(call: &Call) -> Result<()> {}
        }
    );
    complains(settings(), generic, "no generic parameters");
}

#[test]
fn async_and_generic_operations_are_refused() {
    let item = quote!(
        impl Lock {
            #[command]
            async fn acquire(call: &Call) -> Result<()> {}
        }
    );
    complains(settings(), item, "does not await");
    let item = quote!(
        impl Lock {
            #[query]
            fn read<T>(call: &Call) -> Result<T> {}
        }
    );
    complains(settings(), item, "not generic");
}

#[test]
fn wrong_parameters_are_told_the_right_ones() {
    let item = quote!(
        impl Lock {
            #[command]
            fn acquire(call: &Call, wait_ms: u64, note: String) -> Result<()> {}
        }
    );
    complains(settings(), item, "fields of one struct");
    let item = quote!(
        impl Lock {
            #[command]
            fn acquire(call: &Call) -> Result<()> {}
            #[on(session_closed)]
            fn closed(run: &Run) -> Result<()> {}
        }
    );
    complains(settings(), item, "(run: &Run, session: SessionId)");
}

#[test]
fn unknown_and_repeated_events_are_refused() {
    let item = quote!(
        impl Lock {
            #[on(expired)]
            fn expired(run: &Run) -> Result<()> {}
        }
    );
    complains(settings(), item, "there is no event `expired`; events are mounted");
    let item = quote!(
        impl Lock {
            #[on(mounted)]
            fn one(run: &Run) -> Result<()> {}
            #[on(mounted)]
            fn two(run: &Run) -> Result<()> {}
        }
    );
    complains(settings(), item, "a handler of `mounted` already");
    let item = quote!(
        impl Lock {
            #[on]
            fn one(run: &Run) -> Result<()> {}
        }
    );
    complains(settings(), item, "write #[on(event)]");
}

#[test]
fn two_operations_of_one_name_are_refused() {
    let item = quote!(
        impl Lock {
            #[command]
            fn take_it(call: &Call) -> Result<()> {}
            #[query]
            fn take_it(call: &Call) -> Result<()> {}
        }
    );
    complains(settings(), item, "an operation `take-it` already");
}

#[test]
fn every_error_is_reported_at_once() {
    let item = quote!(
        impl Lock {
            #[command]
            fn acquire(&self) -> Result<()> {}
            #[on(nonsense)]
            fn nonsense(run: &Run) -> Result<()> {}
        }
    );
    let text = expanded(quote!(version = "x"), item);
    assert_eq!(text.matches("compile_error").count(), 4, "{text}");
}
