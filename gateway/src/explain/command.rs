//! `gateway explain URL`: asks a folder, or a running gateway by its admin pages.
//!
//! Not here: the answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use routing::object::Name;

use super::request::{self, Asked};
use super::{Facts, explain};
use crate::cli;
use crate::cli::identity::Identity;
use crate::cli::loopback;
use crate::process;

/// How long the running gateway may take to be reached, and to say the next part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `--help` says of how it ends.
const EXIT_CODES: &str = "\
It ends with 0 if there is an answer, whatever its status is; 1 if the URL or a header cannot be asked about, or \
nobody answers; 2 if the command line is wrong.";

/// `gateway explain`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Explain {
    /// The URL of the request.
    url: String,
    /// The request's method.
    #[arg(long, value_name = "M", default_value = "GET")]
    method: String,
    /// A header of the request; may be given several times.
    #[arg(long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// Ask this folder of YAML, as if a gateway served it.
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    files: Option<PathBuf>,
    /// Ask the running gateway whose admin pages are here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// The Service by which the outside reaches the gateway; it is only told of.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = request::service_name)]
    status_service: Option<Name>,
    /// For people or for tools.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Explain {
    /// Asks and prints, and says with which code the process ends.
    pub fn execute(self) -> ExitCode {
        match self.ask() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                cli::complain("explain", &error);
                ExitCode::FAILURE
            }
        }
    }

    fn ask(&self) -> anyhow::Result<()> {
        let asked = Asked::new(&self.method, &self.url, &self.headers)?;
        let text = match &self.files {
            Some(folder) => self.ask_folder(folder, &asked)?,
            None => self.ask_gateway()?,
        };
        std::io::stdout().lock().write_all(text.as_bytes()).context("cannot print")
    }

    fn ask_folder(&self, folder: &std::path::Path, asked: &Asked) -> anyhow::Result<String> {
        let reload = process::read_once(folder, self.identity.routing()?)?;
        let (live, problems) = (reload.live().load_full(), reload.problems());
        let facts = Facts {
            compiler: reload.compiler(),
            live: &live,
            problems: &problems,
            status_service: self.status_service.as_ref(),
        };
        let explanation = explain(asked, facts);
        Ok(match self.output {
            Output::Text => explanation.to_string(),
            Output::Json => serde_json::to_string_pretty(&explanation)? + "\n",
        })
    }

    fn ask_gateway(&self) -> anyhow::Result<String> {
        if self.identity.names_classes() {
            bail!("--class is for --files: a running gateway has its own");
        }
        let mut target = format!("/explain?url={}&method={}", encode(&self.url), encode(&self.method));
        for header in &self.headers {
            target += &format!("&header={}", encode(header));
        }
        if let Some(service) = &self.status_service {
            target += &format!("&service={}", encode(&service.to_string()));
        }
        if self.output == Output::Json {
            target += "&output=json";
        }
        let unreached = || {
            let admin = self.admin;
            format!("no gateway answers at {admin} (--admin ADDR asks elsewhere, --files DIR asks a folder)")
        };
        let (status, text) = get(self.admin, &target).with_context(unreached)?;
        match (status, self.output) {
            (200, Output::Text) => Ok(text),
            (200, Output::Json) => {
                let value: serde_json::Value = serde_json::from_str(&text)?;
                Ok(serde_json::to_string_pretty(&value)? + "\n")
            }
            _ => bail!("{} answers {status}: {}", self.admin, text.trim_end()),
        }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// One request by HTTP/1.0, whose answer ends with the connection and is never chunked.
fn get(address: SocketAddr, target: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {target} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the answer is not HTTP")?, body.to_owned()))
}
