//! Edits header fields of requests and responses, as rules say.

mod condition;
mod edit;
mod template;

use plugin_sdk::prelude::*;

use condition::Condition;
use edit::Edit;

/// Configuration of the plugin.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Rules. Each one that matches applies, in order.
    rules: Vec<Rule>,
}

/// Edits of the messages that a condition matches.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Which requests the rule is about. Default: all.
    #[serde(default)]
    when: Condition,
    /// Edits of the request's fields.
    #[serde(default)]
    request: Vec<Edit>,
    /// Edits of the response's fields.
    #[serde(default)]
    response: Vec<Edit>,
}

/// The plugin.
pub struct HeaderRewrite {
    rules: Vec<Rule>,
}

/// The rules with a condition that match a request.
#[derive(Default)]
pub struct Matched(Vec<usize>);

#[plugin]
impl Plugin for HeaderRewrite {
    type Config = Settings;
    type Stream = Matched;

    fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
        for (index, rule) in settings.rules.iter().enumerate() {
            if rule.request.is_empty() && rule.response.is_empty() {
                return Err(Error::message(format!(
                    "rules[{index}]: name an edit of the request or the response"
                )));
            }
        }
        Ok(Self { rules: settings.rules })
    }

    async fn on_request(&self, matched: &mut Matched, request: &mut Request) -> Result<Flow, Error> {
        // All conditions see the request as it came.
        let mut fields = None;
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.when.is_empty() && rule.when.matches(request, &mut fields)? {
                matched.0.push(index);
            }
        }
        for rule in self.matching(matched) {
            edit::apply(&rule.request, request)?;
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, matched: &mut Matched, response: &mut Response) -> Result<Flow, Error> {
        for rule in self.matching(matched) {
            edit::apply(&rule.response, response)?;
        }
        Ok(Flow::Continue)
    }
}

impl HeaderRewrite {
    /// Returns the rules of a request. Those without a condition are about all.
    fn matching(&self, matched: &Matched) -> impl Iterator<Item = &Rule> {
        let rules = self.rules.iter().enumerate();
        rules.filter(|(index, rule)| rule.when.is_empty() || matched.0.contains(index)).map(|(_, rule)| rule)
    }
}

#[cfg(test)]
mod tests;
