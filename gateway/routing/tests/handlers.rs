//! Class handlers: which calls are due, what answers change, and what an output may refer to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;

use api::class_handler::AnnotationVerdict;
use api::class_handler::ClassInput;
use api::class_handler::ClassOutput;
use api::class_handler::RequirementKind;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use routing::Compiler;
use routing::Config;
use routing::RoutingTable;
use routing::handler::HandlerAnswer;
use routing::handler::HandlerCall;
use routing::handler::HandlerOutcome;
use routing::handler::SplitError;
use routing::handler::split;
use routing::object::Annotation;
use routing::object::Change;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressClassConfig;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Kind;
use routing::object::Name;
use routing::object::Object;
use routing::object::ObjectRef;
use routing::object::ParametersRef;
use routing::object::PortRef;
use routing::object::Service;

const HOSTS: [&str; 4] = ["a.example", "b.example", "*.example", ""];

fn class() -> Vec<Change> {
    let handler = api::ClassHandler {
        url: "configmap://m/k".to_owned(),
        dialect: vec!["d.example/".to_owned()],
        ..api::ClassHandler::default()
    };
    let spec = api::IngressClassConfigSpec {
        handler: Some(Box::new(handler)),
        ..api::IngressClassConfigSpec::default()
    };
    let parameters = ParametersRef {
        group: api::GROUP.into(),
        kind: "IngressClassConfig".into(),
        name: "c".into(),
        namespace: None,
    };
    let class = IngressClass {
        name: Name::new("", "dialect"),
        controller: api::CONTROLLER.into(),
        parameters: Some(parameters),
        ..IngressClass::default()
    };
    let config = IngressClassConfig { name: Name::new("", "c"), folder: None, spec };
    vec![Change::Apply(Object::IngressClassConfig(config)), Change::Apply(Object::IngressClass(class))]
}

fn ingress(name: &str, hosts: &[&str], value: &str) -> Ingress {
    let path = IngressPath {
        path: format!("/{name}").into(),
        path_type: Some("Prefix".into()),
        backend: IngressBackend::Service {
            name: "web".into(),
            port: PortRef::Number(80.try_into().unwrap()),
        },
    };
    let rule = |host: &&str| IngressRule {
        host: (!host.is_empty()).then(|| (*host).into()),
        paths: vec![path.clone()],
    };
    Ingress {
        name: Name::new("shop", name),
        class: Some("dialect".into()),
        annotations: Box::new([Annotation { key: "d.example/size".into(), value: value.into() }]),
        rules: hosts.iter().map(rule).collect(),
        ..Ingress::default()
    }
}

fn apply(ingress: Ingress) -> Change {
    Change::Apply(Object::Ingress(ingress))
}

fn delete(name: &str) -> Change {
    Change::Delete(ObjectRef { kind: Kind::Ingress, name: Name::new("shop", name) })
}

/// A handler in Rust: each path keeps its meaning, and `d.example/size` limits bodies, or fails.
fn translate(input: &ClassInput) -> Result<ClassOutput, String> {
    let mut output = ClassOutput::default();
    for ingress in input.ingresses() {
        output.route(ingress, ingress.paths().map(|path| path.rule()).collect(), &[]);
        for (key, value) in ingress.annotations("d.example/") {
            let size = value.parse().map_err(|_| format!("{value} is no size"))?;
            let spec = api::RoutePolicySpec { body_size: Some(size), ..api::RoutePolicySpec::default() };
            output.policy(ingress, spec, &[key]);
            output.result(ingress, key, AnnotationVerdict::Exact, "");
        }
    }
    Ok(output)
}

