//! Kinds of proxies, and their timeouts.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeerKind {
    /// nginx from Debian.
    Nginx,
    /// HAProxy from Debian, the reference of ratios.
    Haproxy,
    /// HAProxy with `option splice-response`. Measured with large plaintext bodies only.
    #[value(skip)]
    HaproxySplice,
    /// Envoy. Measured with plugins only.
    #[value(skip)]
    Envoy,
    /// This project.
    Gateway,
}

impl PeerKind {
    /// Returns the name of the program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxySplice => "haproxy",
            Self::Envoy => "envoy",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HaproxySplice => "haproxy-splice",
            other => other.program(),
        })
    }
}

/// Timeouts towards clients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientTimeouts {
    /// The defaults, or 10 s for a request head and 75 s between requests where a proxy has no default.
    Default,
    /// 10 min, for idle connections that are measured.
    Long,
}

impl ClientTimeouts {
    /// Returns the timeout in seconds.
    pub(crate) fn seconds(self, default: u32) -> u32 {
        match self {
            Self::Default => default,
            Self::Long => 600,
        }
    }
}
