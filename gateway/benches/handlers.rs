//! What class handlers cost: all hosts at a cold start, and one changed Ingress.
//!
//! `cargo build -p class-example --target wasm32-wasip1 --profile plugin`, then `cargo bench -p gateway --bench handlers`. Times
//! are of one thread. They hold what the control plane does between the compiler and the answers of the handler.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::path::Path;

use divan::counter::ItemsCount;
use gateway::control::handler::ask;
use plugin_host::{CommandLimits, Engine, HandlerCommand};
use routing::handler::HandlerCall;
use routing::object::{
    Annotation, Change, Ingress, IngressBackend, IngressClass, IngressClassConfig, IngressPath, IngressRule,
    Name, Object, ParametersRef, PortRef,
};
use routing::{Compiler, Config};

const INGRESSES: usize = 5000;

fn main() {
    divan::main();
}

fn command() -> HandlerCommand {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").to_owned());
    let module = Path::new(&target).join("wasm32-wasip1/plugin/class_example.wasm");
    let bytes = std::fs::read(&module).expect("build class-example first, as the head of this file says");
    Engine::new(None).unwrap().compile_command(&bytes).unwrap()
}

fn ingress(number: usize, priority: usize) -> Ingress {
    let annotation = |key: &str, value: String| Annotation {
        key: format!("traefik.ingress.kubernetes.io/{key}").into(),
        value: value.into(),
    };
    let backend =
        IngressBackend::Service { name: "web".into(), port: PortRef::Number(80.try_into().unwrap()) };
    let path = IngressPath { path: "/".into(), path_type: Some("Prefix".into()), backend };
    let rule = IngressRule { host: Some(format!("h{number}.example").into()), paths: vec![path] };
    Ingress {
        name: Name::new("shop", &format!("i{number}")),
        class: Some("traefik".into()),
        annotations: [
            annotation("router.priority", priority.to_string()),
            annotation("router.tls", "true".to_owned()),
        ]
        .into(),
        rules: [rule].into(),
        ..Ingress::default()
    }
}

/// Returns a compiler with all Ingresses, and the calls that are due.
fn compiled() -> (Compiler, Vec<HandlerCall>) {
    let handler = api::ClassHandler {
        url: "configmap://handlers/module".to_owned(),
        dialect: vec!["traefik.ingress.kubernetes.io/".to_owned()],
        ..api::ClassHandler::default()
    };
    let spec = api::IngressClassConfigSpec { handler: Some(Box::new(handler)), ..<_>::default() };
    let parameters = ParametersRef {
        group: api::GROUP.into(),
        kind: "IngressClassConfig".into(),
        name: "traefik".into(),
        namespace: None,
    };
    let class = IngressClass {
        name: Name::new("", "traefik"),
        controller: api::CONTROLLER.into(),
        parameters: Some(parameters),
        ..IngressClass::default()
    };
    let config = IngressClassConfig { name: Name::new("", "traefik"), spec, ..IngressClassConfig::default() };
    let mut objects =
        vec![Change::Apply(Object::IngressClassConfig(config)), Change::Apply(Object::IngressClass(class))];
    objects.extend((0..INGRESSES).map(|number| Change::Apply(Object::Ingress(ingress(number, number)))));
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(objects);
    let calls = compiler.take_handler_calls();
    (compiler, calls)
}

/// All hosts: calls, and the compilation of their answers.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn cold(bencher: divan::Bencher<'_, '_>) {
    let command = command();
    bencher.counter(ItemsCount::new(INGRESSES)).with_inputs(compiled).bench_local_values(
        |(mut compiler, calls)| {
            let limits = CommandLimits::default();
            let answers = calls.iter().flat_map(|call| ask(&command, call, &limits).answers).collect();
            compiler.apply_answers(answers)
        },
    );
}

/// One changed Ingress among all: its compilation, the call, and the compilation of the answer.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn one_changed(bencher: divan::Bencher<'_, '_>) {
    let command = command();
    let (mut compiler, calls) = compiled();
    let limits = CommandLimits::default();
    let answers = calls.iter().flat_map(|call| ask(&command, call, &limits).answers).collect();
    compiler.apply_answers(answers);
    let mut priority = INGRESSES;
    bencher.bench_local(|| {
        priority += 1;
        compiler.apply(vec![Change::Apply(Object::Ingress(ingress(7, priority)))]);
        let calls = compiler.take_handler_calls();
        let answers = calls.iter().flat_map(|call| ask(&command, call, &limits).answers).collect();
        compiler.apply_answers(answers)
    });
}