fn answer(call: &HandlerCall) -> Vec<HandlerAnswer> {
    let outcome = translate(&call.input);
    let names = call.input.ingresses().map(|from| Name::new(&from.metadata.namespace, &from.metadata.name));
    let host = &call.subject.host;
    match outcome {
        Ok(output) => split(&call.input, output)
            .unwrap()
            .into_iter()
            .map(|(ingress, part)| HandlerAnswer {
                ingress,
                host: host.clone(),
                outcome: HandlerOutcome::Translated(part),
            })
            .collect(),
        Err(reason) => names
            .map(|ingress| HandlerAnswer {
                ingress,
                host: host.clone(),
                outcome: HandlerOutcome::Failed(Arc::from(reason.as_str())),
            })
            .collect(),
    }
}

/// Answers all calls that are due. Returns their hosts, and the table.
fn settle(compiler: &mut Compiler) -> (Vec<String>, RoutingTable) {
    let mut hosts = Vec::new();
    loop {
        let calls = compiler.take_handler_calls();
        if calls.is_empty() {
            return (hosts, compiler.apply(Vec::new()).0);
        }
        hosts.extend(calls.iter().map(|call| call.subject.host.to_string()));
        compiler.apply_answers(calls.iter().flat_map(answer).collect());
    }
}

#[test]
fn change_of_an_ingress_asks_about_its_hosts_alone() {
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(class());
    compiler.apply(vec![
        apply(ingress("one", &["a.example", "b.example"], "1")),
        apply(ingress("two", &["b.example", "c.example"], "1")),
    ]);
    assert_eq!(settle(&mut compiler).0, ["a.example", "b.example", "c.example"]);
    compiler.apply(vec![apply(ingress("one", &["a.example", "b.example"], "2"))]);
    assert_eq!(settle(&mut compiler).0, ["a.example", "b.example"]);
    compiler.apply(vec![apply(ingress("one", &["a.example"], "2"))]);
    assert_eq!(settle(&mut compiler).0, ["a.example", "b.example"], "it left b.example");
    let service = Service { name: Name::new("shop", "web"), ..Service::default() };
    compiler.apply(vec![Change::Apply(Object::Service(service))]);
    assert_eq!(settle(&mut compiler).0, ["a.example", "b.example", "c.example"], "a Service is read, too");
    assert_eq!(settle(&mut compiler).0, [""; 0]);
}

#[test]
fn input_holds_the_rules_of_its_host_alone() {
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(class());
    compiler.apply(vec![apply(ingress("one", &["a.example", "b.example", ""], "1"))]);
    let calls = compiler.take_handler_calls();
    let hosts: Vec<_> = calls.iter().map(|call| call.input.function_config.host.as_deref()).collect();
    assert_eq!(hosts, [Some("a.example"), Some("b.example"), None]);
    for call in calls {
        let ingresses: Vec<_> = call.input.ingresses().collect();
        assert_eq!((ingresses.len(), ingresses[0].spec.rules.len()), (1, 1));
        assert_eq!(ingresses[0].spec.rules[0].host, call.input.function_config.host);
        assert!(!call.is_answered);
    }
}

#[test]
fn answer_about_an_ingress_that_left_is_dropped() {
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(class());
    compiler.apply(vec![apply(ingress("one", &["a.example"], "1"))]);
    let late: Vec<_> = compiler.take_handler_calls().iter().flat_map(answer).collect();
    compiler.apply(vec![delete("one")]);
    let (table, _) = compiler.apply_answers(late);
    assert_eq!(table.to_string(), RoutingTable::default().to_string());
}

