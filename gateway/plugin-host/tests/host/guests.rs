//! Guests with the public SDK in Rust, and in Go.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use plugin_host::CallError;
use plugin_host::CallToken;
use plugin_host::Direction;
use plugin_host::Event;
use plugin_host::GrpcEvent;
use plugin_host::GuestAction;
use plugin_host::GuestMetricValue;
use plugin_host::HttpResponse;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::Limits;
use plugin_host::MapKind;
use plugin_host::Module;
use plugin_host::Reply;
use plugin_host::RootIndex;
use plugin_host::Shared;
use plugin_host::StartError;
use plugin_host::StreamId;
use plugin_host::TrapKind;
use plugin_host::Verdict;

use crate::build;
use crate::build::NoModule;
use crate::missing::skipped;
use crate::support::ENGINE;
use crate::support::TestView;
use crate::support::captured;
use crate::support::config;

const REQUEST: Event = Event::RequestHeaders { fields: 6, is_end: true };
const REQUEST_WITH_BODY: Event = Event::RequestHeaders { fields: 6, is_end: false };
const RESPONSE: Event = Event::ResponseHeaders { fields: 1, is_end: false };

/// Returns the folder of the guests.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}

#[test]
fn guests_are_built_beside_the_profile() {
    let cases = [
        ("/w/target/debug/deps/host-1f2e", "/w/target/guests"),
        ("/w/target/debug/conformance", "/w/target/guests"),
        ("/w/target/dist/examples/a", "/w/target/guests"),
        ("/w/target/x86_64-unknown-linux-musl/release/a", "/w/target/x86_64-unknown-linux-musl/guests"),
    ];
    for (program, expected) in cases {
        let folder = build::guests_folder(Path::new(program));
        assert_eq!(folder.as_deref(), Some(Path::new(expected)), "{program}");
    }
    assert_eq!(build::guests_folder(Path::new("/a")), None);
}

/// Returns the bytes of a module, or notes that the test is skipped.
fn bytes(module: Result<PathBuf, NoModule>) -> Option<Vec<u8>> {
    match module {
        Ok(path) => Some(std::fs::read(path).unwrap()),
        Err(NoModule::Missing(reason)) => {
            skipped(&format!("guests with an SDK: {reason}"));
            None
        }
        Err(NoModule::Failed(reason)) => panic!("{reason}"),
    }
}

/// Starts a guest in Rust with one root context of this configuration. `None` if it cannot be built here.
fn try_start(
    name: &str,
    configuration: &str,
    base: InstanceConfig,
) -> Option<Result<Instance<TestView>, StartError>> {
    let module = compiled(name)?;
    let roots = vec![Bytes::from(configuration.to_owned())];
    Some(Instance::start(&module, Arc::new(InstanceConfig { roots, ..base })))
}

/// Compiles a guest in Rust once. `None` if it cannot be built here.
fn compiled(name: &str) -> Option<Module> {
    static MODULES: Mutex<BTreeMap<String, Module>> = Mutex::new(BTreeMap::new());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(name) {
        return Some(module.clone());
    }
    let module = ENGINE.compile(&bytes(build::module(&folder(), name))?).unwrap();
    modules.insert(name.to_owned(), module.clone());
    Some(module)
}

fn start(name: &str, configuration: &str) -> Option<Instance<TestView>> {
    Some(try_start(name, configuration, config())?.unwrap())
}

fn open(instance: &mut Instance<TestView>, view: TestView) -> StreamId {
    instance.open(RootIndex(0), view).map_err(|(error, _)| error).unwrap()
}

