//! What holds for the whole host: how its paths are compared, its aliases, and whether it has a certificate.
//!
//! ingress-nginx makes one server of all Ingresses of a host, and several annotations of one Ingress change it for all.

use plugin_sdk::class::ClassIngress;
use plugin_sdk::class::ClassIngressPath;
use plugin_sdk::class::ClassInput;
use plugin_sdk::class::api::HttpPathMatch;
use plugin_sdk::class::api::HttpRequestRedirect;
use plugin_sdk::class::api::HttpRouteFilter;
use plugin_sdk::class::api::HttpRouteFilterType;
use plugin_sdk::class::api::HttpRouteMatch;
use plugin_sdk::class::api::HttpRouteRule;
use plugin_sdk::class::api::policy::RedirectStatus;

use crate::annotations::Annotations;
use crate::annotations::list;
use crate::annotations::quote;
use crate::annotations::quote_all;
use crate::ruling::Ruling;
use crate::ruling::Settings;

/// Status of redirects to HTTPS, and between a host and its `www` twin.
pub(crate) const REDIRECT_STATUS: u16 = 308;

/// An Ingress with its annotations.
#[derive(Debug)]
pub(crate) struct Ingress<'a> {
    pub(crate) object: &'a ClassIngress,
    pub(crate) annotations: Annotations<'a>,
}

/// All Ingresses of a host.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    /// The host. `None`: rules without a host.
    pub(crate) name: Option<&'a str>,
    /// Ingresses that are no canaries, oldest first.
    pub(crate) mains: Vec<Ingress<'a>>,
    /// Canaries, oldest first.
    pub(crate) canaries: Vec<Ingress<'a>>,
    pub(crate) paths: PathMode,
    /// Whether an Ingress has `spec.tls`. The whole host then has a certificate.
    pub(crate) has_certificate: bool,
    aliases: Vec<String>,
    /// Index of the Ingress whose aliases apply.
    alias_source: Option<usize>,
}

/// How the paths of a host are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathMode {
    /// By path elements. The host has no path that needs more.
    Elements,
    /// By characters: an `ImplementationSpecific` path `/a` matches `/ab`, too. The longest path wins.
    Characters,
    /// By regular expressions without case: an Ingress has `use-regex` or `rewrite-target`. The longest path wins.
    Regex,
}

/// The type of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

/// Returns the type of a path. An absent one is Prefix.
pub(crate) fn path_type(path: &ClassIngressPath) -> PathType {
    match path.path_type.as_deref() {
        Some("Exact") => PathType::Exact,
        Some("ImplementationSpecific") => PathType::ImplementationSpecific,
        _ => PathType::Prefix,
    }
}

/// Returns the text of a path. An empty one is `/`.
pub(crate) fn path_text(path: &ClassIngressPath) -> &str {
    if path.path.is_empty() { "/" } else { &path.path }
}

