//! Precedence of the sources, printing, and messages about mistakes.

use super::*;

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<_> = flags
        .iter()
        .map(|(name, key, value)| Flag {
            name: (*name).to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    let prefix = format!("{}/", folder.path().display());
    Config::load(Settings::default(), Some(&path), environment, &flags).map_err(|ConfigError(all)| {
        all.iter().map(|mistake| mistake.to_string().replace(&prefix, "")).collect()
    })
}

/// Returns the mistakes of a file.
fn wrong(file: &str) -> Vec<String> {
    load(file, &[], &[]).expect_err("something is wrong")
}

/// Returns the lines with values, without folder and comments.
fn values(config: &Config) -> Vec<String> {
    let line = |line: &str| {
        let (value, origin) = line.split_once(" # ")?;
        (!value.trim().is_empty())
            .then(|| format!("{} # {}", value.trim(), origin.rsplit('/').next().unwrap()))
    };
    config.to_yaml().lines().filter_map(line).collect()
}

#[test]
fn flag_overrides_environment_overrides_file() {
    let file = "timeouts:\n  requestHeader: 1s\n  keepAlive: 2s\n  stall: 3s\n";
    let environment = [("GATEWAY_TIMEOUTS_KEEP_ALIVE", "4s"), ("GATEWAY_TIMEOUTS_STALL", "5s")];
    let flags = [("--set", "timeouts.stall", "6s"), ("--http", "listeners.http", "[::]:80")];
    let config = load(file, &environment, &flags).unwrap();
    let shown = values(&config);
    for expected in [
        "requestHeader: 1s # gateway.yaml:2",
        "keepAlive: 4s # GATEWAY_TIMEOUTS_KEEP_ALIVE",
        "stall: 6s # --set",
        "http: \"[::]:80\" # --http",
        "firstByte: 1m # default",
    ] {
        assert!(shown.iter().any(|line| line == expected), "{expected}: {shown:#?}");
    }
    assert_eq!(config.settings.timeouts.keep_alive, std::time::Duration::from_secs(4));
}

#[test]
fn defaults_print_as_documented() {
    let config = Config::load(Settings::default(), None, [], &[]).unwrap();
    let shown: Vec<_> = values(&config).iter().map(|line| line.replace(" # default", "")).collect();
    let expected = [
        "http: \"127.0.0.1:8080\"",
        "https: \"127.0.0.1:8443\"",
        "admin: \"127.0.0.1:9080\"",
        "workers: auto",
        "classes: \"\"",
        "zone: none",
        "clientConnections: auto",
        "headBytes: 32Ki",
        "fields: 100",
        "targetBytes: 16Ki",
        "requestHeader: 10s",
        "keepAlive: 1m15s",
        "connect: 800ms",
        "connectTotal: 2s500ms",
        "firstByte: 1m",
        "stall: 1m",
        "tunnelIdle: 1h",
        "request: none",
        "minBodyBytesPerSecond: 500",
        "minBodyRateGrace: 20s",
        "type: RoundRobin",
        "upstreamConnections: 1024",
        "pendingRequests: 4096",
        "attempts: 2",
        "on: \"ConnectFailure,StaleConnection,Reset\"",
        "methods: \"GET,HEAD,OPTIONS,PUT,DELETE,TRACE\"",
        "delay: 5s",
        "limit: 25s",
        "underscoreNames: drop",
        "trustedProxies: \"\"",
        "requestId: own",
        "reasonHeader: shown",
        "service: none",
        "to: stdout",
        "format: json",
        "sample: 1",
    ];
    for line in expected {
        assert!(shown.iter().any(|shown| shown == line), "{line}: {shown:#?}");
    }
}

#[test]
fn printed_configuration_loads_again() {
    // Each setting gets a value that is not its default, in any of its forms.
    let other = |key: &Key| match key.write(&Settings::default()).as_str() {
        "none" if key.path == "status.service" => "gateway/proxy".to_owned(),
        "" if key.path == "requests.trustedProxies" => "10.0.0.0/8,::1".to_owned(),
        "off" => "on".to_owned(),
        "ingress" => "none".to_owned(),
        "" if key.path == "dns.servers" => "10.0.0.10:53,[::1]:5353".to_owned(),
        "none" if key.path == "requests.healthPath" => "/health".to_owned(),
        "none" if key.path == "plugins.cache" => "/var/cache/gateway".to_owned(),
        "refuse" => "allow".to_owned(),
        "none" if key.path == "listeners.probe" => "[::1]:7".to_owned(),
        "\"\"" | "" => "a,b".to_owned(),
        "none" => "7m".to_owned(),
        "auto" if key.path == "limits.memory" => "512Mi".to_owned(),
        "auto" => "7".to_owned(),
        "stdout" => "/var/log/gateway/access.log".to_owned(),
        "json" => "{client} \"{userAgent}\"\t{status}".to_owned(),
        "1" => "0.25".to_owned(),
        "drop" => "keep".to_owned(),
        "own" => "every".to_owned(),
        "shown" => "hidden".to_owned(),
        "RoundRobin" => "LeastRequest".to_owned(),
        "2" => "7".to_owned(),
        "ConnectFailure,StaleConnection,Reset" => "Reset,ConnectFailure".to_owned(),
        text if text.starts_with("GET,") => "GET,POST".to_owned(),
        text if text.ends_with("Ki") => "8KiB".to_owned(),
        text if text.contains(':') => "[::1]:7".to_owned(),
        text if text.ends_with(['s', 'm', 'h']) => "1100ms".to_owned(),
        _ => "77".to_owned(),
    };
    let flags: Vec<_> = keys::all()
        .iter()
        .map(|key| Flag { name: "--set".to_owned(), key: key.path.to_owned(), value: other(key) })
        .collect();
    let first = Config::load(Settings::default(), None, [], &flags).unwrap();
    let again = load(&first.to_yaml(), &[], &[]).unwrap();
    for key in keys::all() {
        let (was, is) = (key.write(&first.settings), key.write(&again.settings));
        assert_eq!(was, is, "{}", key.path);
        assert_ne!(was, key.write(&Settings::default()), "{} was not changed", key.path);
        assert!(matches!(again.origins[key.path], Origin::File(..)), "{}", key.path);
    }
}

#[test]
fn unknown_key_is_an_error_with_a_suggestion() {
    let file = "timeouts:\n  requestHeder: 10s\n  keepalive: 1s\ndrain:\n  delay: 1s\nreasonHeader: shown\nfoo: [{}]\nlimit: {}\n";
    assert_eq!(
        wrong(file),
        [
            "gateway.yaml:2: unknown key \"timeouts.requestHeder\"; did you mean timeouts.requestHeader?",
            "gateway.yaml:3: unknown key \"timeouts.keepalive\"; did you mean timeouts.keepAlive?",
            "gateway.yaml:6: unknown key \"reasonHeader\"; did you mean responses.reasonHeader?",
            "gateway.yaml:7: unknown key \"foo\"",
            "gateway.yaml:8: unknown key \"limit\"; did you mean drain.limit?",
        ]
    );
    let variables = [("GATEWAY_TIMEOUTS_REQUEST_HEDER", "1s"), ("GATEWAY_CLASS", "x"), ("GATEWAY_NAME", "y")];
    let errors = load("", &variables, &[("--set", "workrs", "2")]).unwrap_err();
    assert_eq!(
        errors,
        [
            "GATEWAY_CLASS: no setting has this variable; did you mean GATEWAY_CLASSES?",
            "GATEWAY_TIMEOUTS_REQUEST_HEDER: no setting has this variable; did you mean GATEWAY_TIMEOUTS_REQUEST_HEADER?",
            "--set: unknown key \"workrs\"; did you mean workers?",
        ]
    );
}

#[test]
fn unknown_placeholder_is_an_error_with_a_suggestion() {
    let file = "accessLog: {format: \"{client} {stauts}\", sample: 2, to: \"\"}\n";
    assert_eq!(
        wrong(file),
        [
            "gateway.yaml:1: accessLog.format: {stauts} is no field; did you mean status?",
            "gateway.yaml:1: accessLog.sample: \"2\" cannot be read: a share from 0.0 to 1.0 is expected, not \"2\"",
            "gateway.yaml:1: accessLog.to: \"\" cannot be read: off, stdout or a file is expected",
        ]
    );
}

#[test]
fn ports_are_addresses() {
    for (key, text, address) in [
        ("listeners.http", "8080", "[::]:8080"),
        ("listeners.http", ":8080", "[::]:8080"),
        ("listeners.https", "127.0.0.1:8443", "127.0.0.1:8443"),
        ("listeners.admin", "9000", "127.0.0.1:9000"),
        ("listeners.admin", ":9000", "[::]:9000"),
        ("listeners.probe", "[::1]:7", "[::1]:7"),
    ] {
        let config = load("", &[], &[("--set", key, text)]).unwrap();
        let key = keys::all().into_iter().find(|known| known.path == key).unwrap();
        assert_eq!(key.write(&config.settings), address, "{}: {text}", key.path);
    }
    for text in ["", ":", "80800", "localhost:80", "127.0.0.1"] {
        assert!(load("", &[], &[("--set", "listeners.http", text)]).is_err(), "{text}");
    }
}

#[test]
fn service_variables_of_kubernetes_are_ignored() {
    let made = [
        ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("GATEWAY_STATUS_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_DRAIN_PORT", "tcp://10.0.0.1:80"),
        ("GATEWAY_LOG", "debug"),
        ("GATEWAY_SKIPPED", "x"),
    ];
    let config = load("", &made, &[]).unwrap();
    assert!(config.origins.is_empty());
    for variable in keys::all().iter().map(Key::variable) {
        let is_made =
            variable.ends_with("_SERVICE_HOST") || variable.ends_with("_PORT") || variable.contains("_PORT_");
        assert!(!is_made, "{variable} could be a Service's");
    }
}

#[test]
fn all_wrong_values_are_reported_at_once() {
    let file = "workers: 0\ntimeouts: {requestHeader: 10, stall: 100d, keepAlive: 0s, connect: }\nlimits:\n  headBytes: 1Gi\n  fields: many\nlisteners: {http: localhost}\nresponses: {reasonHeader: never}\nstatus: {service: x}\nplugins: {cache: code}\n";
    let errors = wrong(file);
    let expected = [
        "gateway.yaml:1: workers: 0 is not between 1 and 1024",
        "gateway.yaml:2: timeouts.requestHeader: a duration such as 800ms, 10s or 1h30m is expected, not \"10\"",
        "gateway.yaml:2: timeouts.stall: a duration such as 800ms, 10s or 1h30m is expected, not \"100d\"",
        "gateway.yaml:2: timeouts.keepAlive: 0s is not between 10ms and 24h",
        "gateway.yaml:2: timeouts.connect must be one value or a list of values",
        "gateway.yaml:4: limits.headBytes: 1Gi is not between 1Ki and 1Mi",
        "gateway.yaml:5: limits.fields: a whole number is expected, not \"many\"",
        "gateway.yaml:6: listeners.http: \"localhost\" cannot be read: an address such as 127.0.0.1:8080, [::1]:8080, :8080 or 8080 is expected",
        "gateway.yaml:7: responses.reasonHeader: shown or hidden is expected, not \"never\"",
        "gateway.yaml:8: status.service: a Service is named as NAMESPACE/NAME",
        "gateway.yaml:9: plugins.cache: an absolute path is expected, not \"code\"",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn contradicting_values_are_reported_with_origins() {
    let errors =
        load("drain: {delay: 30s}\n", &[("GATEWAY_TIMEOUTS_CONNECT_TOTAL", "500ms")], &[]).unwrap_err();
    assert_eq!(
        errors,
        [
            "timeouts.connect (800ms, default) must not be larger than timeouts.connectTotal (500ms, GATEWAY_TIMEOUTS_CONNECT_TOTAL)",
            "drain.delay (30s, gateway.yaml:1) must not be larger than drain.limit (25s, default)",
        ]
    );
}

#[test]
fn malformed_file_is_an_error() {
    assert_eq!(wrong("- a\n"), ["gateway.yaml:1: the file must be a map"]);
    assert_eq!(wrong("drain: 5s\n"), ["gateway.yaml:1: drain must be a map"]);
    assert_eq!(wrong("workers: 1\n---\nworkers: 2\n"), ["gateway.yaml: one document is expected, not 2"]);
    assert_eq!(wrong("workers: 1\nworkers: 2\n"), ["gateway.yaml:2: duplicate key \"workers\""]);
    assert!(wrong("workers: [1\n")[0].starts_with("gateway.yaml:"), "{:?}", wrong("workers: [1\n"));
    let missing =
        Config::load(Settings::default(), Some(Path::new("/nonexistent.yaml")), [], &[]).unwrap_err();
    assert!(missing.0[0].to_string().starts_with("/nonexistent.yaml cannot be read"), "{missing}");
    assert!(load("# nothing\n", &[], &[]).unwrap().origins.is_empty());
}
