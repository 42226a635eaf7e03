//! What a pod's status says of its containers.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::Place;
use super::container::{Report, State};

/// What has become of a pod as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// A pod's moment.
pub(super) struct Moment<'a> {
    pub(super) pod: &'a Pod,
    pub(super) place: &'a Place,
    pub(super) since: Timestamp,
    /// Whether all init containers are through.
    pub(super) is_initialized: bool,
    /// The containers that are shown, with their reports.
    pub(super) containers: Vec<(&'a Container, Report)>,
}

impl Moment<'_> {
    /// The phase that the containers add up to.
    pub(super) fn phase(&self) -> Phase {
        let mut ended = 0;
        let mut failed = false;
        let mut begun = false;
        for (_, report) in &self.containers {
            begun |= report.restarts > 0 || !matches!(report.state, State::Waiting { .. });
            if let State::Ended { code, .. } = report.state {
                ended += 1;
                failed |= code != 0;
            }
        }
        match (ended == self.containers.len(), failed) {
            _ if !self.is_initialized || !begun => Phase::Pending,
            (true, true) => Phase::Failed,
            (true, false) => Phase::Succeeded,
            (false, _) => Phase::Running,
        }
    }

    /// A patch for the pod's status subresource.
    pub(super) fn patch(&self) -> Value {
        let ready = self.is_initialized && self.containers.iter().all(|(_, report)| report.ready);
        let condition = |kind: &str, holds: bool| {
            let status = if holds { "True" } else { "False" };
            let at = self.transition(kind, status);
            json!({ "type": kind, "status": status, "lastTransitionTime": at })
        };
        json!({
            // Another pod of the same name is none of ours.
            "metadata": { "uid": self.pod.uid() },
            "status": {
                "phase": format!("{:?}", self.phase()),
                "hostIP": self.place.host,
                "hostIPs": [{ "ip": self.place.host }],
                "podIP": self.place.address,
                "podIPs": [{ "ip": self.place.address }],
                "startTime": self.since,
                "conditions": [
                    condition("PodReadyToStartContainers", true),
                    condition("Initialized", self.is_initialized),
                    condition("ContainersReady", ready),
                    condition("Ready", ready),
                ],
                "containerStatuses":
                    self.containers.iter().map(|(spec, report)| container(spec, report)).collect::<Vec<_>>(),
            },
        })
    }

    /// When a condition came to be what it is: as the API server's copy says, or now.
    fn transition(&self, kind: &str, status: &str) -> String {
        let known = self.pod.status.as_ref().and_then(|known| known.conditions.as_ref());
        let same = known.into_iter().flatten().find(|known| known.type_ == kind && known.status == status);
        let at = same.and_then(|same| same.last_transition_time.as_ref()).map(|time| time.0);
        at.unwrap_or_else(Timestamp::now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn container(spec: &Container, report: &Report) -> Value {
    let image = spec.image.as_deref().unwrap_or_default();
    json!({
        "name": spec.name,
        "image": image,
        "imageID": image,
        "containerID": format!("conformance://{}", spec.name),
        "ready": report.ready,
        "started": report.started,
        "restartCount": report.restarts,
        "state": state(&report.state),
        "lastState": report.last.as_ref().map_or_else(|| json!({}), state),
    })
}

fn state(state: &State) -> Value {
    match state {
        State::Waiting { reason, message } => json!({ "waiting": { "reason": reason, "message": message } }),
        State::Running { since } => json!({ "running": { "startedAt": since } }),
        State::Ended { code, since, at } => {
            let reason = if *code == 0 { "Completed" } else { "Error" };
            json!({ "terminated": { "exitCode": code, "reason": reason, "startedAt": since, "finishedAt": at } })
        }
    }
}
