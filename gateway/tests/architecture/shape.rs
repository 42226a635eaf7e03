//! Sizes, parameters and names of the code.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::tree::{files, read, sources};

/// Lines that a source file may have.
const MAX_LINES: usize = 600;

/// Parameters that a function may have, without `self`; members of tuples are counted.
const MAX_PARAMETERS: usize = 5;

/// Modules of a program in which one type name may be defined.
const MAX_TYPES_OF_ONE_NAME: usize = 2;

/// The only file with unsafe code.
const UNSAFE_FILE: &str = "plugin-sdk/src/abi.rs";

/// Marks of unfinished work, in two parts so that this file has none.
const UNFINISHED: &[&str] = &[concat!("#[", "ignore"), concat!("todo", "!(")];

#[test]
fn files_are_short_and_state_their_purpose() {
    let files = files(".", &["rs"]);
    assert!(files.len() > 200, "sources are not found: {files:?}");
    let found: Vec<_> = files.iter().flat_map(|file| faults(file, &read(file))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn functions_have_few_parameters() {
    let found: Vec<_> = files(".", &["rs"])
        .iter()
        .flat_map(|file| {
            long_signatures(&read(file)).into_iter().map(move |fault| format!("{file}: {fault}"))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn public_async_functions_document_cancellation() {
    let found: Vec<_> = sources()
        .iter()
        .flat_map(|source| {
            silent_about_cancellation(&source.text())
                .into_iter()
                .map(move |name| format!("{}: {name}", source.path))
        })
        .collect();
    assert!(found.is_empty(), "without `# Cancellation`:\n{}", found.join("\n"));
}

#[test]
fn type_names_are_defined_at_most_twice() {
    let mut modules: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        for name in types(&source.text()) {
            let program = program(&source.krate).to_owned();
            modules.entry((program, name)).or_default().insert(source.path.clone());
        }
    }
    let found: Vec<_> = modules.iter().filter(|(_, files)| files.len() > MAX_TYPES_OF_ONE_NAME).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Returns the program that a crate is part of. The gateway's crates and its tests are one; a plugin contains only itself and
/// the SDK.
fn program(krate: &str) -> &str {
    if krate.starts_with("plugins/") || krate.starts_with("plugin-sdk") { krate } else { "gateway" }
}

#[test]
fn unsafe_code_is_in_the_abi_of_plugins_only() {
    let found: Vec<_> = files(".", &["rs"]).into_iter().filter(|file| has_unsafe_code(&read(file))).collect();
    assert_eq!(found, [UNSAFE_FILE]);
}

#[test]
fn unsafe_blocks_have_a_reason() {
    let text = read(UNSAFE_FILE);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    // Attributes and declarations of foreign functions are no blocks.
    let blocks = (0..lines.len()).filter(|at| lines[*at].contains("unsafe {"));
    let has_reason =
        |at: &usize| lines[at.saturating_sub(4)..*at].iter().any(|line| line.starts_with("// SAFETY:"));
    let found: Vec<_> =
        blocks.filter(|at| !has_reason(at)).map(|at| format!("{UNSAFE_FILE}:{}", at + 1)).collect();
    assert!(found.is_empty(), "without `// SAFETY:`: {found:?}");
}

fn has_unsafe_code(text: &str) -> bool {
    let tokens: TokenStream = text.parse().expect("Rust");
    contains_unsafe(tokens)
}

fn contains_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(name) => name == "unsafe",
        TokenTree::Group(group) => contains_unsafe(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Returns what is wrong with a source file as such.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{file} does not begin with its purpose (//!)"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        found.push(format!("{file} has {lines} lines; the limit is {MAX_LINES}"));
    }
    let code =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let marks = UNFINISHED.iter().filter(|mark| code.contains(**mark));
    found.extend(marks.map(|mark| format!("{file} contains {mark}")));
    found
}

/// Returns the functions with too many parameters.
fn long_signatures(text: &str) -> Vec<String> {
    struct Signatures(Vec<String>);
    impl Visit<'_> for Signatures {
        fn visit_signature(&mut self, signature: &syn::Signature) {
            let count: usize = signature.inputs.iter().map(values).sum();
            if count > MAX_PARAMETERS {
                self.0.push(format!("fn {} takes {count} values", signature.ident));
            }
            visit::visit_signature(self, signature);
        }
        // An ABI decides about its functions.
        fn visit_foreign_item_fn(&mut self, _: &syn::ForeignItemFn) {}
    }
    let mut found = Signatures(Vec::new());
    found.visit_file(&syn::parse_file(text).expect("Rust"));
    found.0
}

/// Returns how many values a parameter is: each member of a tuple counts.
fn values(input: &syn::FnArg) -> usize {
    match input {
        syn::FnArg::Receiver(_) => 0,
        syn::FnArg::Typed(typed) => members(&typed.ty),
    }
}

fn members(ty: &syn::Type) -> usize {
    match ty {
        syn::Type::Tuple(tuple) => tuple.elems.iter().map(members).sum::<usize>().max(1),
        syn::Type::Reference(reference) => members(&reference.elem),
        _ => 1,
    }
}

/// Returns the public functions that can be cancelled and do not document it.
fn silent_about_cancellation(text: &str) -> Vec<String> {
    struct Functions(Vec<String>);
    impl Functions {
        fn check(
            &mut self,
            attributes: &[syn::Attribute],
            visibility: &syn::Visibility,
            signature: &syn::Signature,
        ) {
            let is_public = matches!(visibility, syn::Visibility::Public(_));
            let is_documented = attributes.iter().any(|attribute| match &attribute.meta {
                syn::Meta::NameValue(syn::MetaNameValue { value: syn::Expr::Lit(text), .. }) => {
                    matches!(&text.lit, syn::Lit::Str(text) if text.value().trim() == "# Cancellation")
                }
                _ => false,
            });
            if is_public && signature.asyncness.is_some() && !is_documented {
                self.0.push(signature.ident.to_string());
            }
        }
    }
    impl Visit<'_> for Functions {
        fn visit_item_fn(&mut self, item: &syn::ItemFn) {
            self.check(&item.attrs, &item.vis, &item.sig);
        }
        fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
            self.check(&item.attrs, &item.vis, &item.sig);
        }
    }
    let mut found = Functions(Vec::new());
    found.visit_file(&syn::parse_file(text).expect("Rust"));
    found.0
}

/// Returns the names of the types and traits that a file defines at any depth outside unit tests.
fn types(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    collect_types(&syn::parse_file(text).expect("Rust").items, &mut names);
    names
}

fn collect_types(items: &[syn::Item], names: &mut Vec<String>) {
    for item in items {
        match item {
            syn::Item::Enum(item) => names.push(item.ident.to_string()),
            syn::Item::Struct(item) => names.push(item.ident.to_string()),
            syn::Item::Trait(item) => names.push(item.ident.to_string()),
            syn::Item::Type(item) => names.push(item.ident.to_string()),
            syn::Item::Mod(item) if item.ident != "tests" => {
                if let Some((_, items)) = &item.content {
                    collect_types(items, names);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn faults_of_a_file_are_found() {
    let unfinished = format!("//! Purpose.\n{}]\n    {})\n", UNFINISHED[0], UNFINISHED[1]);
    let long = format!("//! Purpose.\n{}", "\n".repeat(MAX_LINES));
    for (text, count) in [("//! Purpose.\n", 0), ("use std::fmt;\n", 1), (&long, 1), (&unfinished, 2)] {
        assert_eq!(faults("a.rs", text).len(), count, "{text}");
    }
}

#[test]
fn members_of_tuples_count_as_parameters() {
    for (text, count) in [
        ("fn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}", 0),
        ("fn f(a: u8, b: u8, c: u8, d: u8, (e, f): (u8, u8)) {}", 1),
        ("impl S { fn f(&self, a: &(u8, u8, (u8, u8, u8)), b: u8) {} }", 1),
        ("impl S { fn f(&mut self, a: &(u8, u8), b: fn(u8, u8, u8, u8), c: (), d: u8) {} }", 0),
    ] {
        assert_eq!(long_signatures(text).len(), count, "{text}");
    }
}

#[test]
fn functions_of_an_abi_are_no_signatures_of_ours() {
    let text = "unsafe extern \"C\" { fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8); }";
    assert_eq!(long_signatures(text), [""; 0]);
}

#[test]
fn unsafe_code_is_found_at_any_depth() {
    for (text, expected) in [
        ("fn f() { if a { unsafe { g() } } }", true),
        ("#[unsafe(no_mangle)] fn f() {}", true),
        ("macro_rules! m { () => { unsafe {} }; }", true),
        ("// unsafe\n/// unsafe\nfn f() { \"unsafe\"; unsafe_name(); }", false),
    ] {
        assert_eq!(has_unsafe_code(text), expected, "{text}");
    }
}

#[test]
fn silent_public_async_functions_are_found() {
    for (text, count) in [
        ("pub async fn f() {}", 1),
        ("/// Waits.\n///\n/// # Cancellation\n/// Safe.\npub async fn f() {}", 0),
        ("async fn f() {}", 0),
        ("pub fn f() {}", 0),
        ("impl S { pub async fn f() {} }", 1),
    ] {
        assert_eq!(silent_about_cancellation(text).len(), count, "{text}");
    }
}

#[test]
fn types_are_found_outside_of_tests() {
    let text = "struct A; enum B {} trait C {} type D = A; mod inner { struct E; } mod tests { struct F; }";
    assert_eq!(types(text), ["A", "B", "C", "D", "E"]);
}