impl<'a> Host<'a> {
    pub(crate) fn new(input: &'a ClassInput) -> Self {
        let all = input
            .ingresses()
            .map(|object| Ingress { object, annotations: Annotations::new(object) })
            .collect::<Vec<_>>();
        let (canaries, mains): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|ingress| ingress.annotations.is_on("canary"));
        let mut host = Self {
            name: input.function_config.host.as_deref(),
            paths: path_mode(&mains),
            has_certificate: mains.iter().any(|ingress| !ingress.object.spec.tls.is_empty()),
            mains,
            canaries,
            aliases: Vec::new(),
            alias_source: None,
        };
        host.find_aliases();
        host
    }

    /// Finds the aliases: those of the oldest Ingress that has any.
    fn find_aliases(&mut self) {
        for (index, ingress) in self.mains.iter().enumerate() {
            let Some(value) = ingress.annotations.get("server-alias") else { continue };
            self.alias_source = Some(index);
            self.aliases = list(value).filter(|alias| is_host(alias)).map(str::to_ascii_lowercase).collect();
            self.aliases.retain(|alias| Some(alias.as_str()) != self.name);
            return;
        }
    }

    /// Returns the hosts of the routes. Empty: the host of the call alone.
    pub(crate) fn hostnames(&self) -> Vec<String> {
        match self.name {
            Some(name) if !self.aliases.is_empty() => {
                std::iter::once(name.to_owned()).chain(self.aliases.iter().cloned()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the twin of the host and the rule that redirects it, if this Ingress is the first that asks for it.
    pub(crate) fn www_redirect(&self, index: usize) -> Option<(String, HttpRouteRule)> {
        let name = self.name.filter(|name| !name.starts_with('*'))?;
        let asks = |ingress: &Ingress<'_>| ingress.annotations.is_on("from-to-www-redirect");
        if self.mains.iter().position(asks) != Some(index) {
            return None;
        }
        let twin = name.strip_prefix("www.").map_or_else(|| format!("www.{name}"), ToOwned::to_owned);
        let redirect = HttpRequestRedirect {
            hostname: Some(name.to_owned()),
            status_code: RedirectStatus::try_from(REDIRECT_STATUS).ok(),
            ..HttpRequestRedirect::default()
        };
        let rule = redirect_rule(None, HttpPathMatch::default(), redirect);
        Some((twin, rule))
    }

    /// Judges the annotations that hold for the whole host.
    pub(crate) fn judge(&self, index: usize, settings: &mut Settings) {
        let Some(ingress) = self.mains.get(index) else { return };
        let annotations = &ingress.annotations;
        if annotations.get("rewrite-target").is_some() && !rewrites(ingress) {
            settings.rule("rewrite-target", Ruling::exact());
        }
        if let Some(value) = annotations.get("server-alias") {
            settings.rule("server-alias", self.judge_alias(index, value));
        }
        if let Some(value) = annotations.get("from-to-www-redirect") {
            let is_named = self.name.is_some_and(|name| !name.starts_with('*'));
            settings.rule(
                "from-to-www-redirect",
                match annotations.flag("from-to-www-redirect") {
                    None => Ruling::refused(format!(
                        "{} is not a boolean; ingress-nginx ignores it, too",
                        quote(value)
                    )),
                    Some(true) if !is_named => Ruling::ignored("the host has no twin with or without `www.`"),
                    Some(_) => Ruling::exact(),
                },
            );
        }
        if let Some(value) = annotations.get("use-regex") {
            settings.rule(
                "use-regex",
                match annotations.flag("use-regex") {
                    None => Ruling::refused(format!(
                        "{} is not a boolean; ingress-nginx ignores it, too",
                        quote(value)
                    )),
                    Some(_) => Ruling::exact(),
                },
            );
        }
    }

    fn judge_alias(&self, index: usize, value: &str) -> Ruling {
        if self.name.is_none() {
            return Ruling::refused(
                "rules without a host serve all hosts that no rule names, so they need no alias",
            );
        }
        if self.alias_source != Some(index) {
            return Ruling::ignored(
                "an older Ingress of the host has aliases, and only those apply in ingress-nginx, too",
            );
        }
        let refused: Vec<_> = list(value).filter(|alias| !is_host(alias)).collect();
        if refused.is_empty() {
            return Ruling::exact();
        }
        Ruling::refused(format!(
            "only DNS names are served as aliases, not {}; their requests get a 404",
            quote_all(refused)
        ))
    }
}

/// Creates a rule that redirects.
pub(crate) fn redirect_rule(
    name: Option<&str>,
    path: HttpPathMatch,
    redirect: HttpRequestRedirect,
) -> HttpRouteRule {
    let filter = HttpRouteFilter {
        kind: HttpRouteFilterType::RequestRedirect,
        request_header_modifier: None,
        response_header_modifier: None,
        request_redirect: Some(redirect),
    };
    HttpRouteRule {
        name: name.map(ToOwned::to_owned),
        matches: vec![HttpRouteMatch::path(path)],
        filters: vec![filter],
        ..HttpRouteRule::default()
    }
}

/// Returns true if the text is a DNS name, or `*.` and a DNS name.
pub(crate) fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() < 254 && name.split('.').all(is_label)
}

/// Returns true if `rewrite-target` of an Ingress changes one of its paths.
fn rewrites(ingress: &Ingress<'_>) -> bool {
    let target = ingress.annotations.get("rewrite-target").unwrap_or_default();
    !target.is_empty() && ingress.object.paths().any(|path| path_text(path.path) != target)
}

fn path_mode(mains: &[Ingress<'_>]) -> PathMode {
    let is_regex = |ingress: &Ingress<'_>| {
        let has_paths = ingress.object.paths().next().is_some();
        has_paths && (ingress.annotations.is_on("use-regex") || rewrites(ingress))
    };
    if mains.iter().any(is_regex) {
        return PathMode::Regex;
    }
    let mut paths = mains.iter().flat_map(|ingress| ingress.object.paths());
    let needs_characters = paths.any(|path| {
        path_type(path.path) == PathType::ImplementationSpecific && !path_text(path.path).ends_with('/')
    });
    if needs_characters { PathMode::Characters } else { PathMode::Elements }
}
