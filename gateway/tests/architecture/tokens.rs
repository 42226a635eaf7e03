//! A source file as tokens: paths that it names, without comments and unit tests.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Parses a file; comments are not part of the result, and `#[cfg(test)]` items are removed.
pub(crate) fn parse(path: &str, text: &str) -> Vec<TokenTree> {
    let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    without_tests(stream.into_iter().collect())
}

/// Removes each item behind a `#[cfg(test)]` attribute, at all depths.
fn without_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        let follows_hash = matches!(kept.last(), Some(TokenTree::Punct(punct)) if punct.as_char() == '#');
        match token {
            TokenTree::Group(group) if follows_hash && is_cfg_test(&group.stream()) => {
                kept.pop();
                // The item ends with its body or a semicolon.
                for token in rest.by_ref() {
                    let is_body =
                        matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
                    if is_body || is_punct(&token, ';') {
                        break;
                    }
                }
            }
            TokenTree::Group(group) => {
                let inner: TokenStream =
                    without_tests(group.stream().into_iter().collect()).into_iter().collect();
                kept.push(TokenTree::Group(proc_macro2::Group::new(group.delimiter(), inner)));
            }
            other => kept.push(other),
        }
    }
    kept
}

fn is_cfg_test(attribute: &TokenStream) -> bool {
    attribute.to_string().replace(' ', "") == "cfg(test)"
}

pub(crate) fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Returns every `a::b::c` path in the tokens, with groups in braces expanded. Paths of one segment are left out.
pub(crate) fn paths(tokens: &[TokenTree]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: &[TokenTree], found: &mut BTreeSet<Vec<String>>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) if !is_behind_colons(tokens, at) => {
                at = expand(tokens, at, &[], found).max(at + 1)
            }
            TokenTree::Group(group) => {
                collect(&group.stream().into_iter().collect::<Vec<_>>(), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Is the token the continuation of a path?
fn is_behind_colons(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && is_punct(&tokens[at - 1], ':') && is_punct(&tokens[at - 2], ':')
}

/// Reads one path from `at` on, behind a prefix, and returns the position behind it.
fn expand(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    found: &mut BTreeSet<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => path.push(name.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && !path.is_empty() => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                for item in inner.split(|token| is_punct(token, ',')) {
                    expand(item, 0, &path, found);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        let is_continued = matches!(tokens.get(at..at + 2), Some([first, second]) if is_punct(first, ':') && is_punct(second, ':'));
        if !is_continued {
            break;
        }
        at += 2;
    }
    if path.len() > 1 {
        found.insert(path);
    }
    at
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "use crate::{a::B, c::{self, D}};\n// crate::comment\nfn f() { super::g(); log!(\"{}\", crate::h::I); }\n\
                #[cfg(test)]\nmod tests { use crate::hidden; }\n#[cfg(test)]\nmod other;\nuse x::Y as Z;";
    let found: Vec<_> = paths(&parse("sample", text)).into_iter().map(|path| path.join("::")).collect();
    let expected = ["crate::a::B", "crate::c::D", "crate::c::self", "crate::h::I", "super::g", "x::Y"];
    assert_eq!(found, expected);
}
