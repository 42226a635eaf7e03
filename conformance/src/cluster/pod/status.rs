//! Status of a pod: phase, conditions, container statuses.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::container::{ContainerReport, ContainerState};
use super::location::PodLocation;

/// Phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// Inputs of a pod status.
pub(super) struct StatusSnapshot<'a> {
    pub(super) pod: &'a Pod,
    pub(super) location: &'a PodLocation,
    pub(super) started_at: Timestamp,
    pub(super) init: Vec<(Container, ContainerReport)>,
    pub(super) main: Vec<(Container, ContainerReport)>,
}

impl StatusSnapshot<'_> {
    /// Derives the phase from the containers.
    fn phase(&self) -> Phase {
        let code = |report: &ContainerReport| match report.state {
            ContainerState::Terminated { code, .. } => Some(code),
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
        };
        let is_begun = |report: &ContainerReport| {
            report.restarts > 0 || !matches!(report.state, ContainerState::Waiting { .. })
        };
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
        self.init.iter().all(|(_, report)| matches!(report.state, ContainerState::Terminated { code: 0, .. }))
    }

    /// Returns a patch of the pod's status subresource.
    pub(super) fn patch(&self) -> Value {
        let ready = self.main.iter().all(|(_, report)| report.ready);
        let condition = |kind: &str, holds: bool| {
            let status = if holds { "True" } else { "False" };
            let at = self.transition(kind, status);
            json!({ "type": kind, "status": status, "lastTransitionTime": at })
        };
        json!({
            // The uid makes the patch fail for another pod of the same name.
            "metadata": { "uid": self.pod.uid() },
            "status": {
                "phase": format!("{:?}", self.phase()),
                "hostIP": self.location.host,
                "hostIPs": [{ "ip": self.location.host }],
                "podIP": self.location.address,
                "podIPs": [{ "ip": self.location.address }],
                "startTime": self.started_at,
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

    /// Returns the last transition time of a condition: the API server's if the status is unchanged, else now.
    fn transition(&self, kind: &str, status: &str) -> String {
        let known = self.pod.status.as_ref().and_then(|known| known.conditions.as_ref());
        let same = known.into_iter().flatten().find(|known| known.type_ == kind && known.status == status);
        let at = same.and_then(|same| same.last_transition_time.as_ref()).map(|time| time.0);
        at.unwrap_or_else(Timestamp::now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn statuses(containers: &[(Container, ContainerReport)]) -> Vec<Value> {
    containers.iter().map(|(spec, report)| container(spec, report)).collect()
}

fn container(spec: &Container, report: &ContainerReport) -> Value {
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

fn state(state: &ContainerState) -> Value {
    match state {
        ContainerState::Waiting { reason, message } => {
            json!({ "waiting": { "reason": reason, "message": message } })
        }
        ContainerState::Running { started_at } => json!({ "running": { "startedAt": started_at } }),
        ContainerState::Terminated { code, started_at, finished_at } => {
            let reason = if *code == 0 { "Completed" } else { "Error" };
            json!({ "terminated": { "exitCode": code, "reason": reason, "startedAt": started_at, "finishedAt": finished_at } })
        }
    }
}
