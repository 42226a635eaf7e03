//! Conditions of Routes beside Exact and Prefix paths: their order, closed expressions, and filters. Class handlers are the
//! only source of such Routes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;

use api::class_handler::ClassOutput;
use api::class_handler::EmittedItem;
use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prop_assert_eq;
use proptest::proptest;
use proptest::sample::select;
use routing::Compiler;
use routing::Config;
use routing::HostName;
use routing::Problem;
use routing::Reason;
use routing::Route;
use routing::RoutingTable;
use routing::handler::HandlerAnswer;
use routing::handler::HandlerOutcome;
use routing::handler::HandlerTranslation;
use routing::object::Change;
use routing::table::PlainRequest;
use routing::table::RequestParts;
use routing::table::RouteVerdict;

#[path = "support/objects.rs"]
mod objects;

use objects::CLASS;
use objects::IngressBuilder;
use objects::class;
use objects::class_config;
use objects::ingress;
use objects::name;
use objects::policy;

const HOST: &str = "a.example";

/// A request with a method, header fields and a query.
#[derive(Clone, Debug, Default)]
struct Request {
    method: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    query: &'static str,
}

impl RequestParts for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn has_field(&self, name: &str, is_met: &dyn Fn(&[u8]) -> bool) -> bool {
        self.fields.iter().any(|(field, value)| field.eq_ignore_ascii_case(name) && is_met(value.as_bytes()))
    }

    fn query(&self) -> &[u8] {
        self.query.as_bytes()
    }
}

/// Creates the class with a handler.
fn handled_class() -> Vec<Change> {
    let handler = api::ClassHandler {
        url: "file://handler.wasm".to_owned(),
        dialect: vec!["example.com/".to_owned()],
        ..api::ClassHandler::default()
    };
    let spec = api::IngressClassConfigSpec {
        handler: Some(Box::new(handler)),
        ..api::IngressClassConfigSpec::default()
    };
    vec![class(CLASS).config("config").change(), class_config("config", spec)]
}

/// Parses the items of a handler's answer for Ingress `shop/web` on [`HOST`].
fn answer(items: &[&str]) -> HandlerAnswer {
    let metadata = "{namespace: shop, name: item, annotations: {wasm-gateway.dev/source-ingress: web, \
                    wasm-gateway.dev/source-annotations: example.com/a}}";
    let item = |item: &&str| format!("- metadata: {metadata}\n  {}\n", item.replace('\n', "\n  "));
    let text = format!("items:\n{}", items.iter().map(item).collect::<String>());
    let output: ClassOutput = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut translation = HandlerTranslation::default();
    for item in output.items {
        match item {
            EmittedItem::HttpRoute(route) => translation.routes.push(route),
            EmittedItem::RoutePolicy(policy) => translation.policies.push(*policy),
        }
    }
    HandlerAnswer {
        ingress: name("shop/web"),
        host: HostName::parse(HOST).unwrap(),
        outcome: HandlerOutcome::Translated(translation),
    }
}

/// Compiles an Ingress and the items of its answer.
fn compile(ingress: IngressBuilder, items: &[&str], more: Vec<Change>) -> (RoutingTable, Vec<Problem>) {
    let mut compiler = Compiler::new(Config::default());
    let mut delta = handled_class();
    delta.push(ingress.change());
    delta.extend(more);
    let (_, before) = compiler.apply(delta);
    let (table, after) = compiler.apply_answers(vec![answer(items)]);
    let kept = before.added.into_iter().filter(|problem| !after.removed.contains(problem));
    (table, kept.chain(after.added.iter().cloned()).collect())
}

fn web(paths: &[&str]) -> IngressBuilder {
    paths.iter().fold(ingress("shop/web").host(HOST), |ingress, path| ingress.path(path))
}

/// Compiles one Ingress with the path `/` and the matches of its rule.
fn compile_matches(matches: &[&str]) -> RoutingTable {
    let rules: String = matches
        .iter()
        .map(|matches| format!("\n    - {{name: rules-0-paths-0, matches: [{matches}], backendRefs: [{{name: web, port: 80}}]}}"))
        .collect();
    let item = format!("kind: HTTPRoute\nspec:\n  rules:{rules}");
    compile(web(&["/"]), &[&item], Vec::new()).0
}

fn regex(pattern: &str) -> String {
    format!("{{path: {{type: RegularExpression, value: '{pattern}'}}}}")
}

fn describe(route: Option<&Arc<Route>>) -> Option<String> {
    route.map(|route| {
        let conditions = route.conditions.as_ref().map(|conditions| format!(" [{conditions}]"));
        format!("{}{}", route.path, conditions.unwrap_or_default())
    })
}

// ===== conditions =====

