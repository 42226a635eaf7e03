//! Path matching, rule by rule: Kubernetes' own table of examples (Ingress documentation, "Path types"), each row
//! against the compiled tree and against `PathMatch::matches`; then precedence, one test a sentence.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use routing::Config;
use routing::PathMatch;
use routing::RoutingTable;
use routing::object::BackendError;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Name;
use routing::object::Object;
use routing::path;

const HOST: &str = "a.example";

/// An Ingress with one host and these rules, each `Exact /path` or `Prefix /path`.
fn ingress<'a>(rules: impl IntoIterator<Item = &'a str>) -> Ingress {
    let paths = rules.into_iter().map(|rule| {
        let (kind, path) = rule.split_once(' ').unwrap();
        IngressPath {
            path: path.into(),
            path_type: Some(kind.into()),
            backend: IngressBackend::Invalid(BackendError::Missing),
        }
    });
    Ingress {
        name: Name::new("shop", "web"),
        class: Some("gateway".into()),
        rules: [IngressRule { host: Some(HOST.into()), paths: paths.collect() }].into(),
        ..Ingress::default()
    }
}

fn compile(ingress: Ingress) -> RoutingTable {
    let controller = Config::default().controller.into();
    let class = IngressClass { name: Name::new("", "gateway"), controller, ..IngressClass::default() };
    routing::compile(Config::default(), [Object::IngressClass(class), Object::Ingress(ingress)]).0
}

/// Which rule takes the request, or nothing. The request goes through the canonical form first, as in life. It must
/// make no difference whether the host has few Routes, which are scanned, or many, which have an index.
#[track_caller]
fn check(rules: &[&str], request: &str, expected: Option<&str>) {
    let others: Vec<String> = (0..40).map(|index| format!("Exact /other/{index}")).collect();
    let (few, others) = (rules.iter().copied(), others.iter().map(String::as_str));
    check_table(&compile(ingress(few.clone())), rules, request, expected);
    check_table(&compile(ingress(few.chain(others))), rules, request, expected);
}

#[track_caller]
fn check_table(table: &RoutingTable, rules: &[&str], request: &str, expected: Option<&str>) {
    let canonical = path::canonical(request.as_bytes()).unwrap();
    let found = table.find(HOST, &canonical).map(|route| route.path.to_string());
    assert_eq!(found.as_deref(), expected, "{request} among {rules:?}");
    let scanned =
        table.serving_host(HOST).unwrap().routes().iter().find(|route| route.path.matches(&canonical));
    assert_eq!(found, scanned.map(|route| route.path.to_string()), "finding and the definition differ");
}

