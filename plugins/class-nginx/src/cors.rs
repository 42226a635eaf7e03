//! Cross-origin requests: `enable-cors` and `cors-*`.

use plugin_sdk::class::api::Duration;
use plugin_sdk::class::api::RoutePolicySpec;
use plugin_sdk::class::api::policy::Cors;

use crate::annotations::Annotations;
use crate::annotations::list;
use crate::annotations::quote;
use crate::annotations::quote_all;
use crate::ruling::Ruling;
use crate::ruling::Settings;

const KEYS: [&str; 7] = [
    "enable-cors",
    "cors-allow-credentials",
    "cors-allow-headers",
    "cors-allow-methods",
    "cors-allow-origin",
    "cors-expose-headers",
    "cors-max-age",
];

/// The defaults of ingress-nginx.
const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const MAX_AGE_SECONDS: u64 = 1_728_000;

/// Translates the annotations on cross-origin requests.
pub(crate) fn translate(annotations: &Annotations<'_>, settings: &mut Settings) {
    if !annotations.is_on("enable-cors") {
        let message = "it has no effect without enable-cors: \"true\"";
        for name in KEYS.into_iter().skip(1).filter(|name| annotations.get(name).is_some()) {
            settings.rule(name, Ruling::ignored(message));
        }
        if let Some(value) = annotations.get("enable-cors") {
            settings.rule(
                "enable-cors",
                match annotations.flag("enable-cors") {
                    Some(_) => Ruling::exact(),
                    None => Ruling::refused(format!(
                        "{} is not a boolean; ingress-nginx ignores it, too",
                        quote(value)
                    )),
                },
            );
        }
        return;
    }
    let origins = origins(annotations, settings);
    let is_any = origins.iter().any(|origin| origin == "*");
    let credentials = credentials(annotations, is_any, settings);
    let cors = Cors {
        allow_origins: Some(origins),
        allow_methods: Some(names(annotations, "cors-allow-methods", METHODS, settings)),
        allow_headers: Some(names(annotations, "cors-allow-headers", HEADERS, settings)),
        expose_headers: annotations
            .get("cors-expose-headers")
            .map(|_| names(annotations, "cors-expose-headers", "", settings)),
        allow_credentials: Some(credentials),
        max_age: Some(max_age(annotations, settings)),
    };
    settings
        .rule("enable-cors", Ruling::differs("an OPTIONS request that is no preflight reaches the endpoint"));
    let keys = KEYS.into_iter().filter(|name| annotations.get(name).is_some());
    settings.policy(RoutePolicySpec { cors: Some(cors), ..RoutePolicySpec::default() }, keys);
}

fn origins(annotations: &Annotations<'_>, settings: &mut Settings) -> Vec<String> {
    let Some(value) = annotations.get("cors-allow-origin") else { return vec!["*".to_owned()] };
    let mut origins: Vec<String> = Vec::new();
    let mut refused = Vec::new();
    for origin in list(value) {
        match Cors::origin_faults(&[origin.to_owned()]).is_empty() {
            true if origin == "*" => origins.insert(0, origin.to_owned()),
            true => origins.push(origin.to_owned()),
            false => refused.push(origin),
        }
    }
    settings.rule(
        "cors-allow-origin",
        match refused.is_empty() {
            true => Ruling::exact(),
            false => Ruling::refused(format!(
                "not an origin, so that pages of it may not read responses: {}",
                quote_all(refused)
            )),
        },
    );
    origins
}

fn credentials(annotations: &Annotations<'_>, is_any: bool, settings: &mut Settings) -> bool {
    let value = annotations.get("cors-allow-credentials");
    let flag = value.map_or(Some(true), |_| annotations.flag("cors-allow-credentials"));
    let allowed = flag.unwrap_or(true);
    let ruling = match (value, flag) {
        (Some(value), None) => {
            Ruling::refused(format!("{} is not a boolean; true is used, as in ingress-nginx", quote(value)))
        }
        _ if allowed && is_any => Ruling::differs(
            "not allowed for all origins; browsers refuse the fields that ingress-nginx sends, too",
        ),
        _ => Ruling::exact(),
    };
    if value.is_some() {
        settings.rule("cors-allow-credentials", ruling);
    }
    allowed && !is_any
}

fn names(
    annotations: &Annotations<'_>,
    key: &'static str,
    default: &str,
    settings: &mut Settings,
) -> Vec<String> {
    let Some(value) = annotations.get(key) else {
        return list(default).map(ToOwned::to_owned).collect();
    };
    let (valid, invalid): (Vec<_>, Vec<_>) = list(value)
        .map(ToOwned::to_owned)
        .partition(|name| Cors::name_faults(std::slice::from_ref(name)).is_empty());
    settings.rule(
        key,
        match invalid.is_empty() {
            true => Ruling::exact(),
            false => Ruling::refused(format!(
                "left out, because they are no names: {}",
                quote_all(invalid.iter().map(String::as_str))
            )),
        },
    );
    valid
}

fn max_age(annotations: &Annotations<'_>, settings: &mut Settings) -> Duration {
    let default = Duration::from_millis(MAX_AGE_SECONDS * 1000);
    let Some(value) = annotations.get("cors-max-age") else { return default };
    let seconds = value.parse::<u32>().ok();
    settings.rule(
        "cors-max-age",
        match seconds {
            Some(_) => Ruling::exact(),
            None => Ruling::refused(format!(
                "{} is no number of seconds; {MAX_AGE_SECONDS} is used, as in ingress-nginx",
                quote(value)
            )),
        },
    );
    seconds.map_or(default, |seconds| Duration::from_millis(u64::from(seconds) * 1000))
}