#[test]
fn longest_regular_expression_precedes_after_prefix_paths() {
    let table = compile_matches(&[
        &regex("(?i)^/api"),
        &regex("(?i)^/api/v1"),
        &regex("(?i)^/api/va"),
        &regex("(?i)^/api/..$"),
        "{path: {type: PathPrefix, value: /api/v2}}",
        "{path: {type: Exact, value: /api/v2/exact}}",
    ]);
    for (path, expected) in [
        ("/API/V1/x", Some("RegularExpression (?i)^/api/v1")),
        ("/api/vax", Some("RegularExpression (?i)^/api/va")),
        ("/api/vb", Some("RegularExpression (?i)^/api/..$")),
        ("/apix", Some("RegularExpression (?i)^/api")),
        ("/api/v2/x", Some("Prefix /api/v2")),
        ("/api/v2/exact", Some("Exact /api/v2/exact")),
        ("/x/api", None),
    ] {
        assert_eq!(describe(table.find(HOST, path)).as_deref(), expected, "{path}");
    }
}

#[test]
fn equal_lengths_are_ordered_by_the_greater_text() {
    let table = compile_matches(&[&regex("^/a.c"), &regex("^/ab.")]);
    assert_eq!(describe(table.find(HOST, "/abc")).unwrap(), "RegularExpression ^/ab.");
}

#[test]
fn more_conditions_precede_and_unmet_ones_fall_back() {
    let table = compile_matches(&[
        "{path: {type: PathPrefix, value: /}}",
        "{path: {type: PathPrefix, value: /a}, headers: [{name: X-Canary, value: always}]}",
        "{path: {type: PathPrefix, value: /a}, headers: [{name: x-canary, value: always}, {name: b, value: c}]}",
        "{path: {type: PathPrefix, value: /a}, method: POST}",
        "{path: {type: PathPrefix, value: /a}, queryParams: [{name: v, value: '2'}]}",
        "{path: {type: PathPrefix, value: /a}, headers: [{type: RegularExpression, name: x-canary, value: '^b.$'}]}",
    ]);
    let rows: [(Request, &str); 7] = [
        (Request::default(), "Prefix /"),
        (
            Request { fields: vec![("X-CANARY", "always")], ..Request::default() },
            "Prefix /a [header x-canary = always]",
        ),
        (
            Request { fields: vec![("x-canary", "always"), ("B", "c")], ..Request::default() },
            "Prefix /a [header b = c, header x-canary = always]",
        ),
        (
            Request {
                method: "POST",
                fields: vec![("x-canary", "always"), ("b", "c")],
                ..Request::default()
            },
            "Prefix /a [method POST]",
        ),
        (Request { query: "v=2", ..Request::default() }, "Prefix /a [query v = 2]"),
        (Request { query: "v=3", ..Request::default() }, "Prefix /"),
        (
            Request { fields: vec![("x-canary", "bc")], ..Request::default() },
            "Prefix /a [header x-canary ~ ^b.$]",
        ),
    ];
    for (request, expected) in rows {
        assert_eq!(
            describe(table.find_request(HOST, "/a/x", &request)).as_deref(),
            Some(expected),
            "{request:?}"
        );
    }
}

#[test]
fn report_names_the_reason_of_each_loser() {
    let table = compile_matches(&[
        &regex("^/a"),
        &regex("^/a/b"),
        "{path: {type: PathPrefix, value: /a}, method: POST}",
        "{path: {type: PathPrefix, value: /a}}",
    ]);
    let post = Request { method: "POST", ..Request::default() };
    let verdicts = |request: &dyn RequestParts| -> Vec<RouteVerdict> {
        let report = table.match_report(HOST, "/a/b", request, &[]);
        report.routes.iter().map(|candidate| candidate.verdict).collect()
    };
    use RouteVerdict::{Chosen, ConditionsNotMet, LostToConditions, LostToPrefix};
    assert_eq!(verdicts(&post), [Chosen, LostToConditions, LostToPrefix, LostToPrefix]);
    assert_eq!(verdicts(&PlainRequest), [ConditionsNotMet, Chosen, LostToPrefix, LostToPrefix]);
}

#[test]
fn invalid_expression_closes_what_it_may_have_meant() {
    let paths = ["/", "/admin/(?!public)"];
    let item = "kind: HTTPRoute
spec:
  rules:
  - {name: rules-0-paths-0, matches: [{path: {type: RegularExpression, value: '^/'}}], backendRefs: [{name: web, port: 80}]}
  - {name: rules-0-paths-1, matches: [{path: {type: RegularExpression, value: '^/admin/(?!public)'}}], backendRefs: [{name: web, port: 80}]}";
    // A policy with Services must not open the closed path.
    let mut opened = policy("shop/opened").for_ingress("web").change();
    if let Change::Apply(routing::object::Object::RoutePolicy(policy)) = &mut opened {
        let port = api::Port::Number(objects::port(80));
        policy.spec.backends =
            Some(vec![api::PolicyBackend { service: "other".to_owned(), port, weight: 1 }]);
    }
    let (table, problems) = compile(web(&paths), &[item], vec![opened]);
    assert!(table.find(HOST, "/admin/x").unwrap().backends.is_empty());
    assert_eq!(table.find(HOST, "/x").unwrap().backends.len(), 1);
    let problem = problems.iter().find(|problem| problem.reason == Reason::InvalidPath).unwrap();
    assert_eq!(problem.field, "spec.rules[0].http.paths[1]");
    assert!(problem.message.contains("look-around"), "{problem}");
}

