//! Fuzzes lookups. The input becomes a few Ingresses, applied in several deltas, and a request. The table must
//! agree with a scan over all rules in order of precedence, and with the table of a cold compile.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routing::Compiler;
use routing::Config;
use routing::RoutingTable;
use routing::object::BackendError;
use routing::object::Change;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Name;
use routing::object::Object;
use routing::path;
use routing::table::PlainRequest;

#[allow(dead_code, reason = "the property tests use more of it")]
#[path = "../../routing/tests/model/naive.rs"]
mod naive;

use naive::Model;

/// Hosts of the rules. The empty string is a rule without host.
const HOSTS: [&str; 4] = ["a.example", "b.example", "*.example", ""];
const REQUEST_HOSTS: [&str; 5] = ["a.example", "b.example", "c.example", "x.a.example", ""];
const TYPES: [&str; 3] = ["Exact", "Prefix", "ImplementationSpecific"];

fuzz_target!(|data: &[u8]| {
    let (request, rules) = data.split_at(data.len().min(24));
    let ingresses = ingresses(rules);
    let class = IngressClass {
        name: Name::new("", "gateway"),
        controller: Config::default().controller.into(),
        ..IngressClass::default()
    };
    let mut objects = vec![Object::IngressClass(class)];
    objects.extend(ingresses.iter().cloned().map(Object::Ingress));

    let mut compiler = Compiler::new(Config::default());
    let mut table = RoutingTable::default();
    for object in objects.iter().rev() {
        table = compiler.apply(vec![Change::Apply(object.clone())]).0;
    }
    let config = Config::default();
    let (cold, _) = routing::compile(config.clone(), objects.iter().cloned());
    let model = Model::new(&config, &objects);
    assert_eq!(cold.to_string(), table.to_string());

    let mut paths: Vec<String> = path::canonical(request).into_iter().map(|path| path.into_owned()).collect();
    // Requests cover the paths of the rules and their neighbours.
    for written in ingresses.iter().flat_map(|ingress| &*ingress.rules).flat_map(|rule| &rule.paths) {
        for suffix in ["", "/", "/x", "x"] {
            paths.extend(path::rule_path(&format!("{}{suffix}", written.path)).map(|path| path.into_owned()));
        }
    }
    for host in REQUEST_HOSTS {
        for path in &paths {
            let found = table.find(host, path).map(|route| {
                (route.path.clone(), route.origin.ingress.name.clone(), route.origin.field.to_string())
            });
            let traced = table
                .match_report(host, path, &PlainRequest, &[])
                .chosen
                .map(|route| (route.ingress, route.field));
            assert_eq!(traced, found.as_ref().map(|(_, name, field)| (name.to_string(), field.clone())));
            assert_eq!(found, model.find(host, path), "{host} {path}\n{table}");
        }
    }
});

/// Parses one rule a line: the first byte selects Ingress, host and path type, the rest is the path.
fn ingresses(data: &[u8]) -> Vec<Ingress> {
    let mut rules: [Vec<IngressRule>; 4] = Default::default();
    for line in data.split(|byte| *byte == b'\n').take(32) {
        let Some((kind, path)) = line.split_first() else { continue };
        let kind = usize::from(*kind);
        let rule = IngressRule {
            host: Some(HOSTS[kind / 4 % 4]).filter(|host| !host.is_empty()).map(Into::into),
            paths: vec![IngressPath {
                path: String::from_utf8_lossy(path).into(),
                path_type: Some(TYPES[kind / 16 % 3].into()),
                backend: IngressBackend::Invalid(BackendError::Missing),
            }],
        };
        rules[kind % 4].push(rule);
    }
    let ingress = |(index, rules): (i64, Vec<IngressRule>)| Ingress {
        name: Name::new("fuzz", &format!("i{index}")),
        created: (index != 2).then_some(7 - index),
        class: Some("gateway".into()),
        rules: rules.into(),
        ..Ingress::default()
    };
    (0..).zip(rules).map(ingress).collect()
}
