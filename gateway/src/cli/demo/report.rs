//! The demo's output: the samples, the commands to try, visitors' requests, and changes of routes.
//!
//! Not here: finding any of that out.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use routing::RoutingTable;
use rustix::termios::tcgetwinsize;

use super::changes::Change;
use super::client::Client;
use super::log::ServedRequest;
use super::row::{Layout, Row};
use super::samples::{Sample, UNKNOWN_HOST};
use crate::cli::style::{Palette, paint};
use crate::control::reload::ProblemView;

/// Changes printed for one generation. An edit of the demo's files makes one or two.
const MAX_CHANGES: usize = 20;

/// Standard output, with colours if it is a terminal that shows them.
pub(super) struct Report<W> {
    out: W,
    palette: Palette,
}

impl Report<io::Stdout> {
    /// Writes to standard output.
    pub(super) fn to_stdout() -> Self {
        Self { out: io::stdout(), palette: Palette::for_stdout() }
    }
}

impl<W: Write> Report<W> {
    /// Returns the layout for the terminal's width, which may change at any time.
    fn layout(&self) -> Layout {
        let width = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        // A pipe has no width, and a terminal that does not know its own reports 0.
        if width == 0 { Layout::Wide } else { Layout::for_width(width) }
    }

    /// Prints which addresses are in use by another process, as `address (flag)`.
    pub(super) fn taken(&mut self, addresses: &[String]) -> io::Result<()> {
        let end = match addresses.len() {
            0 => return Ok(()),
            1 => "is taken: a free port is used instead.",
            _ => "are taken: free ports are used instead.",
        };
        let text = format!("{} {end}", addresses.join(", "));
        self.wrapped(&text.split(' ').collect::<Vec<_>>(), "", "")
    }

    /// Prints the samples as a table, and how many have the expected result.
    pub(super) fn samples(&mut self, table: &RoutingTable, samples: &[Sample]) -> io::Result<()> {
        let (palette, layout) = (self.palette, self.layout());
        let title =
            format!("{} hosts behind one gateway, without a cluster. It served these requests:", table.len());
        writeln!(self.out, "{}", paint(palette.heading, title))?;
        writeln!(self.out, "{}", paint(palette.dim, Row::head(layout)))?;
        for Sample { record, failure } in samples {
            if let Some(record) = record {
                self.record(table, record)?;
            }
            if let Some(failure) = failure {
                self.wrapped(&["!", failure], "    ", "")?;
            }
        }
        let expected = samples.iter().filter(|sample| sample.failure.is_none()).count();
        let style = if expected == samples.len() { palette.good } else { palette.bad };
        let count = format!("{expected} of {} requests went where the Ingresses say", samples.len());
        writeln!(self.out, "{}; {UNKNOWN_HOST} has none.", paint(style, count))
    }

    /// Prints one request.
    pub(super) fn record(&mut self, table: &RoutingTable, record: &ServedRequest) -> io::Result<()> {
        let layout = self.layout();
        let line = Row::new(record, table, layout).render(layout, self.palette);
        writeln!(self.out, "{line}")
    }

    /// Prints commands to try, and addresses.
    pub(super) fn next_steps(&mut self, client: &Client, admin: SocketAddr, folder: &Path) -> io::Result<()> {
        let heading = self.palette.heading;
        writeln!(
            self.out,
            "\n{}",
            paint(heading, "Try it from another terminal. Each request appears below.")
        )?;
        for (host, path) in [
            ("app1.example.com", "/api/products"),
            ("app2.example.com", "/api/products"),
            ("shop.example.com", "/catalog/hats"),
        ] {
            let url = format!("http://{}{path}", client.http);
            self.command(&["curl", &format!("-H 'Host: {host}'"), &url])?;
        }
        let authority = shell_quoted(&folder.join("ca.crt"));
        let (port, address) = (client.https.port(), client.https.ip());
        let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        for host in ["app1.example.com", "app2.example.com"] {
            let resolve = format!("--resolve {host}:{port}:{address}");
            let url = format!("https://{host}:{port}/api/products");
            self.command(&["curl", &format!("--cacert {authority}"), &resolve, &url])?;
        }
        let (url, admin_flag) = ("http://app1.example.com/api/products", format!("--admin {admin}"));
        self.command(&[&program(), "explain", url, &admin_flag])?;
        let edit = "YAML, watched. Put service-b in place of service-a in app1.yaml, and save:";
        writeln!(self.out, "\n{}\n  {}", paint(heading, edit), folder.display())?;
        let pages = format!("http://{admin}/routes  /problems  /metrics  /readyz");
        writeln!(self.out, "{} {pages}", paint(heading, "Admin pages:"))?;
        writeln!(self.out, "Serving http://{} and https://{} until Ctrl-C.", client.http, client.https)
    }

