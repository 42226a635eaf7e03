//! The attribute `plugin`.

use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use quote::ToTokens;
use quote::format_ident;
use quote::quote;
use syn::Error;
use syn::ImplItem;
use syn::ItemImpl;
use syn::Type;
use syn::parse_quote;

/// The handlers of the trait that are callbacks, in the order of a stream.
const HANDLERS: [&str; 9] = [
    "on_start",
    "on_tick",
    "on_request",
    "on_request_body",
    "on_request_trailers",
    "on_response",
    "on_response_body",
    "on_response_trailers",
    "on_log",
];

/// Macros that contain no `.await` of their own.
const PLAIN_MACROS: [&str; 13] = [
    "assert", "concat", "critical", "debug", "error", "format", "info", "matches", "trace", "vec", "warn",
    "write", "writeln",
];

/// Returns the implementation and its exports.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`plugin` has no arguments"));
    }
    let mut item: ItemImpl = syn::parse2(item)?;
    check(&item)?;
    let config = associated_type(&mut item, "Config", parse_quote!(::plugin_sdk::NoConfig));
    associated_type(&mut item, "Stream", parse_quote!(()));
    let defined: Vec<_> = HANDLERS.into_iter().filter(|handler| is_defined(&item, handler)).collect();
    let mut flags = defined.clone();
    let mut exports = exports(&defined);
    if can_wait(&item) {
        flags.push("waits");
        exports.push("waits");
    }
    let flags = flags.into_iter().map(|flag| format_ident!("{flag}"));
    item.items.push(parse_quote! {
        const CALLBACKS: ::plugin_sdk::__private::Callbacks = ::plugin_sdk::__private::Callbacks {
            #(#flags: true,)*
            ..::plugin_sdk::__private::Callbacks::NONE
        };
    });
    let plugin = &item.self_ty;
    let exports = exports.into_iter().map(|export| format_ident!("{export}"));
    Ok(quote! {
        #item
        ::plugin_sdk::__export!(#plugin, #config, [#(#exports)*]);
    })
}

fn check(item: &ItemImpl) -> syn::Result<()> {
    let is_plugin = item
        .trait_
        .as_ref()
        .is_some_and(|(path, _)| path.segments.last().is_some_and(|segment| segment.ident == "Plugin"));
    if !is_plugin {
        return Err(Error::new_spanned(&item.self_ty, "`plugin` belongs on an implementation of `Plugin`"));
    }
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a plugin has no generic parameters"));
    }
    Ok(())
}

/// Returns an associated type. Adds it if it is missing.
fn associated_type(item: &mut ItemImpl, name: &str, default: Type) -> Type {
    let found = item.items.iter().find_map(|item| match item {
        ImplItem::Type(item) if item.ident == name => Some(item.ty.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| {
        let name = format_ident!("{name}");
        item.items.insert(0, parse_quote!(type #name = #default;));
        default
    })
}

fn is_defined(item: &ItemImpl, name: &str) -> bool {
    item.items.iter().any(|item| matches!(item, ImplItem::Fn(item) if item.sig.ident == name))
}

/// Returns whether a handler contains `.await`, or a macro that may. Then the module receives the answers of callouts.
fn can_wait(item: &ItemImpl) -> bool {
    item.items.iter().any(|item| match item {
        // A handler that is not `async` returns a future from elsewhere.
        ImplItem::Fn(item) if item.sig.asyncness.is_none() => {
            HANDLERS.iter().any(|handler| *handler != "on_log" && item.sig.ident == handler)
        }
        ImplItem::Fn(item) => contains_await(item.block.to_token_stream()),
        _ => false,
    })
}

fn contains_await(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_found = match token {
            TokenTree::Group(group) => contains_await(group.stream()),
            TokenTree::Ident(ident) if ident == "await" => true,
            TokenTree::Ident(ident) => {
                let is_macro = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '!');
                // `a != b` is no macro.
                let is_call = is_macro && {
                    tokens.next();
                    matches!(tokens.peek(), Some(TokenTree::Group(_)))
                };
                is_call && !PLAIN_MACROS.contains(&ident.to_string().as_str())
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        };
        if is_found {
            return true;
        }
    }
    false
}

/// Returns what the module exports beside what each module does.
fn exports(defined: &[&'static str]) -> Vec<&'static str> {
    let has = |handler| defined.contains(&handler);
    let mut exports = defined.to_vec();
    exports.retain(|handler| *handler != "on_start");
    // Trailers end a body.
    for (body, trailers) in
        [("on_request_body", "on_request_trailers"), ("on_response_body", "on_response_trailers")]
    {
        if has(body) && !has(trailers) {
            exports.push(trailers);
        }
    }
    exports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: TokenStream) -> String {
        expand(&TokenStream::new(), item).unwrap().to_string().replace(' ', "")
    }

    #[test]
    fn only_defined_handlers_are_exported() {
        for (handlers, expected) in [
            (
                quote!(
                    async fn on_request() {}
                ),
                "[on_request]",
            ),
            (
                quote!(
                    async fn on_response_body() {}
                ),
                "[on_response_bodyon_response_trailers]",
            ),
            (
                quote!(
                    async fn on_start() {}
                    fn helper() {}
                ),
                "[]",
            ),
            (
                quote!(
                    fn on_log() {}
                ),
                "[on_log]",
            ),
            (quote!(), "[]"),
        ] {
            let text = expanded(quote!(impl Plugin for Hello { type Config = Settings; #handlers }));
            assert!(text.ends_with(&format!("__export!(Hello,Settings,{expected});")), "{text}");
        }
    }

    #[test]
    fn missing_types_are_filled_in() {
        let text = expanded(quote!(
            impl plugin_sdk::Plugin for Hello {}
        ));
        assert!(text.contains("typeConfig=::plugin_sdk::NoConfig;"), "{text}");
        assert!(text.contains("typeStream=();"), "{text}");
        assert!(text.contains("__export!(Hello,::plugin_sdk::NoConfig,[]);"), "{text}");
    }

    #[test]
    fn defined_handlers_are_a_constant() {
        let text = expanded(quote!(
            impl Plugin for Hello {
                async fn on_tick() {}
            }
        ));
        let expected = "Callbacks{on_tick:true,..::plugin_sdk::__private::Callbacks::NONE}";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn answers_are_received_only_if_a_handler_can_wait() {
        for (body, waits) in [
            (quote!(call().await?), true),
            (quote!(if a != b { vec![call().await] } else { c }), true),
            (quote!(futures::join!(a, b)), true),
            (quote!(log::info!("{}", call().await)), true),
            (quote!(log::info!("a"); format!("{a}"); let b = !a && a != (c); "await"), false),
        ] {
            let text = expanded(quote!(impl Plugin for Hello { async fn on_request() { #body } }));
            assert_eq!(text.contains("waits:true"), waits, "{text}");
            assert_eq!(text.ends_with("[on_requestwaits]);"), waits, "{text}");
        }
    }

    #[test]
    fn misuse_is_an_error_with_a_reason() {
        for (arguments, item, expected) in [
            (quote!(), quote!(impl Hello {}), "belongs on an implementation of `Plugin`"),
            (quote!(), quote!(impl Clone for Hello {}), "belongs on an implementation of `Plugin`"),
            (
                quote!(),
                quote!(
                    struct Hello;
                ),
                "expected `impl`",
            ),
            (
                quote!(),
                quote!(
                    impl<T> Plugin for Hello<T> {}
                ),
                "no generic parameters",
            ),
            (quote!(name = "a"), quote!(impl Plugin for Hello {}), "`plugin` has no arguments"),
        ] {
            let error = expand(&arguments, item).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
