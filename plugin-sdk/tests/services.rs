//! Headers, properties, shared data, metrics, clock, log and functions of the host.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

use plugin_sdk::prelude::*;
use plugin_sdk::test::MockHost;
use plugin_sdk::test::MockRequest;
use plugin_sdk::test::MockResponse;
use plugin_sdk::test::TestPlugin;

/// A plugin whose request handler is a function of the test.
macro_rules! with_handler {
    ($host:expr, |$request:ident| $body:tt) => {{
        struct Handler;

        #[plugin]
        impl Plugin for Handler {
            fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
                Ok(Self)
            }

            async fn on_request(&self, _: &mut (), $request: &mut Request) -> Result<Flow, Error> {
                $body
                Ok(Flow::Continue)
            }
        }

        $host.start::<Handler>("").unwrap()
    }};
}

/// Runs a request and returns what reached the endpoint.
fn run<P: Plugin>(plugin: &TestPlugin<P>, request: MockRequest) -> plugin_sdk::test::RecordedMessage {
    let exchange = plugin.exchange(request, MockResponse::new(200));
    let log = plugin.log();
    exchange.request.unwrap_or_else(|| panic!("the endpoint received nothing: {log:?}"))
}

#[test]
fn headers_are_read_by_first_value_and_by_all() {
    let plugin = with_handler!(MockHost::new(), |request| {
        assert_eq!(request.get("X-Key")?.as_deref(), Some("one"));
        assert_eq!(request.get_all("x-key")?, ["one", "two"]);
        assert_eq!(request.get_all("x-none")?, [""; 0]);
        assert_eq!(request.get("x-bytes")?.as_deref(), Some("a\u{fffd}"));
        assert_eq!(request.get_bytes("x-bytes")?, Some(b"a\xff".to_vec()));
        assert_eq!((request.contains("x-key")?, request.contains("x-none")?), (true, false));
        let fields = request.fields()?;
        let names: Vec<_> = fields.iter().map(|(name, _)| name.escape_ascii().to_string()).collect();
        assert_eq!(names, ["x-key", "x-bytes", "x-key"]);
    });
    let request =
        MockRequest::get("/").header("x-key", "one").header("x-bytes", b"a\xff").header("X-Key", "two");
    run(&plugin, request);
}

#[test]
fn headers_are_set_appended_and_removed() {
    let plugin = with_handler!(MockHost::new(), |request| {
        request.set("x-set", "new")?;
        request.append("x-append", b"\xff")?;
        request.remove("x-remove")?;
        request.remove("x-none")?;
    });
    let request = MockRequest::get("/").header("x-set", "a").header("x-set", "b").header("x-append", "a");
    let headers = run(&plugin, request.header("x-remove", "a")).headers;
    let found: Vec<_> = headers.iter().filter(|(name, _)| !name.starts_with(':')).cloned().collect();
    let expected = [("x-set", &b"new"[..]), ("x-append", b"a"), ("x-append", b"\xff")];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
}

#[test]
fn pseudo_headers_are_methods() {
    let plugin = with_handler!(MockHost::new(), |request| {
        let head = [request.method()?, request.scheme()?, request.authority()?, request.path()?];
        assert_eq!(head, ["PUT", "http", "shop.example", "/a?b"]);
        assert!(request.is_end());
        request.set_method("GET")?;
        request.set_authority("other.example")?;
        request.set_path("/c")?;
    });
    let request = run(&plugin, MockRequest::new("PUT", "/a?b").authority("shop.example"));
    let head = [":method", ":authority", ":path"].map(|name| request.header(name).unwrap().into_owned());
    assert_eq!(head, ["GET", "other.example", "/c"]);
}

#[test]
fn properties_have_types() {
    let host = MockHost::new()
        .property(["route_name"], "shop")
        .property(["request", "size"], 70_000_i64.to_le_bytes())
        .property(["connection", "mtls"], [1]);
    let plugin = with_handler!(host, |_request| {
        assert_eq!(property::string(["route_name"])?.as_deref(), Some("shop"));
        assert_eq!(property::integer(["request", "size"])?, Some(70_000));
        assert_eq!(property::boolean(["connection", "mtls"])?, Some(true));
        assert_eq!(property::bytes(["source", "address"])?, None);
        assert_eq!(property::integer(["source", "port"])?, None);
        let error = property::integer(["route_name"]).unwrap_err();
        assert_eq!(error.to_string(), "the host refused get_property: parse failure");
        property::set(["my_plugin", "user"], "ann")?;
    });
    run(&plugin, MockRequest::get("/"));
    assert_eq!(plugin.property(["my_plugin", "user"]), Some(b"ann".to_vec()));
}

#[test]
fn update_repeats_after_each_conflict() {
    let plugin = with_handler!(MockHost::new().shared_data("count", "1"), |request| {
        let mut seen = Vec::new();
        shared_data::update("count", |value| {
            seen.push(String::from_utf8_lossy(value.unwrap_or(b"none")).into_owned());
            [value.unwrap_or_default(), b"+"].concat()
        })?;
        request.set("x-seen", seen.join(" "))?;
    });
    plugin.conflict("count", "5");
    plugin.conflict("count", "7");
    let request = run(&plugin, MockRequest::get("/"));
    assert_eq!(request.header("x-seen").unwrap(), "1 5 7");
    assert_eq!(plugin.shared_data("count"), Some(b"7+".to_vec()));
}