    /// Prints which table is live, what changed, and new Problems.
    pub(super) fn generation(
        &mut self,
        live: Generation,
        changes: &[Change],
        new: &[&ProblemView],
    ) -> io::Result<()> {
        let palette = self.palette;
        let Generation { number, hosts, problems } = live;
        let (style, count) = match problems {
            0 => (palette.good, "no Problems".to_owned()),
            1 => (palette.bad, "1 Problem".to_owned()),
            many => (palette.bad, format!("{many} Problems")),
        };
        let end = if new.is_empty() { "." } else { ":" };
        writeln!(self.out, "Generation {number} is live: {hosts} hosts, {}{end}", paint(style, count))?;
        for change in changes.iter().take(MAX_CHANGES) {
            writeln!(self.out, "  {}", paint(palette.strong, change))?;
        }
        if let Some(more) = changes.len().checked_sub(MAX_CHANGES).filter(|more| *more > 0) {
            writeln!(self.out, "  and {more} more")?;
        }
        self.problems(new)
    }

    /// Prints Problems.
    pub(super) fn problems(&mut self, problems: &[&ProblemView]) -> io::Result<()> {
        for problem in problems {
            let text = problem.to_string();
            self.wrapped(&text.split(' ').collect::<Vec<_>>(), "  ", "")?;
        }
        Ok(())
    }

    /// Hands all output to the terminal.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Prints a command that a shell understands.
    fn command(&mut self, parts: &[&str]) -> io::Result<()> {
        self.wrapped(parts, "  ", " \\")
    }

    /// Prints parts, with spaces between them, in lines of the terminal's width. Further lines are indented by two more
    /// columns, and each but the last ends with `end`.
    fn wrapped(&mut self, parts: &[&str], indent: &str, end: &str) -> io::Result<()> {
        let lines = wrap(parts, self.layout().width() - indent.len() - end.len() - 2);
        for (number, line) in lines.iter().enumerate() {
            let further = if number == 0 { "" } else { "  " };
            let end = if number + 1 == lines.len() { "" } else { end };
            writeln!(self.out, "{indent}{further}{line}{end}")?;
        }
        Ok(())
    }
}

/// The state that is live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generation {
    /// The number of the table.
    pub(super) number: u64,
    /// The number of hosts in it.
    pub(super) hosts: usize,
    /// The number of Problems, known ones included.
    pub(super) problems: usize,
}

/// Joins parts with spaces into lines of a width. A longer part has a line for itself.
fn wrap(parts: &[&str], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + part.chars().count() <= width => {
                line.push(' ');
                line.push_str(part);
            }
            Some(_) | None => lines.push((*part).to_owned()),
        }
    }
    lines
}

/// Returns this program as a shell finds it. After `cargo run` it is not on the search path.
fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_else(|| "gateway".into());
    shell_quoted(Path::new(&name))
}

/// Returns a path as a shell reads it.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn path_with_special_characters_is_quoted() {
        assert_eq!(shell_quoted(Path::new("/tmp/gateway-demo-1-0/ca.crt")), "/tmp/gateway-demo-1-0/ca.crt");
        assert_eq!(shell_quoted(Path::new("/my files/it's")), r"'/my files/it'\''s'");
    }

    #[test]
    fn wrapped_text_breaks_between_parts() {
        assert_eq!(wrap(&["one", "two", "three"], 7), ["one two", "three"]);
        assert_eq!(wrap(&["a", "--long option", "b"], 5), ["a", "--long option", "b"]);
    }
}
