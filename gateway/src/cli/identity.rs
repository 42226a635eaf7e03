//! Who this gateway is among others: the classes that it serves, and where it runs.
//!
//! The same flag and variable for every command that compiles objects. Not here: what they change (`routing`).

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use routing::Config;

/// The zone that the gateway runs in, as nodes are labelled with `topology.kubernetes.io/zone`.
const ZONE: &str = "GATEWAY_ZONE";

/// The flags. The zone comes from the environment, since a Deployment's Pods share their arguments and not their
/// zones.
#[derive(Debug, Args)]
pub struct Identity {
    /// Serve this class whatever its controller is, or even if only the old annotation names it; may be given
    /// several times.
    #[arg(long = "class", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    classes: Vec<String>,
}

impl Identity {
    /// Tells the compiler. Objects from a folder are read as if the gateway ran in namespace `gateway-system`,
    /// whatever `POD_NAMESPACE` is: a folder means the same on a laptop, in CI and in a Pod.
    pub fn routing(&self) -> Config {
        // An empty variable is one that is not set: charts and shells write those.
        let zone = std::env::var(ZONE).ok().filter(|zone| !zone.is_empty());
        Config { classes: self.classes.clone(), zone, ..Config::default() }
    }

    /// Whether any class was named.
    pub fn names_classes(&self) -> bool {
        !self.classes.is_empty()
    }

    /// The classes that were named.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
}
