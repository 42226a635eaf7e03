//! Settings of the connection to endpoints: timeouts, retries, body size, balancing and protocol.

use std::collections::BTreeSet;

use plugin_sdk::class::api::Attempts;
use plugin_sdk::class::api::ByteSize;
use plugin_sdk::class::api::Duration;
use plugin_sdk::class::api::LoadBalancing;
use plugin_sdk::class::api::LoadBalancingType;
use plugin_sdk::class::api::Method;
use plugin_sdk::class::api::Retries;
use plugin_sdk::class::api::RetryOn;
use plugin_sdk::class::api::RoutePolicySpec;
use plugin_sdk::class::api::Timeouts;

use crate::annotations::Annotations;
use crate::annotations::parse_size;
use crate::annotations::quote;
use crate::annotations::quote_all;
use crate::ruling::Ruling;
use crate::ruling::Settings;

/// Seconds of `proxy-send-timeout` and `proxy-read-timeout` by default.
const DEFAULT_PAUSE: u64 = 60;

/// Largest timeout in seconds: the longest duration of a RoutePolicy with five digits.
const MAX_SECONDS: u64 = 99_999;

/// Attempts of nginx for each request by default.
const DEFAULT_TRIES: u64 = 3;

/// Translates the settings of an Ingress.
pub(crate) fn translate(annotations: &Annotations<'_>, settings: &mut Settings) {
    timeouts(annotations, settings);
    retries(annotations, settings);
    body_size(annotations, settings);
    balancing(annotations, settings);
    protocol(annotations, settings);
}

/// Returns a number of seconds. Judges the annotation if it has none.
fn seconds(annotations: &Annotations<'_>, name: &'static str, settings: &mut Settings) -> Option<u64> {
    let value = annotations.get(name)?;
    let seconds = value.parse::<u64>().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    if seconds.is_none() {
        let message = format!("{} is no number of seconds from 1 to {MAX_SECONDS}", quote(value));
        settings.rule(name, Ruling::refused(message));
    }
    seconds
}

fn duration(seconds: u64) -> Option<Duration> {
    Some(Duration::from_millis(seconds * 1000))
}

fn timeouts(annotations: &Annotations<'_>, settings: &mut Settings) {
    let connect = seconds(annotations, "proxy-connect-timeout", settings);
    let read = seconds(annotations, "proxy-read-timeout", settings);
    let send = seconds(annotations, "proxy-send-timeout", settings);
    connect_timeouts(annotations, connect, settings);
    if read.is_none() && send.is_none() {
        return;
    }
    let (reads, sends) = (read.unwrap_or(DEFAULT_PAUSE), send.unwrap_or(DEFAULT_PAUSE));
    let pause = reads.max(sends);
    let timeouts = Timeouts {
        first_byte: read.and_then(duration),
        stall: duration(pause),
        tunnel_idle: read.and_then(duration),
        ..Timeouts::default()
    };
    let keys = [("proxy-read-timeout", read), ("proxy-send-timeout", send)];
    let keys = keys.into_iter().filter(|(_, seconds)| seconds.is_some()).map(|(key, _)| key);
    for (name, seconds) in [("proxy-read-timeout", read), ("proxy-send-timeout", send)] {
        let Some(seconds) = seconds else { continue };
        settings.rule(
            name,
            match seconds == pause {
                true => Ruling::exact(),
                false => Ruling::differs(format!(
                    "one limit holds for pauses of both directions: the greater of both timeouts, {pause} s"
                )),
            },
        );
    }
    settings.policy(RoutePolicySpec { timeouts: Some(timeouts), ..RoutePolicySpec::default() }, keys);
}

/// Translates the timeout of an attempt to connect, and that of all attempts together.
fn connect_timeouts(annotations: &Annotations<'_>, connect: Option<u64>, settings: &mut Settings) {
    const TOTAL: &str = "proxy-next-upstream-timeout";
    let total = match annotations.get(TOTAL) {
        Some("0") => {
            settings.rule(TOTAL, Ruling::exact());
            None
        }
        _ => seconds(annotations, TOTAL, settings),
    };
    if total.is_some() {
        settings.rule(TOTAL, Ruling::differs("it limits the time to connect, all attempts together"));
    }
    if connect.is_some() {
        settings.rule("proxy-connect-timeout", Ruling::exact());
    }
    let tries = tries(annotations).unwrap_or(DEFAULT_TRIES).max(1);
    let by_tries = connect.map(|connect| connect.saturating_mul(tries).min(MAX_SECONDS));
    let timeouts = Timeouts {
        connect: connect.and_then(duration),
        connect_total: total.or(by_tries).and_then(duration),
        ..Timeouts::default()
    };
    if timeouts != Timeouts::default() {
        let keys = [("proxy-connect-timeout", connect), (TOTAL, total)];
        let keys = keys.into_iter().filter(|(_, seconds)| seconds.is_some()).map(|(key, _)| key);
        settings.policy(RoutePolicySpec { timeouts: Some(timeouts), ..RoutePolicySpec::default() }, keys);
    }
}

/// Returns the attempts of `proxy-next-upstream-tries`.
fn tries(annotations: &Annotations<'_>) -> Option<u64> {
    annotations.get("proxy-next-upstream-tries")?.parse().ok()
}