#[test]
fn the_table_of_the_ingress_documentation_holds_row_by_row() {
    let rows: [(&[&str], &str, Option<&str>); 26] = [
        (&["Prefix /"], "/", Some("Prefix /")),
        (&["Prefix /"], "/any/path", Some("Prefix /")),
        (&["Prefix /", "Prefix /aaa"], "/aaa", Some("Prefix /aaa")),
        (&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/aaa/bbb/ccc", Some("Prefix /aaa/bbb")),
        (&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/aaa/bbbb", Some("Prefix /aaa")),
        (&["Exact /foo"], "/foo", Some("Exact /foo")),
        (&["Exact /foo"], "/bar", None),
        (&["Exact /foo"], "/foo/", None),
        (&["Exact /foo/"], "/foo", None),
        (&["Prefix /foo"], "/foo", Some("Prefix /foo")),
        (&["Prefix /foo"], "/foo/", Some("Prefix /foo")),
        (&["Prefix /foo/"], "/foo", Some("Prefix /foo")),
        (&["Prefix /foo/"], "/foo/", Some("Prefix /foo")),
        (&["Prefix /aaa/bb"], "/aaa/bbb", None),
        (&["Prefix /aaa/bbb"], "/aaa/bbb", Some("Prefix /aaa/bbb")),
        (&["Prefix /aaa/bbb/"], "/aaa/bbb", Some("Prefix /aaa/bbb")),
        (&["Prefix /aaa/bbb"], "/aaa/bbb/", Some("Prefix /aaa/bbb")),
        (&["Prefix /aaa/bbb"], "/aaa/bbb/ccc", Some("Prefix /aaa/bbb")),
        (&["Prefix /aaa/bbb"], "/aaa/bbbxyz", None),
        (&["Prefix /", "Prefix /aaa"], "/aaa/ccc", Some("Prefix /aaa")),
        (&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/aaa/bbb", Some("Prefix /aaa/bbb")),
        (&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/ccc", Some("Prefix /")),
        (&["Prefix /aaa"], "/ccc", None),
        (&["Prefix /foo", "Exact /foo"], "/foo", Some("Exact /foo")),
        (&["Prefix /foo"], "/FOO", None),
        (&["Exact /foo"], "/FOO", None),
    ];
    for (rules, request, expected) in rows {
        check(rules, request, expected);
    }
}

/// The same documentation's table of wildcard hosts, and its neighbours.
#[test]
fn the_table_of_wildcard_hosts_holds_row_by_row() {
    let mut wildcard = ingress(["Prefix /"]);
    let rule = IngressRule { host: Some("*.foo.com".into()), ..wildcard.rules[0].clone() };
    wildcard.rules = [rule].into();
    let table = compile(wildcard);
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

/// "No, uses default backend", says the documentation where no path matches.
#[test]
fn what_no_path_takes_goes_to_the_default_backend() {
    let mut ingress = ingress(["Prefix /aaa"]);
    ingress.default_backend = Some(IngressBackend::Invalid(BackendError::Missing));
    let table = compile(ingress);
    let field = |path| table.find(HOST, path).map(|route| route.origin.field.to_string());
    assert_eq!(field("/ccc").as_deref(), Some("spec.defaultBackend"));
    assert_eq!(field("/aaa").as_deref(), Some("spec.rules[0].http.paths[0]"));
}

#[test]
fn exact_beats_a_prefix_written_with_a_slash() {
    // Read literally, the documentation would let the longer text `/foo/` win. `/foo` and `/foo/` are one prefix.
    check(&["Prefix /foo/", "Exact /foo"], "/foo", Some("Exact /foo"));
    check(&["Prefix /foo/", "Exact /foo"], "/foo/", Some("Prefix /foo"));
    check(&["Prefix /foo", "Exact /foo/"], "/foo/", Some("Exact /foo/"));
    check(&["Prefix /", "Exact /"], "/", Some("Exact /"));
}

#[test]
fn a_longer_prefix_that_does_not_match_gives_way_to_a_shorter_one() {
    let rules = ["Prefix /a", "Prefix /a/b/c", "Exact /a/b"];
    check(&rules, "/a/b", Some("Exact /a/b"));
    check(&rules, "/a/b/", Some("Prefix /a"));
    check(&rules, "/a/b/cc", Some("Prefix /a"));
    check(&rules, "/a/b/c/d", Some("Prefix /a/b/c"));
    check(&rules, "/ab", None);
}

#[test]
fn braces_and_stars_are_text() {
    let rules = ["Exact /{id}", "Prefix /{*rest}", "Prefix /x{y}z", "Exact /*", "Prefix /}{"];
    check(&rules, "/{id}", Some("Exact /{id}"));
    check(&rules, "/17", None);
    check(&rules, "/{*rest}/x", Some("Prefix /{*rest}"));
    check(&rules, "/x{y}z/1", Some("Prefix /x{y}z"));
    check(&rules, "/xaz", None);
    check(&rules, "/*", Some("Exact /*"));
    check(&rules, "/}{/", Some("Prefix /}{"));
}

#[test]
fn spellings_of_one_path_take_one_route() {
    let rules = ["Prefix /admin", "Prefix /bücher", "Prefix /"];
    for request in ["/admin", "//admin", "/x/../admin/", "/%61dmin", "/./admin/x", "/x/%2E%2e/admin"] {
        check(&rules, request, Some("Prefix /admin"));
    }
    check(&rules, "/b%c3%bccher/1", Some("Prefix /b%C3%BCcher"));
    check(&rules, "/admin%2Fx", Some("Prefix /"));
}

#[test]
fn precedence_is_an_order() {
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
