//! Fuzzes objects of every kind, applied in deltas, by the strategies of the property tests. The table must equal
//! that of a cold compile and agree with the naive model.
#![no_main]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use proptest::strategy::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use routing::CertificateChoice;
use routing::Compiler;
use routing::RoutingTable;
use routing::object::Change;
use routing::object::Object;
use routing::path;
use routing::table::PlainRequest;

#[path = "../../routing/tests/model/naive.rs"]
mod naive;
#[allow(dead_code, reason = "the property tests use more of it")]
#[path = "../../routing/tests/model/objects.rs"]
mod objects;

use naive::Model;
use objects::REQUEST_HOSTS;

fuzz_target!(|data: &[u8]| {
    let mut compiler = Compiler::new(objects::config());
    let mut known = BTreeMap::new();
    let mut reported = BTreeSet::new();
    let mut table = RoutingTable::default();
    for delta in deltas(data) {
        for change in &delta {
            match change {
                Change::Apply(object) => known.insert(object.reference(), object.clone()),
                Change::Delete(reference) => known.remove(reference),
            };
        }
        let (next, problems) = compiler.apply(delta);
        table = next;
        assert!(problems.removed.iter().all(|problem| reported.remove(problem)), "removed, but never added");
        assert!(problems.added.into_iter().all(|problem| reported.insert(problem)), "added twice");
    }
    let objects: Vec<Object> = known.into_values().collect();
    let (cold, problems) = routing::compile(objects::config(), objects.iter().cloned());
    assert_eq!(table.to_string(), cold.to_string());
    assert_eq!(reported.into_iter().collect::<Vec<_>>(), problems);
    check_lookups(&table, &objects);
});

/// Derives one change from each four bytes, so that mutations of the input move, copy or drop whole changes.
///
/// The bytes seed a generator instead of being its random numbers: a strategy never terminates once they are used up.
fn deltas(data: &[u8]) -> Vec<Vec<Change>> {
    let mut deltas = vec![vec![Change::Apply(objects::plain_class())]];
    for chunk in data.chunks_exact(4).take(48) {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(chunk);
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), random);
        let Ok(change) = objects::change().new_tree(&mut runner) else { continue };
        if chunk[0] % 4 == 0 {
            deltas.push(Vec::new());
        }
        deltas.last_mut().expect("the first delta always exists").push(change.current());
    }
    deltas
}

/// Looks up the paths of the rules and their neighbours on all hosts.
fn check_lookups(table: &RoutingTable, objects: &[Object]) {
    let config = objects::config();
    let model = Model::new(&config, objects);
    let mut paths = BTreeSet::from(["/".to_owned()]);
    for object in objects {
        let Object::Ingress(ingress) = object else { continue };
        for written in ingress.rules.iter().flat_map(|rule| &rule.paths) {
            for suffix in ["", "/", "/x", "x"] {
                let path =
                    path::rule_path(&format!("{}{suffix}", written.path)).map(|path| path.into_owned());
                paths.extend(path);
            }
        }
    }
    for host in REQUEST_HOSTS {
        let named = table.certificates(Some(host)).filter_map(|choice| match choice {
            CertificateChoice::Named(secret) => Some(secret.clone()),
            CertificateChoice::Default(_) => None,
        });
        assert_eq!(named.collect::<Vec<_>>(), model.certificates(host), "{host}\n{table}");
        for path in &paths {
            let route = table.find(host, path);
            let found = route.map(|route| {
                (route.path.clone(), route.origin.ingress.name.clone(), route.origin.field.to_string())
            });
            assert_eq!(found, model.find(host, path), "{host} {path}\n{table}");
            let traced = table
                .match_report(host, path, &PlainRequest, &[])
                .chosen
                .map(|route| (route.ingress, route.field));
            assert_eq!(traced, found.map(|(_, name, field)| (name.to_string(), field)));
        }
    }
}