#[test]
fn update_creates_a_value_once() {
    let plugin = with_handler!(MockHost::new(), |_request| {
        shared_data::update("key", |value| [value.unwrap_or(b"none"), b"+"].concat())?;
    });
    plugin.conflict("key", "other");
    run(&plugin, MockRequest::get("/"));
    assert_eq!(
        plugin.shared_data("key"),
        Some(b"other+".to_vec()),
        "the value of the other instance is kept"
    );
}

#[test]
fn update_gives_up_after_its_attempts() {
    let plugin = with_handler!(MockHost::new(), |_request| {
        let mut attempts = 0;
        let result = shared_data::update("key", |_| {
            attempts += 1;
            Vec::new()
        });
        assert_eq!(
            result.unwrap_err().to_string(),
            "the host refused set_shared_data: the value has changed"
        );
        assert_eq!(attempts, shared_data::MAX_ATTEMPTS);
    });
    for _ in 0..shared_data::MAX_ATTEMPTS {
        plugin.conflict("key", "other");
    }
    run(&plugin, MockRequest::get("/"));
}

#[test]
fn versions_protect_writes() {
    let plugin = with_handler!(MockHost::new(), |_request| {
        assert_eq!(shared_data::get("key")?, None);
        shared_data::set("key", "one")?;
        let (value, version) = shared_data::get("key")?.unwrap();
        assert_eq!(value, b"one");
        assert!(shared_data::compare_and_set("key", "two", version)?);
        assert!(!shared_data::compare_and_set("key", "three", version)?, "the version is old");
        shared_data::set("key", "four")?;
    });
    run(&plugin, MockRequest::get("/"));
    assert_eq!(plugin.shared_data("key"), Some(b"four".to_vec()));
}

#[test]
fn metrics_count_and_record() {
    let plugin = with_handler!(MockHost::new(), |_request| {
        let (counter, gauge) = (Counter::define("requests")?, Gauge::define("open")?);
        counter.increment(1)?;
        Counter::define("requests")?.increment(2)?;
        gauge.record(5)?;
        gauge.adjust(-2)?;
        Histogram::define("bytes")?.record(70)?;
        assert_eq!((counter.value()?, gauge.value()?), (3, 3));
    });
    run(&plugin, MockRequest::get("/"));
    let values = ["requests", "open", "bytes", "none"].map(|name| plugin.metric(name));
    assert_eq!(values, [Some(3), Some(3), Some(70), None]);
}

#[test]
fn clock_is_that_of_the_test() {
    let plugin = with_handler!(MockHost::new().now(Duration::from_secs(100)), |request| {
        request.set("x-now", clock::now()?.as_secs().to_string())?;
    });
    plugin.advance(Duration::from_secs(23));
    assert_eq!(run(&plugin, MockRequest::get("/")).header("x-now").unwrap(), "123");
}

#[test]
fn log_lines_have_their_levels() {
    let plugin = with_handler!(MockHost::new(), |_request| {
        let user = "ann";
        log::trace!("a");
        log::debug!("b {user}");
        log::info!("c {}", 1);
        log::warn!("d");
        log::error!("e");
        log::critical!("f");
    });
    run(&plugin, MockRequest::get("/"));
    assert_eq!(plugin.log(), ["trace: a", "debug: b ann", "info: c 1", "warn: d", "error: e", "critical: f"]);
}

#[test]
fn functions_of_the_host_are_called_by_name() {
    let host = MockHost::new()
        .function("upper", |arguments| Some(arguments.to_ascii_uppercase()))
        .function("broken", |_| None);
    let plugin = with_handler!(host, |_request| {
        assert_eq!(foreign::call("upper", "abc")?, b"ABC");
        let errors = ["broken", "missing"].map(|name| foreign::call(name, "").unwrap_err().to_string());
        let expected = ["internal failure", "not found"];
        assert_eq!(
            errors,
            expected.map(|status| format!("the host refused call_foreign_function: {status}"))
        );
    });
    run(&plugin, MockRequest::get("/"));
}

#[test]
fn edit_of_a_message_that_is_not_there_is_misuse() {
    struct Late;

    #[plugin]
    impl Plugin for Late {
        fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
            Ok(Self)
        }

        async fn on_response_trailers(&self, _: &mut (), trailers: &mut Trailers) -> Result<Flow, Error> {
            trailers.set("x-a", "b")?;
            Ok(Flow::Continue)
        }

        async fn on_start(&self) -> Result<(), Error> {
            property::set(["a"], "b")?;
            Counter::define("same")?;
            Gauge::define("same")?;
            Ok(())
        }
    }

    let plugin = MockHost::new().start::<Late>("").unwrap();
    assert_eq!(plugin.misuse(), ["proxy_define_metric: `same` is another kind of metric"]);
    assert_eq!(plugin.log(), ["error: on_start: the host refused define_metric: bad argument"]);
}