// ===== settings =====

#[test]
fn filters_precede_policies_and_those_of_annotations() {
    let route = "kind: HTTPRoute
spec:
  rules:
  - name: rules-0-paths-0
    matches: [{path: {type: PathPrefix, value: /}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: b.example, statusCode: 301}}]
    backendRefs: [{name: web, port: 80}]";
    let settings = "kind: RoutePolicy\nspec: {targetRefs: [], bodySize: 1Mi, timeouts: {connect: 3s}}";
    let own = policy("shop/own").for_ingress("web").body_size(7).change();
    let default = policy("gateway-system/class").for_class(CLASS).body_size(9).change();
    for (more, size, source) in [
        (vec![default.clone()], 1 << 20, "annotation example.com/a"),
        (vec![default, own], 7, "RoutePolicy shop/own"),
    ] {
        let (table, _) = compile(web(&["/"]), &[route, settings], more);
        let policy = &table.find(HOST, "/").unwrap().policy;
        assert_eq!(policy.spec.body_size, Some(api::ByteSize(size)));
        assert_eq!(policy.spec.redirect.as_ref().unwrap().host.as_deref(), Some("b.example"));
        let fields = policy.fields();
        let body_size = fields.iter().find(|field| field.origin.field == "spec.bodySize").unwrap();
        assert_eq!(body_size.origin.to_string(), source);
        let redirect = fields.iter().find(|field| field.origin.field == "spec.redirect.host").unwrap();
        assert_eq!(redirect.origin.to_string(), "annotation example.com/a");
    }
}

#[test]
fn policy_selects_an_expression_by_the_path_of_its_ingress() {
    let route = "kind: HTTPRoute
spec:
  rules:
  - {name: rules-0-paths-0, matches: [{path: {type: RegularExpression, value: '(?i)^/a'}}], backendRefs: [{name: web, port: 80}]}";
    let mut own = policy("shop/own").for_ingress("web").body_size(7).change();
    if let Change::Apply(routing::object::Object::RoutePolicy(policy)) = &mut own {
        policy.spec.target_refs[0].path = Some("/a".to_owned());
    }
    let (table, problems) = compile(web(&["/a"]), &[route], vec![own]);
    assert_eq!(table.find(HOST, "/AB").unwrap().policy.spec.body_size, Some(api::ByteSize(7)));
    assert!(problems.iter().all(|problem| problem.reason != Reason::TargetNotFound), "{problems:?}");
}

// ===== property =====

/// A match of a rule, in YAML.
fn any_match() -> impl Strategy<Value = String> {
    let path = select(
        &[
            "{type: Exact, value: /a}",
            "{type: Exact, value: /a/b}",
            "{type: PathPrefix, value: /}",
            "{type: PathPrefix, value: /a}",
            "{type: PathPrefix, value: /a/b}",
            "{type: RegularExpression, value: '^/a'}",
            "{type: RegularExpression, value: '(?i)^/A/.'}",
            "{type: RegularExpression, value: 'b$'}",
            "{type: RegularExpression, value: '^/a(?=x)'}",
        ][..],
    );
    let conditions = select(
        &[
            "",
            "",
            ", method: POST",
            ", headers: [{name: a, value: '1'}]",
            ", headers: [{name: a, value: '1'}, {name: b, value: '1'}]",
            ", queryParams: [{name: q, value: '1'}]",
        ][..],
    );
    (path, conditions).prop_map(|(path, conditions)| format!("{{path: {path}{conditions}}}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Lookup finds the first Route by the definition: paths, then conditions, then position. With many Routes, too.
    #[test]
    fn lookup_equals_the_definition(matches in vec(any_match(), 1..12), padding in select(&[0_usize, 20][..])) {
        let padded = (0..padding).map(|index| format!("{{path: {{type: Exact, value: /padding/{index}}}}}"));
        let all: Vec<String> = matches.iter().cloned().chain(padded).collect();
        let table = compile_matches(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let requests = [
            Request::default(),
            Request { method: "POST", ..Request::default() },
            Request { fields: vec![("a", "1"), ("b", "1")], query: "q=1", ..Request::default() },
            Request { fields: vec![("a", "1")], ..Request::default() },
        ];
        for request in &requests {
            for path in ["/", "/a", "/a/", "/A/b", "/a/b", "/a/b/c", "/ax", "/b", "/padding/3"] {
                let found = table.find_request(HOST, path, request);
                let serving = table.serving_host(HOST);
                let mut candidates: Vec<_> = serving.iter().flat_map(|host| host.routes()).collect();
                candidates.retain(|route| route.matches(path, request));
                let best = candidates.into_iter().min_by(|one, other| one.path.cmp(&other.path).then_with(|| {
                    match (&one.conditions, &other.conditions) {
                        (Some(one), Some(other)) => one.cmp(other),
                        (one, other) => other.is_some().cmp(&one.is_some()),
                    }
                }));
                prop_assert_eq!(describe(found), describe(best), "{} {:?}", path, request);
            }
        }
    }
}
