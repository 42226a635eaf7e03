//! Probes of a kubelet: HTTP, TCP and commands, with thresholds.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Body;
use axum::http::{Request, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe as Spec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::process::Command;

/// A parsed probe.
#[derive(Debug)]
pub(super) struct Probe {
    action: ProbeAction,
    /// Delay before the first attempt.
    pub(super) delay: Duration,
    /// Interval between attempts.
    pub(super) period: Duration,
    timeout: Duration,
    success_threshold: i32,
    failure_threshold: i32,
}

#[derive(Debug)]
enum ProbeAction {
    Http { to: SocketAddr, get: HTTPGetAction },
    Tcp(SocketAddr),
    Command(Vec<String>),
}

/// Consecutive equal results.
#[derive(Debug, Default)]
pub(super) struct ResultStreak {
    last: Option<bool>,
    length: i32,
}

impl Probe {
    /// Parses a probe of a container at `address`.
    ///
    /// # Errors
    /// The kind of probe is not supported, or the container lacks the named port.
    pub(super) fn new(spec: &Spec, container: &Container, address: Ipv4Addr) -> anyhow::Result<Self> {
        let action = if let Some(get) = &spec.http_get {
            if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
                bail!("these nodes do not support probes over HTTPS");
            }
            ProbeAction::Http { to: (address, resolve_port(&get.port, container)?).into(), get: get.clone() }
        } else if let Some(socket) = &spec.tcp_socket {
            ProbeAction::Tcp((address, resolve_port(&socket.port, container)?).into())
        } else if let Some(exec) = &spec.exec {
            ProbeAction::Command(exec.command.clone().unwrap_or_default())
        } else {
            bail!("a probe of a kind that these nodes do not support");
        };
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        Ok(Self {
            action,
            delay: seconds(spec.initial_delay_seconds, 0),
            period: seconds(spec.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(spec.timeout_seconds, 1).max(Duration::from_secs(1)),
            success_threshold: spec.success_threshold.unwrap_or(1),
            failure_threshold: spec.failure_threshold.unwrap_or(3),
        })
    }

    /// Probes once. `enter` returns a command that runs in the container.
    ///
    /// # Cancellation
    /// Dropping the future ends the attempt.
    pub(super) async fn succeeds(&self, enter: impl Fn(&[String]) -> Command) -> bool {
        let attempt = tokio::time::timeout(self.timeout, async {
            match &self.action {
                ProbeAction::Http { to, get } => http_get_succeeds(*to, get).await.unwrap_or(false),
                ProbeAction::Tcp(to) => TcpStream::connect(to).await.is_ok(),
                ProbeAction::Command(command) => {
                    let done = enter(command).kill_on_drop(true).output().await;
                    done.is_ok_and(|done| done.status.success())
                }
            }
        });
        attempt.await.unwrap_or(false)
    }

    /// Records a result. Returns it once it reaches its threshold of consecutive results.
    pub(super) fn verdict(&self, streak: &mut ResultStreak, success: bool) -> Option<bool> {
        if streak.last != Some(success) {
            *streak = ResultStreak { last: Some(success), length: 0 };
        }
        streak.length = streak.length.saturating_add(1);
        let enough = if success { self.success_threshold } else { self.failure_threshold };
        (streak.length >= enough).then_some(success)
    }
}

/// Returns a port by its number or its name in the container.
fn resolve_port(port: &IntOrString, container: &Container) -> anyhow::Result<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    let number = number.with_context(|| format!("the container has no port {port:?}"))?;
    Ok(u16::try_from(number)?)
}

/// Returns whether the response to a GET has a status from 200 to 399.
async fn http_get_succeeds(to: SocketAddr, get: &HTTPGetAction) -> anyhow::Result<bool> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(get.path.as_deref().unwrap_or("/"))
        .header(header::HOST, to.to_string())
        .header(header::USER_AGENT, "kube-probe/conformance");
    for header in get.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let response = sender.send_request(request.body(Body::empty())?);
    tokio::select! {
        response = response => Ok((200..400).contains(&response?.status().as_u16())),
        ended = connection => { ended?; bail!("no response") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_needs_its_threshold_of_equal_results() {
        let spec = Spec {
            tcp_socket: Some(k8s_openapi::api::core::v1::TCPSocketAction {
                port: IntOrString::Int(1),
                host: None,
            }),
            failure_threshold: Some(3),
            success_threshold: Some(2),
            ..Spec::default()
        };
        let probe = Probe::new(&spec, &Container::default(), Ipv4Addr::LOCALHOST).unwrap();
        let mut streak = ResultStreak::default();
        let verdicts: Vec<_> = [false, false, true, false, false, false, true, true]
            .map(|success| probe.verdict(&mut streak, success))
            .into();
        assert_eq!(verdicts, [None, None, None, None, None, Some(false), None, Some(true)]);
    }
}