fn view(fields: &[(&str, &str)]) -> TestView {
    let mut view = TestView::default();
    view.request.extend(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    view
}

fn with_response(fields: &[(&str, &str)]) -> TestView {
    let status = (b":status".to_vec(), b"200".to_vec());
    let own = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    TestView { response: Some([status].into_iter().chain(own).collect()), ..TestView::default() }
}

/// Returns the only action, which is a reply.
fn reply(instance: &mut Instance<TestView>) -> Reply {
    match instance.take_actions().as_slice() {
        [GuestAction::Reply(_, reply)] => (**reply).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_are_edited() {
    let edits = "request set x-set one two\nrequest add a 3\nrequest remove empty\nrequest join a x-all\n\
                 response set x-set four\nresponse remove x-gone";
    let Some(mut instance) = start("headers", edits) else { return };
    let stream = open(&mut instance, view(&[("x-set", "forged")]));
    assert_eq!(instance.call(stream, REQUEST), Ok(Verdict::Continue));
    let text = instance.view(stream).unwrap().text(MapKind::RequestHeaders);
    assert_eq!(text, ":method=GET;:path=/a?b;:authority=x.example;a=1;a=2;x-set=one two;a=3;x-all=1|2|3;");
    instance.view_mut(stream).unwrap().response = with_response(&[("x-gone", "1")]).response;
    assert_eq!(instance.call(stream, RESPONSE), Ok(Verdict::Continue));
    let text = instance.view(stream).unwrap().text(MapKind::ResponseHeaders);
    assert_eq!(text, ":status=200;x-set=four;");
    instance.close(stream);
    assert!(!instance.has_streams() && instance.take_actions().is_empty());
}

#[test]
fn configuration_is_refused_with_its_reason() {
    for (name, configuration, expected) in [
        ("headers", "request jump a b", "unknown line in the configuration: request jump a b"),
        ("auth", "{\"key\": \"k\"}", "missing field `consumer` at line 1 column 12"),
    ] {
        let Some(result) = try_start(name, configuration, config()) else { return };
        let Err(StartError::RefusedConfiguration(_, last)) = result else { panic!("{name}: {result:?}") };
        assert_eq!(last.0, expected);
    }
}

#[test]
fn keys_are_demanded() {
    let Some(mut instance) = start("auth", r#"{"key": "k", "consumer": "shop"}"#) else { return };
    for (fields, is_valid) in [
        (&[("x-api-key", "k")][..], true),
        (&[][..], false),
        (&[("x-api-key", "wrong")][..], false),
        (&[("x-api-key", "k"), ("x-api-key", "k")][..], false),
    ] {
        let stream = open(&mut instance, view(fields));
        let verdict = instance.call(stream, REQUEST);
        if is_valid {
            assert_eq!(verdict, Ok(Verdict::Continue), "{fields:?}");
            let text = instance.view(stream).unwrap().text(MapKind::RequestHeaders);
            assert!(text.ends_with("empty=;x-consumer=shop;"), "{text}");
        } else {
            assert_eq!(verdict, Ok(Verdict::StopAll), "{fields:?}");
            let Reply { status, body, fields, .. } = reply(&mut instance);
            assert_eq!((status, body, fields.len()), (401, Bytes::from("no valid key\n"), 2));
        }
        instance.close(stream);
    }
}

#[test]
fn callouts_pause_and_decide() {
    let Some(mut instance) = start("callout", "upstream outbound|8080||authz.shop.svc.cluster.local") else {
        return;
    };
    let response = |status: &str| HttpResponse {
        fields: vec![(":status".into(), status.to_owned().into()), ("x-user".into(), "alice".into())],
        body: "answer".into(),
        ..HttpResponse::default()
    };
    for (response, expected) in [
        (response("200"), None),
        (response("403"), Some((403, "denied: answer\n"))),
        (response("500"), Some((503, "the upstream replied 500\n"))),
        (HttpResponse::default(), Some((503, "the call failed\n"))),
    ] {
        let stream = open(&mut instance, TestView::default());
        assert_eq!(instance.call(stream, REQUEST), Ok(Verdict::StopAll));
        let actions = instance.take_actions();
        let [GuestAction::Http(token, request)] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!((request.stream, request.upstream, request.body.as_ref()), (Some(stream), 0, &b"ask"[..]));
        assert_eq!((request.fields.len(), request.timeout), (4, Duration::from_secs(1)));
        instance.http_response(*token, response).unwrap();
        match expected {
            None => {
                let actions = instance.take_actions();
                assert!(
                    matches!(actions[..], [GuestAction::Resume(of, Direction::Request)] if of == stream),
                    "{actions:?}"
                );
                let text = instance.view(stream).unwrap().text(MapKind::RequestHeaders);
                assert!(text.ends_with("x-user=alice;"), "{text}");
            }
            Some((status, body)) => {
                let reply = reply(&mut instance);
                assert_eq!((reply.status, reply.body.as_ref()), (status, body.as_bytes()));
            }
        }
        instance.close(stream);
    }
}

#[test]
fn callout_whose_stream_ended_is_ignored_by_the_guest() {
    let Some(mut instance) = start("callout", "upstream shop/authz:8080") else { return };
    let first = open(&mut instance, TestView::default());
    instance.call(first, REQUEST).unwrap();
    let tokens = instance.cancel_callouts(first);
    assert_eq!(tokens.len(), 1);
    instance.close(first);
    instance.http_response(tokens[0], HttpResponse::default()).unwrap();
    let second = open(&mut instance, TestView::default());
    assert_eq!(instance.call(second, REQUEST), Ok(Verdict::StopAll));
    assert!(!instance.is_dead(), "{:?}", instance.take_trap());
}

#[test]
fn bodies_are_rewritten() {
    let cases = [
        ("request stream", Event::RequestBody { bytes: 5, is_end: false }, Verdict::Continue, "HELLO"),
        ("request buffer", Event::RequestBody { bytes: 5, is_end: false }, Verdict::Buffer, "hello"),
        ("request buffer", Event::RequestBody { bytes: 5, is_end: true }, Verdict::Continue, "HELLO"),
        ("request replace", Event::RequestBody { bytes: 5, is_end: true }, Verdict::Continue, "5"),
        ("response buffer", Event::ResponseBody { bytes: 5, is_end: true }, Verdict::Continue, "HELLO"),
        ("response stream", Event::RequestBody { bytes: 5, is_end: true }, Verdict::Continue, "hello"),
    ];
    for (configuration, event, verdict, expected) in cases {
        let Some(mut instance) = start("body", configuration) else { return };
        let bodies = [Some(b"hello".to_vec()), Some(b"hello".to_vec())];
        let stream = open(&mut instance, TestView { bodies, ..with_response(&[]) });
        instance.call(stream, REQUEST_WITH_BODY).unwrap();
        assert_eq!(instance.call(stream, event), Ok(verdict), "{configuration}");
        let index = usize::from(matches!(event, Event::ResponseBody { .. }));
        let body = instance.view(stream).unwrap().bodies[index].clone().unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), expected, "{configuration}");
        instance.close(stream);
    }
}

#[test]
fn response_is_decided_on_its_body_before_its_head_leaves() {
    let base = InstanceConfig { allow_on_headers_stop_iteration: true, ..config() };
    let Some(instance) = try_start("body", "response verdict", base) else { return };
    let mut instance = instance.unwrap();
    let bodies = [None, Some(b"a secret".to_vec())];
    let stream = open(&mut instance, TestView { bodies, ..with_response(&[]) });
    instance.call(stream, REQUEST).unwrap();
    assert_eq!(instance.call(stream, RESPONSE), Ok(Verdict::StopHead));
    let end = Event::ResponseBody { bytes: 8, is_end: true };
    assert_eq!(instance.call(stream, end), Ok(Verdict::Continue));
    let view = instance.view(stream).unwrap();
    assert!(view.text(MapKind::ResponseHeaders).contains(":status=451;"));
    assert_eq!(view.bodies[1].as_deref(), Some(&b"blocked\n"[..]));
}

#[test]
fn instances_share_data_queues_and_metrics() {
    let shared = Arc::new(Shared::new());
    let base = || InstanceConfig { shared: Arc::clone(&shared), ..config() };
    let Some(first) = try_start("shared", "", base()) else { return };
    let mut instances = [first.unwrap(), try_start("shared", "", base()).unwrap().unwrap()];
    for instance in &mut instances {
        let actions = instance.take_actions();
        assert!(matches!(actions[..], [GuestAction::Tick(RootIndex(0), Some(_))]), "{actions:?}");
        instance.tick(RootIndex(0)).unwrap();
    }
    for count in 1..=6 {
        let instance = &mut instances[count % 2];
        let stream = open(instance, with_response(&[]));
        instance.call(stream, REQUEST).unwrap();
        instance.call(stream, RESPONSE).unwrap();
        let text = instance.view(stream).unwrap().text(MapKind::ResponseHeaders);
        assert!(text.contains(&format!("x-count={count};")) && text.contains("x-ticks=1;"), "{text}");
        instance.close(stream);
        instances.iter_mut().for_each(|instance| instance.deliver_queues().unwrap());
    }
    let stream = open(&mut instances[0], with_response(&[]));
    instances[0].call(stream, RESPONSE).unwrap();
    let text = instances[0].view(stream).unwrap().text(MapKind::ResponseHeaders);
    assert!(text.contains("x-last=/a?b;"), "{text}");
    let metrics = shared.metrics();
    let value =
        |name: &str| metrics.iter().find(|metric| metric.name.as_ref() == name).map(|metric| &metric.value);
    assert!(matches!(value("requests"), Some(GuestMetricValue::Counter(6))), "{metrics:?}");
    assert!(matches!(value("ticks"), Some(GuestMetricValue::Gauge(1))), "{metrics:?}");
    assert!(value("path_bytes").is_some(), "{metrics:?}");
}

#[test]
fn properties_are_encoded() {
    let lines = "set own value\nrequest own\nrequest request.path\nrequest request.size\nrequest connection.mtls\n\
                 request request.headers\nrequest unknown";
    let Some(mut instance) = start("properties", lines) else { return };
    let stream = open(&mut instance, TestView::default());
    assert_eq!(instance.call(stream, REQUEST), Ok(Verdict::StopAll));
    let reply = reply(&mut instance);
    let expected = "own=value\nrequest.path=/a?b\nrequest.size=0xfeffffffffffffff\nconnection.mtls=0x01\n\
                    request.headers=0x0100000001000000010000006100 3100\nunknown=(none)\n";
    assert_eq!(String::from_utf8_lossy(&reply.body), expected.replace(' ', ""));
}

#[test]
fn lifecycle_is_complete_and_may_end_later() {
    let Some(mut instance) = start("lifecycle", "tick 20") else { return };
    let (_, lines) = captured(|| {
        let stream = open(&mut instance, view(&[("x-done", "later")]));
        instance.call(stream, REQUEST_WITH_BODY).unwrap();
        instance.call(stream, Event::RequestBody { bytes: 5, is_end: false }).unwrap();
        instance.call(stream, Event::RequestTrailers { fields: 1 }).unwrap();
        instance.view_mut(stream).unwrap().response = with_response(&[]).response;
        instance.call(stream, RESPONSE).unwrap();
        instance.call(stream, Event::ResponseBody { bytes: 0, is_end: false }).unwrap();
        instance.call(stream, Event::ResponseTrailers { fields: 2 }).unwrap();
        instance.close(stream);
        assert!(instance.has_streams());
        instance.tick(RootIndex(0)).unwrap();
        assert!(!instance.has_streams());
    });
    let lines: Vec<_> = lines.iter().map(|line| line.split(" plugin=").next().unwrap()).collect();
    let expected = [
        "INFO stream 2: created by root 1",
        "INFO stream 2: on_request_headers false",
        "INFO stream 2: on_request_body 5 false",
        "INFO stream 2: on_request_trailers 1",
        "INFO stream 2: on_response_headers false",
        "INFO stream 2: on_response_body 0 false",
        "INFO stream 2: on_response_trailers 2",
        "INFO stream 2: on_done",
        "INFO root 1: on_tick",
        "INFO stream 2: done Ok(())",
        "INFO stream 2: on_log 200",
        "INFO stream 2: on_delete",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn grpc_calls_and_streams_deliver_their_events() {
    let lines = "upstream shop/authz:8080\nservice pkg.Auth\nmethod Check\nmessage ping";
    let Some(mut instance) = start("grpc", lines) else { return };
    let stream = open(&mut instance, TestView::default());
    assert_eq!(instance.call(stream, REQUEST), Ok(Verdict::StopAll));
    let (token, message) = grpc_call(&mut instance);
    assert_eq!(message.as_deref(), Some(&b"ping"[..]));
    instance.grpc_event(token, GrpcEvent::Message("pong".into())).unwrap();
    let reply_ = reply(&mut instance);
    assert_eq!((reply_.status, reply_.body.as_ref()), (200, &b"response 0 pong \n"[..]));
    instance.close(stream);

    let stream = open(&mut instance, TestView::default());
    instance.call(stream, REQUEST).unwrap();
    let (token, _) = grpc_call(&mut instance);
    instance.grpc_event(token, GrpcEvent::Close(14, "down".into())).unwrap();
    let reply_ = reply(&mut instance);
    assert_eq!((reply_.status, reply_.body.as_ref()), (502, &b"response 14  down\n"[..]));

    let mut instance = start("grpc", &format!("{lines}\nstream\ncount 2")).unwrap();
    let stream = open(&mut instance, TestView::default());
    instance.call(stream, REQUEST).unwrap();
    let actions = instance.take_actions();
    let [
        GuestAction::Grpc(token, _),
        GuestAction::GrpcSend { is_end: false, .. },
        GuestAction::GrpcSend { is_end: true, .. },
    ] = actions[..]
    else {
        panic!("{actions:?}")
    };
    let metadata = || vec![(Bytes::from("x-a"), Bytes::from("1"))];
    for event in [
        GrpcEvent::InitialMetadata(metadata()),
        GrpcEvent::Message("one".into()),
        GrpcEvent::Message("two".into()),
        GrpcEvent::TrailingMetadata(metadata()),
        GrpcEvent::Close(0, Bytes::new()),
    ] {
        instance.grpc_event(token, event).unwrap();
    }
    let reply_ = reply(&mut instance);
    let expected = "initial x-a=1\nmessage one\nmessage two\ntrailing x-a=1\nclose 0\n";
    assert_eq!(String::from_utf8_lossy(&reply_.body), expected);
    instance.close(stream);
}

fn grpc_call(instance: &mut Instance<TestView>) -> (CallToken, Option<Bytes>) {
    match instance.take_actions().as_slice() {
        [GuestAction::Grpc(token, request)] => {
            assert_eq!(
                (request.service.as_ref(), request.method.as_ref()),
                (&b"pkg.Auth"[..], &b"Check"[..])
            );
            (*token, request.message.clone())
        }
        other => panic!("{other:?}"),
    }
}

/// The limits of hostile guests: a debug build on a busy machine must not exceed the time of a call by chance.
fn hostile(configuration: &str) -> Option<Result<Instance<TestView>, StartError>> {
    let limits = Limits { call: Duration::from_millis(200), memory: 8 << 20, ..Limits::default() };
    try_start("hostile", configuration, InstanceConfig { limits, ..config() })
}

#[test]
fn faults_of_each_kind_end_the_instance() {
    for (action, kind) in [
        ("panic", TrapKind::Trap),
        ("loop", TrapKind::Deadline),
        ("grab", TrapKind::Trap),
        ("deep", TrapKind::Stack),
        ("exit", TrapKind::Exit),
    ] {
        let Some(instance) = hostile(&format!("request_headers {action}")) else { return };
        let mut instance = instance.unwrap();
        let stream = open(&mut instance, TestView::default());
        let Err(CallError::Trapped(report)) = instance.call(stream, REQUEST) else { panic!("{action}") };
        assert_eq!(report.kind, kind, "{action}: {report}");
        assert!(instance.is_dead() && instance.memory_bytes() <= 8 << 20);
        if action == "panic" {
            assert!(report.message.contains("as configured"), "{report}");
            assert!(
                report.frames.iter().any(|frame| frame.contains("on_http_request_headers")),
                "{report:?}"
            );
        }
        assert_eq!(instance.call(stream, RESPONSE), Err(CallError::Dead));
        instance.close(stream);
    }
}

#[test]
fn fault_in_each_phase_ends_the_instance() {
    let (body, trailers) =
        (Event::RequestBody { bytes: 0, is_end: false }, Event::RequestTrailers { fields: 0 });
    for (phase, event) in [
        ("request_headers", REQUEST_WITH_BODY),
        ("request_body", body),
        ("request_trailers", trailers),
        ("response_headers", RESPONSE),
        ("response_body", Event::ResponseBody { bytes: 0, is_end: false }),
        ("response_trailers", Event::ResponseTrailers { fields: 0 }),
    ] {
        let Some(instance) = hostile(&format!("{phase} panic")) else { return };
        let mut instance = instance.unwrap();
        let stream = open(&mut instance, TestView::default());
        if event != REQUEST_WITH_BODY {
            instance.call(stream, REQUEST_WITH_BODY).unwrap();
        }
        assert!(matches!(instance.call(stream, event), Err(CallError::Trapped(_))), "{phase}");
    }
    for phase in ["done", "log", "delete"] {
        let mut instance = hostile(&format!("{phase} panic")).unwrap().unwrap();
        let stream = open(&mut instance, TestView::default());
        instance.close(stream);
        assert!(instance.is_dead() && instance.take_trap().is_some(), "{phase}");
    }
    let mut instance = hostile("create panic").unwrap().unwrap();
    let opened = instance.open(RootIndex(0), TestView::default());
    // The SDK creates a context with the first callback.
    let is_dead = match opened {
        Err((error, _)) => matches!(error, CallError::Trapped(_)),
        Ok(stream) => matches!(instance.call(stream, REQUEST), Err(CallError::Trapped(_))),
    };
    assert!(is_dead);
    let mut instance = hostile("tick panic").unwrap().unwrap();
    assert!(matches!(instance.tick(RootIndex(0)), Err(CallError::Trapped(_))));
    assert!(matches!(hostile("configure panic"), Some(Err(StartError::Trapped { .. }))));
    assert!(matches!(hostile("configure refuse"), Some(Err(StartError::RefusedConfiguration(..)))));
}

#[test]
fn other_streams_of_a_condition_are_unharmed() {
    let Some(instance) = hostile("if x-hostile yes\nrequest_headers panic") else { return };
    let mut instance = instance.unwrap();
    for number in 0..100 {
        let stream = open(&mut instance, view(&[("x-hostile", "no")]));
        assert_eq!(instance.call(stream, REQUEST), Ok(Verdict::Continue), "{number}");
        instance.close(stream);
    }
    let stream = open(&mut instance, view(&[("x-hostile", "yes")]));
    assert!(matches!(instance.call(stream, REQUEST), Err(CallError::Trapped(_))));
}

#[test]
fn million_host_calls_end_in_time() {
    for action in ["hostcalls", "logs"] {
        let Some(instance) = hostile(&format!("request_headers {action}")) else { return };
        let mut instance = instance.unwrap();
        let stream = open(&mut instance, TestView::default());
        let began = std::time::Instant::now();
        let result = instance.call(stream, REQUEST);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{action}: {result:?} after {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn guest_in_go_edits_headers() {
    let Some(bytes) = bytes(build::go_module(&folder())) else { return };
    let module = ENGINE.compile(&bytes).unwrap();
    let start = |text: &'static str| {
        let limits = Limits { call: Duration::from_millis(500), ..Limits::default() };
        let config = InstanceConfig { roots: vec![Bytes::from(text)], limits, ..config() };
        Instance::<TestView>::start(&module, Arc::new(config))
    };
    let mut instance = start("x-from go").unwrap();
    // Enough for the collector to run.
    for _ in 0..1000 {
        let stream = open(&mut instance, with_response(&[]));
        assert_eq!(instance.call(stream, REQUEST), Ok(Verdict::Continue));
        assert_eq!(instance.call(stream, RESPONSE), Ok(Verdict::Continue));
        let view = instance.view(stream).unwrap();
        assert!(view.text(MapKind::RequestHeaders).ends_with("x-from=go;"));
        assert!(view.text(MapKind::ResponseHeaders).ends_with("x-from=go;"));
        instance.close(stream);
    }
    let refused = start("one-word").unwrap_err();
    assert!(
        matches!(&refused, StartError::RefusedConfiguration(_, last) if last.0.contains("NAME VALUE")),
        "{refused}"
    );
}