fn retries(annotations: &Annotations<'_>, settings: &mut Settings) {
    let (attempts, tries_ruling) = match (annotations.get("proxy-next-upstream-tries"), tries(annotations)) {
        (None, _) => (None, None),
        (Some(value), None) => (None, Some(Ruling::refused(format!("{} is no number", quote(value))))),
        (Some(_), Some(tries @ 1..=11)) => {
            let attempts =
                u8::try_from(tries - 1).ok().and_then(|attempts| Attempts::try_from(attempts).ok());
            (attempts, Some(Ruling::exact()))
        }
        (Some(_), Some(_)) => {
            let message = format!("at most {} retries are made", Attempts::MAX);
            (Attempts::try_from(Attempts::MAX).ok(), Some(Ruling::differs(message)))
        }
    };
    if let Some(ruling) = tries_ruling {
        settings.rule("proxy-next-upstream-tries", ruling);
    }
    let (on, methods) = match annotations.get("proxy-next-upstream") {
        None => (None, None),
        Some(value) => next_upstream(value, settings),
    };
    if attempts.is_some() || on.is_some() {
        let retries = Retries { attempts, on, methods };
        let keys = ["proxy-next-upstream", "proxy-next-upstream-tries"];
        let keys = keys.into_iter().filter(|key| annotations.get(key).is_some());
        settings.policy(RoutePolicySpec { retries: Some(retries), ..RoutePolicySpec::default() }, keys);
    }
}

/// Translates the conditions of a retry.
fn next_upstream(value: &str, settings: &mut Settings) -> (Option<Vec<RetryOn>>, Option<Vec<Method>>) {
    let (mut retries, mut is_any_method, mut missing, mut unknown) =
        (true, false, BTreeSet::new(), Vec::new());
    let mut has_error = false;
    for condition in value.split_ascii_whitespace() {
        match condition {
            "off" => retries = false,
            "error" => has_error = true,
            "non_idempotent" => is_any_method = true,
            "timeout" | "invalid_header" | "http_500" | "http_502" | "http_503" | "http_504" | "http_403"
            | "http_404" | "http_429" => {
                missing.insert(condition);
            }
            _ => unknown.push(condition),
        }
    }
    let on = match retries && has_error {
        true => RetryOn::ALL.to_vec(),
        false => Vec::new(),
    };
    let methods = match is_any_method {
        true => Method::ALL.to_vec(),
        false => {
            Method::ALL.into_iter().filter(|method| !matches!(method, Method::Post | Method::Patch)).collect()
        }
    };
    settings.rule(
        "proxy-next-upstream",
        if !unknown.is_empty() {
            Ruling::refused(format!("unknown conditions: {}", quote_all(unknown)))
        } else if !retries || missing.is_empty() {
            Ruling::exact()
        } else {
            Ruling::differs(format!(
                "a request is not sent again after: {}",
                missing.into_iter().collect::<Vec<_>>().join(", ")
            ))
        },
    );
    (Some(on), Some(methods))
}

fn body_size(annotations: &Annotations<'_>, settings: &mut Settings) {
    const NAME: &str = "proxy-body-size";
    let Some(value) = annotations.get(NAME) else { return };
    let Some(size) = parse_size(value) else {
        let message = format!("{} is no size such as 8m; no limit of this Ingress applies", quote(value));
        return settings.rule(NAME, Ruling::refused(message));
    };
    let limit = ByteSize(if size == 0 { u64::MAX } else { size });
    settings.policy(RoutePolicySpec { body_size: Some(limit), ..RoutePolicySpec::default() }, [NAME]);
    settings.rule(NAME, Ruling::exact());
}

fn balancing(annotations: &Annotations<'_>, settings: &mut Settings) {
    const NAME: &str = "load-balance";
    let Some(value) = annotations.get(NAME) else { return };
    let (kind, ruling) = match value {
        "round_robin" => (LoadBalancingType::RoundRobin, Ruling::exact()),
        "ewma" => (
            LoadBalancingType::LeastRequest,
            Ruling::differs("the endpoint with the fewest requests is taken, whatever its latency is"),
        ),
        _ => {
            let message = format!("{} is neither round_robin nor ewma", quote(value));
            return settings.rule(NAME, Ruling::refused(message));
        }
    };
    let load_balancing = Some(LoadBalancing { kind: Some(kind) });
    settings.policy(RoutePolicySpec { load_balancing, ..RoutePolicySpec::default() }, [NAME]);
    settings.rule(NAME, ruling);
}

/// Judges `backend-protocol`. Another protocol than plaintext HTTP/1.1 cannot be served.
fn protocol(annotations: &Annotations<'_>, settings: &mut Settings) {
    const NAME: &str = "backend-protocol";
    let Some(value) = annotations.get(NAME) else { return };
    settings.rule(
        NAME,
        match value.to_ascii_uppercase().as_str() {
            "HTTP" | "AUTO_HTTP" => Ruling::exact(),
            _ => Ruling::closed(format!(
                "endpoints are reached by plaintext HTTP/1.1 alone, not by {}",
                quote(value)
            )),
        },
    );
}
