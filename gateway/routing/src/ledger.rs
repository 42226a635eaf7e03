//! The ledger: what this gateway does with each annotation of other controllers' dialects.
//!
//! A table of data, one file a dialect. Class handlers take rows over once they honour them. Not here: the effect on an
//! Ingress (`compiler::annotations`), and our own annotations.

mod alb;
mod apisix;
mod contour;
mod haproxy;
mod haproxy_ingress;
mod higress;
mod kong;
mod nginx_inc;
mod nginx_ingress;
mod traefik;

/// The annotations of one controller.
#[derive(Debug)]
pub struct Dialect {
    /// Name of the controller.
    pub controller: &'static str,
    /// Prefixes of the annotations, each with its slash.
    pub prefixes: &'static [&'static str],
    /// One row an annotation.
    pub rows: &'static [LedgerRow],
    /// Rows of a dialect that this one extends.
    pub inherited: &'static [LedgerRow],
}

/// One annotation of a dialect.
#[derive(Clone, Copy, Debug)]
pub struct LedgerRow {
    /// Name without the prefix. A final `*` covers all names that begin like it.
    pub name: &'static str,
    /// What happens if an Ingress has the annotation.
    pub verdict: LedgerVerdict,
    /// Values that ask for what this gateway does anyway, in lower case. They are harmless, as an empty value is.
    pub except: &'static [&'static str],
    /// What the annotation asks for, and what to use in its place, as a clause.
    pub about: &'static str,
}

/// What happens if an Ingress has an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerVerdict {
    /// It changes nothing that a client or an endpoint can notice.
    Harmless,
    /// It has no effect, and a note says so.
    NotHonoured,
    /// It restricts access, or keeps traffic encrypted, and has no effect. The paths of the Ingress get a 503.
    Closes,
    /// The Ingress is not meant to be served by its own rules. It is left out.
    LeavesOut,
}

/// All dialects.
pub const DIALECTS: &[Dialect] = &[
    nginx_ingress::DIALECT,
    nginx_inc::DIALECT,
    haproxy::DIALECT,
    haproxy_ingress::DIALECT,
    traefik::DIALECT,
    kong::DIALECT,
    alb::DIALECT,
    contour::DIALECT,
    higress::DIALECT,
    apisix::DIALECT,
];

/// Parts of names that show a restriction of access. An annotation without a row and with one of them closes its paths.
const RESTRICTIVE: &[&str] = &[
    "acl",
    "allow-list",
    "allowlist",
    "auth",
    "block",
    "cidr",
    "deny",
    "denylist",
    "firewall",
    "jwt",
    "limit-r",
    "modsecurity",
    "mtls",
    "oidc",
    "protect",
    "range",
    "rate-limit",
    "snippet",
    "verify",
    "waf",
    "whitelist",
];

const UNKNOWN_RESTRICTION: LedgerRow =
    closes("*", "by its name it restricts access, and the gateway does not know it");
const UNKNOWN: LedgerRow = ignored("*", "the gateway does not know it");

/// Returns the row of an annotation with this value. Returns `None` if it belongs to no dialect, or asks for nothing.
pub fn find(key: &str, value: &str) -> Option<LedgerRow> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    let (dialect, name) =
        DIALECTS.iter().find_map(|dialect| dialect.local_name(key).map(|name| (dialect, name)))?;
    let row = dialect.row(name);
    (!row.except.iter().any(|except| value.eq_ignore_ascii_case(except))).then_some(row)
}

impl Dialect {
    /// Returns the part of an annotation after the prefix of this dialect.
    fn local_name<'a>(&self, key: &'a str) -> Option<&'a str> {
        self.prefixes.iter().find_map(|prefix| key.strip_prefix(prefix))
    }

    fn row(&self, name: &str) -> LedgerRow {
        let rows = || self.rows.iter().chain(self.inherited);
        let exact = rows().find(|row| row.name == name);
        let by_start = || {
            let covers =
                |row: &&LedgerRow| row.name.strip_suffix('*').is_some_and(|start| name.starts_with(start));
            rows().filter(covers).max_by_key(|row| row.name.len())
        };
        let unknown = || match RESTRICTIVE.iter().any(|part| name.contains(part)) {
            true => UNKNOWN_RESTRICTION,
            false => UNKNOWN,
        };
        exact.or_else(by_start).copied().unwrap_or_else(unknown)
    }
}

const fn harmless(name: &'static str, about: &'static str) -> LedgerRow {
    LedgerRow { name, verdict: LedgerVerdict::Harmless, except: &[], about }
}

const fn ignored(name: &'static str, about: &'static str) -> LedgerRow {
    LedgerRow { name, verdict: LedgerVerdict::NotHonoured, except: &[], about }
}

const fn closes(name: &'static str, about: &'static str) -> LedgerRow {
    LedgerRow { name, verdict: LedgerVerdict::Closes, except: &[], about }
}

impl LedgerRow {
    const fn except(self, except: &'static [&'static str]) -> Self {
        Self { except, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_found_by_name_start_and_value() {
        use LedgerVerdict::{Closes, Harmless, LeavesOut, NotHonoured};
        for (key, value, verdict) in [
            ("nginx.ingress.kubernetes.io/auth-type", "basic", Some(Closes)),
            ("nginx.ingress.kubernetes.io/auth-type", " ", None),
            ("nginx.ingress.kubernetes.io/auth-some-new-thing", "x", Some(Closes)),
            ("nginx.ingress.kubernetes.io/rewrite-target", "/$2", Some(NotHonoured)),
            ("nginx.ingress.kubernetes.io/ssl-redirect", "False", None),
            ("nginx.ingress.kubernetes.io/proxy-buffering", "on", Some(Harmless)),
            ("nginx.ingress.kubernetes.io/canary", "true", Some(LeavesOut)),
            ("nginx.ingress.kubernetes.io/canary", "false", None),
            ("nginx.ingress.kubernetes.io/backend-protocol", "HTTPS", Some(Closes)),
            ("nginx.ingress.kubernetes.io/backend-protocol", "HTTP", None),
            ("nginx.ingress.kubernetes.io/frobnicate", "x", Some(NotHonoured)),
            ("nginx.ingress.kubernetes.io/new-denylist", "x", Some(Closes)),
            ("higress.io/whitelist-source-range", "10.0.0.0/8", Some(Closes)),
            ("higress.io/rewrite-target", "/", Some(NotHonoured)),
            ("traefik.ingress.kubernetes.io/router.middlewares", "a-b@kubernetescrd", Some(Closes)),
            ("appprotect.f5.com/app-protect-enable", "True", Some(Closes)),
            ("cert-manager.io/cluster-issuer", "le", None),
            ("nginx.ingress.kubernetes.io.example.com/auth-type", "basic", None),
        ] {
            assert_eq!(find(key, value).map(|row| row.verdict), verdict, "{key}: {value}");
        }
    }

    #[test]
    fn rows_are_unique_and_complete_clauses() {
        for dialect in DIALECTS {
            let mut names = BTreeSet::new();
            for row in dialect.rows {
                let at = format!("{} {}", dialect.controller, row.name);
                assert!(names.insert(row.name), "{at}: twice");
                assert!(!row.about.is_empty() && !row.about.ends_with('.'), "{at}: {}", row.about);
                let lower = row.except.iter().all(|value| *value == value.to_lowercase());
                assert!(lower && !row.name.contains('/'), "{at}");
            }
            assert!(dialect.prefixes.iter().all(|prefix| prefix.ends_with('/')), "{}", dialect.controller);
        }
    }
}
