//! A plugin that does what its configuration lists, and logs the result of each call into the host.
//!
//! Its cases run in the mock host (`tests/parity.rs`) and in the gateway (`gateway/tests/plugin_cases.rs`): both have the same
//! rules.

use plugin_sdk::prelude::*;

/// What the plugin does.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steps {
    /// At the head of the request.
    #[serde(default)]
    request: Vec<Step>,
    /// At the head of the response.
    #[serde(default)]
    response: Vec<Step>,
    /// At the trailers of the response.
    #[serde(default)]
    trailers: Vec<Step>,
    /// The reply to the request.
    reply: Option<ReplySpec>,
}

/// One call into the host.
#[derive(Deserialize, Config)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Set(Pair),
    Append(Pair),
    Remove(String),
    /// Appends a field with a value of this many bytes.
    AppendLong(u32),
    /// Calls a service.
    Call(CallSpec),
}

#[derive(Deserialize, Config)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Deserialize, Config)]
struct CallSpec {
    upstream: String,
    path: String,
    #[serde(default)]
    fields: Vec<Pair>,
}

#[derive(Deserialize, Config)]
struct ReplySpec {
    status: u16,
    #[serde(default)]
    fields: Vec<Pair>,
    #[serde(default)]
    body: String,
}

pub(crate) struct Parity(Steps);

#[plugin]
impl Plugin for Parity {
    type Config = Steps;

    fn new(steps: Steps, _: &RootContext) -> Result<Self, Error> {
        Ok(Self(steps))
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        for step in &self.0.request {
            match step {
                Step::Call(call) => send(call).await,
                step => edit(request, step),
            }
        }
        let Some(spec) = &self.0.reply else { return Ok(Flow::Continue) };
        let mut reply = Reply::new(spec.status).body(spec.body.as_str());
        for Pair { name, value } in &spec.fields {
            reply = reply.header(name, value);
        }
        Ok(reply.into())
    }

    async fn on_response(&self, _: &mut (), response: &mut Response) -> Result<Flow, Error> {
        self.0.response.iter().for_each(|step| edit(response, step));
        Ok(Flow::Continue)
    }

    async fn on_response_trailers(&self, _: &mut (), trailers: &mut Trailers) -> Result<Flow, Error> {
        self.0.trailers.iter().for_each(|step| edit(trailers, step));
        Ok(Flow::Continue)
    }
}

fn edit(message: &mut impl Headers, step: &Step) {
    let (name, result) = match step {
        Step::Set(Pair { name, value }) => (name.as_str(), message.set(name, value)),
        Step::Append(Pair { name, value }) => (name.as_str(), message.append(name, value)),
        Step::Remove(name) => (name.as_str(), message.remove(name)),
        Step::AppendLong(bytes) => ("x-long", message.append("x-long", "v".repeat(*bytes as usize))),
        Step::Call(_) => return,
    };
    match result {
        Ok(()) => log::info!("{}: done", name.escape_debug()),
        Err(error) => log::info!("{}: {error}", name.escape_debug()),
    }
}

async fn send(spec: &CallSpec) {
    let mut call = callout::http(&spec.upstream).path(&spec.path);
    for Pair { name, value } in &spec.fields {
        call = call.header(name, value);
    }
    match call.send().await {
        Ok(answer) => log::info!("{}: {}", spec.upstream, answer.status()),
        Err(error) => log::info!("{}: {error}", spec.upstream),
    }
}
