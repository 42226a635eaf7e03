//! Path matching, rule by rule: Kubernetes' own table of examples (Ingress documentation, "Path types"), each row
//! against the compiled table and `PathMatch::matches`. Then precedence, one rule a test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use routing::Config;
use routing::PathMatch;
use routing::RoutingTable;
use routing::path;

#[path = "support/objects.rs"]
mod objects;

use objects::CLASS;
use objects::IngressBuilder;
use objects::class;
use objects::ingress;

const HOST: &str = "a.example";

/// Creates an Ingress with one host and these paths, each `Exact /path` or `Prefix /path`.
fn web<'a>(rules: impl IntoIterator<Item = &'a str>) -> IngressBuilder {
    rules.into_iter().fold(ingress("shop/web").host(HOST), |ingress, rule| {
        let (path_type, path) = rule.split_once(' ').unwrap();
        let ingress = if path_type == "Exact" { ingress.exact(path) } else { ingress.path(path) };
        ingress.no_backend()
    })
}

fn compile(ingress: IngressBuilder) -> RoutingTable {
    routing::compile(Config::default(), [class(CLASS).object(), ingress.object()]).0
}

/// Checks the rule that a request finds, after conversion to canonical form. The result must be the same on a host with
/// few Routes, which are scanned, and with many, which have an index.
#[track_caller]
fn check(rules: &[&str], request: &str, expected: Option<&str>) {
    let others: Vec<String> = (0..40).map(|index| format!("Exact /other/{index}")).collect();
    let (few, others) = (rules.iter().copied(), others.iter().map(String::as_str));
    check_table(&compile(web(few.clone())), rules, request, expected);
    check_table(&compile(web(few.chain(others))), rules, request, expected);
}

#[track_caller]
fn check_table(table: &RoutingTable, rules: &[&str], request: &str, expected: Option<&str>) {
    let canonical = path::canonical(request.as_bytes()).unwrap();
    let found = table.find(HOST, &canonical).map(|route| route.path.to_string());
    assert_eq!(found.as_deref(), expected, "{request} among {rules:?}");
    let scanned =
        table.serving_host(HOST).unwrap().routes().iter().find(|route| route.path.matches(&canonical));
    assert_eq!(found, scanned.map(|route| route.path.to_string()), "lookup and the definition differ");
}

/// A request, and the rule that it finds.
struct PathRow<'a> {
    rules: &'a [&'a str],
    request: &'a str,
    expected: Option<&'a str>,
}

#[test]
fn paths_match_as_in_the_table_of_the_ingress_documentation() {
    let rows = [
        PathRow { rules: &["Prefix /"], request: "/", expected: Some("Prefix /") },
        PathRow { rules: &["Prefix /"], request: "/any/path", expected: Some("Prefix /") },
        PathRow { rules: &["Prefix /", "Prefix /aaa"], request: "/aaa", expected: Some("Prefix /aaa") },
        PathRow {
            rules: &["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"],
            request: "/aaa/bbb/ccc",
            expected: Some("Prefix /aaa/bbb"),
        },
        PathRow {
            rules: &["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"],
            request: "/aaa/bbbb",
            expected: Some("Prefix /aaa"),
        },
        PathRow { rules: &["Exact /foo"], request: "/foo", expected: Some("Exact /foo") },
        PathRow { rules: &["Exact /foo"], request: "/bar", expected: None },
        PathRow { rules: &["Exact /foo"], request: "/foo/", expected: None },
        PathRow { rules: &["Exact /foo/"], request: "/foo", expected: None },
        PathRow { rules: &["Prefix /foo"], request: "/foo", expected: Some("Prefix /foo") },
        PathRow { rules: &["Prefix /foo"], request: "/foo/", expected: Some("Prefix /foo") },
        PathRow { rules: &["Prefix /foo/"], request: "/foo", expected: Some("Prefix /foo") },
        PathRow { rules: &["Prefix /foo/"], request: "/foo/", expected: Some("Prefix /foo") },
        PathRow { rules: &["Prefix /aaa/bb"], request: "/aaa/bbb", expected: None },
        PathRow { rules: &["Prefix /aaa/bbb"], request: "/aaa/bbb", expected: Some("Prefix /aaa/bbb") },
        PathRow { rules: &["Prefix /aaa/bbb/"], request: "/aaa/bbb", expected: Some("Prefix /aaa/bbb") },
        PathRow { rules: &["Prefix /aaa/bbb"], request: "/aaa/bbb/", expected: Some("Prefix /aaa/bbb") },
        PathRow { rules: &["Prefix /aaa/bbb"], request: "/aaa/bbb/ccc", expected: Some("Prefix /aaa/bbb") },
        PathRow { rules: &["Prefix /aaa/bbb"], request: "/aaa/bbbxyz", expected: None },
        PathRow { rules: &["Prefix /", "Prefix /aaa"], request: "/aaa/ccc", expected: Some("Prefix /aaa") },
        PathRow {
            rules: &["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"],
            request: "/aaa/bbb",
            expected: Some("Prefix /aaa/bbb"),
        },
        PathRow {
            rules: &["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"],
            request: "/ccc",
            expected: Some("Prefix /"),
        },
        PathRow { rules: &["Prefix /aaa"], request: "/ccc", expected: None },
        PathRow { rules: &["Prefix /foo", "Exact /foo"], request: "/foo", expected: Some("Exact /foo") },
        PathRow { rules: &["Prefix /foo"], request: "/FOO", expected: None },
        PathRow { rules: &["Exact /foo"], request: "/FOO", expected: None },
    ];
    for PathRow { rules, request, expected } in rows {
        check(rules, request, expected);
    }
}

