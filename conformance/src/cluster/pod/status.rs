//! What a pod's status says of its containers.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::Place;
use super::container::{Report, State};

/// What has become of a pod as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
    pub(super) init: Vec<(Container, Report)>,
    pub(super) main: Vec<(Container, Report)>,
}

impl Moment<'_> {
    /// The phase that the containers add up to.
    fn phase(&self) -> Phase {
        let code = |report: &Report| match report.state {
            State::Ended { code, .. } => Some(code),
            _ => None,
        };
        let is_begun =
            |report: &Report| report.restarts > 0 || !matches!(report.state, State::Waiting { .. });
        let failed_init = self.init.iter().any(|(_, report)| code(report).is_some_and(|code| code != 0));
        let codes: Vec<i32> = self.main.iter().filter_map(|(_, report)| code(report)).collect();
        let all_ended = codes.len() == self.main.len();
        if failed_init || (all_ended && codes.iter().any(|code| *code != 0)) {
            Phase::Failed
        } else if all_ended {
            Phase::Succeeded
        } else if self.main.iter().any(|(_, report)| is_begun(report)) {
            Phase::Running
        } else {
            Phase::Pending
        }
    }

    fn is_initialized(&self) -> bool {
        self.init.iter().all(|(_, report)| matches!(report.state, State::Ended { code: 0, .. }))
    }

    /// A patch for the pod's status subresource.
    pub(super) fn patch(&self) -> Value {
        let ready = self.main.iter().all(|(_, report)| report.ready);
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
                    condition("Initialized", self.is_initialized()),
                    condition("ContainersReady", ready),
                    condition("Ready", ready),
                ],
                "initContainerStatuses": statuses(&self.init),
                "containerStatuses": statuses(&self.main),
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

fn statuses(containers: &[(Container, Report)]) -> Vec<Value> {
    containers.iter().map(|(spec, report)| container(spec, report)).collect()
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