#[test]
fn output_about_others_is_refused() {
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(class());
    compiler.apply(vec![apply(ingress("one", &["a.example"], "1"))]);
    let input = compiler.take_handler_calls().remove(0).input;
    let one = input.ingresses().next().unwrap();
    let mut other = one.clone();
    other.metadata.namespace = "elsewhere".to_owned();
    let edited = |edit: fn(&mut api::RoutePolicySpec)| {
        let mut spec = api::RoutePolicySpec::default();
        edit(&mut spec);
        let mut output = ClassOutput::default();
        output.policy(one, spec, &[]);
        output
    };
    let target = |name: &str, host: Option<&str>| api::TargetRef {
        group: "networking.k8s.io".to_owned(),
        kind: api::TargetKind::Ingress,
        name: name.to_owned(),
        host: host.map(str::to_owned),
        path: None,
    };
    let mut foreign = ClassOutput::default();
    foreign.route(&other, one.paths().map(|path| path.rule()).collect(), &[]);
    assert!(matches!(split(&input, foreign), Err(SplitError::Foreign { .. })));
    let mut result = ClassOutput::default();
    result.result(&other, "d.example/size", AnnotationVerdict::Exact, "");
    assert!(matches!(split(&input, result), Err(SplitError::Foreign { .. })));
    let mut required = ClassOutput::default();
    required.require(RequirementKind::Secret, "kube-system", "token");
    assert!(matches!(split(&input, required), Err(SplitError::Requirement(..))));
    for (target, is_allowed) in [
        (target("one", None), true),
        (target("one", Some("a.example")), true),
        (target("one", Some("b.example")), false),
        (target("two", None), false),
        (api::TargetRef { kind: api::TargetKind::IngressClass, ..target("one", None) }, false),
    ] {
        let mut output = edited(|_| {});
        let api::class_handler::EmittedItem::RoutePolicy(policy) = &mut output.items[0] else { panic!() };
        policy.spec.target_refs = vec![target.clone()];
        assert_eq!(split(&input, output).is_ok(), is_allowed, "{target:?}");
    }
}

/// A change of one Ingress.
fn change() -> impl Strategy<Value = Change> {
    let hosts = vec(select(&HOSTS[..]), 0..3);
    let name = select(&["one", "two", "three"][..]);
    let value = select(&["1", "2", "broken"][..]);
    (name, proptest::option::weighted(0.8, (hosts, value))).prop_map(|(name, state)| match state {
        Some((hosts, value)) => apply(ingress(name, &hosts, value)),
        None => delete(name),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A failed call keeps what was there before, so only sequences without one equal a compilation of the end.
    #[test]
    fn answers_in_any_order_equal_a_cold_start(changes in vec(vec(change(), 1..3), 1..8)) {
        let mut compiler = Compiler::new(Config::default());
        compiler.apply(class());
        let mut last = std::collections::BTreeMap::new();
        for delta in changes {
            let is_broken = |change: &Change| format!("{change:?}").contains("broken");
            let delta: Vec<_> = delta.into_iter().filter(|change| !is_broken(change)).collect();
            for change in &delta {
                let name = match change {
                    Change::Apply(object) => object.reference(),
                    Change::Delete(reference) => reference.clone(),
                };
                last.insert(name, change.clone());
            }
            compiler.apply(delta);
            settle(&mut compiler);
        }
        let mut cold = Compiler::new(Config::default());
        cold.apply(class().into_iter().chain(last.into_values()).collect());
        prop_assert_eq!(settle(&mut compiler).1.to_string(), settle(&mut cold).1.to_string());
    }

    /// Whatever a handler says about one host, the tables of all other hosts stay.
    #[test]
    fn answer_for_a_host_changes_no_other(changes in vec(change(), 1..6), pick in 0_usize..8) {
        let mut compiler = Compiler::new(Config::default());
        compiler.apply(class());
        compiler.apply(changes);
        let calls = compiler.take_handler_calls();
        prop_assume!(!calls.is_empty());
        let call = &calls[pick % calls.len()];
        let before = compiler.apply(Vec::new()).0;
        let (after, _) = compiler.apply_answers(answer(call));
        let routes = |table: &RoutingTable, host: &str| {
            table.find(host, "/one").map(|route| format!("{route:?}"))
        };
        for host in ["a.example", "b.example", "x.example", "other"] {
            if !call.subject.host.matches(host) {
                prop_assert_eq!(routes(&before, host), routes(&after, host), "{}", host);
            }
        }
    }
}
