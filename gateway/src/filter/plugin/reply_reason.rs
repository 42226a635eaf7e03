//! Reasons of the local replies that plugins cause, each with its status and its name in logs.

use crate::message::LocalReply;

/// Why a plugin, or the lack of it, ends a request with a local reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginReply {
    /// The route needs a WasmPlugin that does not exist or has no valid spec.
    Missing,
    /// No version of the plugin is loaded, and its failure strategy is `FAIL_CLOSE`.
    Unavailable,
    /// A call of the plugin failed, or its breaker is open, and its failure strategy is `FAIL_CLOSE`.
    Failed,
    /// The plugin closed the stream.
    Closed,
    /// The plugin holds a request body that is larger than `limits.requestBody`.
    RequestTooLarge,
    /// The plugin holds a response body that is larger than `limits.responseBody`.
    ResponseTooLarge,
    /// The plugin replied.
    Guest,
}

impl PluginReply {
    /// All reasons. A test compares the list with the enum.
    pub const ALL: &[Self] = &[
        Self::Missing,
        Self::Unavailable,
        Self::Failed,
        Self::Closed,
        Self::RequestTooLarge,
        Self::ResponseTooLarge,
        Self::Guest,
    ];

    /// Returns the status of the reply. Returns `None` if the guest sets it.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Missing | Self::Unavailable | Self::Failed | Self::Closed => Some(503),
            Self::RequestTooLarge => Some(413),
            Self::ResponseTooLarge => Some(500),
            Self::Guest => None,
        }
    }

    /// Returns the reason as the `gateway-reason` field, the body, the access log and the metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "plugin_missing",
            Self::Unavailable => "plugin_unavailable",
            Self::Failed => "plugin_failed",
            Self::Closed => "plugin_closed",
            Self::RequestTooLarge | Self::ResponseTooLarge => "plugin_body_too_large",
            Self::Guest => "plugin_reply",
        }
    }

    /// Returns a reply without the guest's part.
    pub(super) fn local_reply(self) -> Box<LocalReply> {
        Box::new(LocalReply::new(self.status().unwrap_or(500), self.as_str()))
    }
}