/// The table of wildcard hosts in the same documentation, with further rows.
#[test]
fn wildcard_hosts_match_as_in_the_ingress_documentation() {
    let table = compile(ingress("shop/web").host("*.foo.com").path("/").no_backend());
    let rows = [
        ("bar.foo.com", true),
        ("baz.bar.foo.com", false),
        ("foo.com", false),
        ("BAR.foo.COM:8080", true),
        ("bar.foo.com.", true),
        ("barfoo.com", false),
        ("bar.foo.com.evil.example", false),
        ("*.foo.com", false),
        (".foo.com", false),
    ];
    for (host, is_served) in rows {
        let host = routing::host::normalise(host.as_bytes()).unwrap_or_default();
        assert_eq!(table.find(&host, "/").is_some(), is_served, "{host}");
    }
}

/// "No, uses default backend" in the documentation.
#[test]
fn request_without_a_matching_path_gets_the_default_backend() {
    let table = compile(web(["Prefix /aaa"]).default_without_backend());
    let field = |path| table.find(HOST, path).map(|route| route.origin.field.to_string());
    assert_eq!(field("/ccc").as_deref(), Some("spec.defaultBackend"));
    assert_eq!(field("/aaa").as_deref(), Some("spec.rules[0].http.paths[0]"));
}

#[test]
fn exact_path_precedes_prefix_with_trailing_slash() {
    // By its letter, the documentation prefers the longer text `/foo/`. `/foo` and `/foo/` are one prefix.
    check(&["Prefix /foo/", "Exact /foo"], "/foo", Some("Exact /foo"));
    check(&["Prefix /foo/", "Exact /foo"], "/foo/", Some("Prefix /foo"));
    check(&["Prefix /foo", "Exact /foo/"], "/foo/", Some("Exact /foo/"));
    check(&["Prefix /", "Exact /"], "/", Some("Exact /"));
}

#[test]
fn longer_prefix_without_a_match_falls_back_to_a_shorter_one() {
    let rules = ["Prefix /a", "Prefix /a/b/c", "Exact /a/b"];
    check(&rules, "/a/b", Some("Exact /a/b"));
    check(&rules, "/a/b/", Some("Prefix /a"));
    check(&rules, "/a/b/cc", Some("Prefix /a"));
    check(&rules, "/a/b/c/d", Some("Prefix /a/b/c"));
    check(&rules, "/ab", None);
}

#[test]
fn braces_and_stars_match_literally() {
    let rules = ["Exact /{id}", "Prefix /{*rest}", "Prefix /x{y}z", "Exact /*", "Prefix /}{"];
    check(&rules, "/{id}", Some("Exact /%7Bid%7D"));
    check(&rules, "/%7Bid%7D", Some("Exact /%7Bid%7D"));
    check(&rules, "/17", None);
    check(&rules, "/{*rest}/x", Some("Prefix /%7B*rest%7D"));
    check(&rules, "/x{y}z/1", Some("Prefix /x%7By%7Dz"));
    check(&rules, "/xaz", None);
    check(&rules, "/*", Some("Exact /*"));
    check(&rules, "/}{/", Some("Prefix /%7D%7B"));
}

#[test]
fn spellings_of_one_path_find_one_route() {
    let rules = ["Prefix /admin", "Prefix /bücher", "Prefix /"];
    for request in ["/admin", "//admin", "/x/../admin/", "/%61dmin", "/./admin/x", "/x/%2E%2e/admin"] {
        check(&rules, request, Some("Prefix /admin"));
    }
    check(&rules, "/b%c3%bccher/1", Some("Prefix /b%C3%BCcher"));
    check(&rules, "/admin%2Fx", Some("Prefix /"));
}

#[test]
fn conditions_sort_by_precedence() {
    let mut conditions = [
        PathMatch::prefix("/"),
        PathMatch::prefix("/a-very-long-element"),
        PathMatch::prefix("/a/b/"),
        PathMatch::exact("/"),
        PathMatch::exact("/a/b"),
    ];
    conditions.sort();
    let sorted: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    let expected = ["Exact /a/b", "Exact /", "Prefix /a/b", "Prefix /a-very-long-element", "Prefix /"];
    assert_eq!(sorted, expected);
}
