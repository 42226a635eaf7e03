//! The conditions of RoutePolicies, WasmPlugins and IngressClassConfigs. Pure.
//!
//! `Accepted` says whether the spec is valid, `Ready` whether it has its effect.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use routing::object::Kind;
use routing::problem::Severity;
use routing::{ConfigState, Problem, Reason};

use crate::control::plugin::PluginState;

/// Maximum bytes of a message. The schema of the API allows 32 KiB.
const MAX_MESSAGE_BYTES: usize = 4096;

/// What is known about an object.
#[derive(Clone, Debug)]
pub(super) struct ObjectState {
    /// Its present Problems.
    pub(super) problems: Vec<Problem>,
    /// The generation that these are about.
    pub(super) generation: i64,
    /// What its kind adds.
    pub(super) kind: KindState,
}

/// What the kind of an object adds to its state.
#[derive(Clone, Debug)]
pub(super) enum KindState {
    /// A RoutePolicy.
    Policy,
    /// A WasmPlugin. `None` if no route uses it.
    Plugin(Option<PluginState>),
    /// An IngressClassConfig. `None` if no class of ours names it.
    ClassConfig(Option<ConfigState>),
}

/// `status` of a condition, with its reason and message.
struct ConditionVerdict {
    status: &'static str,
    reason: String,
    message: String,
}

impl ConditionVerdict {
    fn new(status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into() }
    }
}

/// Returns true if an object has an effect in this gateway. Another gateway that reads the same objects leaves its conditions
/// to this one.
pub(super) fn has_effect(state: &ObjectState) -> bool {
    let is_served_elsewhere = state.problems.iter().any(|problem| problem.reason == Reason::TargetNotServed);
    let is_unused = matches!(state.kind, KindState::ClassConfig(None) | KindState::Plugin(None));
    !is_served_elsewhere && !is_unused
}

/// Returns the conditions of an object. A condition that does not change keeps the time of its last transition.
pub(super) fn conditions(state: &ObjectState, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    let verdicts = [("Accepted", accepted(state)), ("Ready", ready(state))];
    let condition = |(type_, verdict): (&str, ConditionVerdict)| {
        let known = before.iter().find(|known| known.type_ == type_ && known.status == verdict.status);
        Condition {
            type_: type_.to_owned(),
            status: verdict.status.to_owned(),
            reason: verdict.reason,
            message: verdict.message,
            observed_generation: Some(state.generation),
            last_transition_time: known.map_or(Time(now), |known| known.last_transition_time.clone()),
        }
    };
    verdicts.into_iter().map(condition).collect()
}

fn accepted(state: &ObjectState) -> ConditionVerdict {
    let errors = state.problems.iter().filter(|problem| is_about_spec(problem.reason));
    if let Some(verdict) = refusal(errors) {
        return verdict;
    }
    match &state.kind {
        KindState::ClassConfig(Some(ConfigState::Invalid(message))) => {
            ConditionVerdict::new("False", &Reason::InvalidParameters.to_string(), truncated(message.clone()))
        }
        _ => ConditionVerdict::new("True", "Accepted", "the spec is valid"),
    }
}

fn ready(state: &ObjectState) -> ConditionVerdict {
    let errors = state.problems.iter().filter(|problem| problem.reason.severity() == Severity::Error);
    if let Some(verdict) = refusal(errors) {
        return verdict;
    }
    match &state.kind {
        KindState::Policy => ConditionVerdict::new("True", "Ready", "the policy is in effect"),
        KindState::Plugin(Some(PluginState::Ready)) => {
            ConditionVerdict::new("True", "Ready", "the newest version serves")
        }
        KindState::Plugin(None) => ConditionVerdict::new("False", "NoRoutes", "no route uses the plugin"),
        KindState::Plugin(Some(PluginState::Refused(message))) => {
            ConditionVerdict::new("False", &Reason::PluginRefused.to_string(), truncated(message.clone()))
        }
        KindState::Plugin(Some(state)) => {
            ConditionVerdict::new("False", "Loading", format!("the newest version is {state}"))
        }
        KindState::ClassConfig(Some(ConfigState::Served)) => {
            ConditionVerdict::new("True", "Ready", "the Ingresses of its classes are served")
        }
        KindState::ClassConfig(Some(ConfigState::Invalid(message))) => {
            ConditionVerdict::new("False", &Reason::InvalidParameters.to_string(), truncated(message.clone()))
        }
        KindState::ClassConfig(None) => {
            ConditionVerdict::new("False", "NotUsed", "no IngressClass of this gateway names it")
        }
    }
}

/// Returns the verdict for an object with these Problems; `None` if there are none.
fn refusal<'a>(errors: impl Iterator<Item = &'a Problem>) -> Option<ConditionVerdict> {
    let errors: Vec<_> = errors.collect();
    let first = errors.first()?;
    let lines = errors.iter().map(|problem| {
        let separator = if problem.field.is_empty() { "" } else { ": " };
        format!("{}{separator}{}", problem.field, problem.message)
    });
    Some(ConditionVerdict::new(
        "False",
        &first.reason.to_string(),
        truncated(lines.collect::<Vec<_>>().join("; ")),
    ))
}

/// Returns true for a Problem of the spec itself. The others are about objects that it names.
fn is_about_spec(reason: Reason) -> bool {
    let is_about_others = matches!(
        reason,
        Reason::ConfigMapNotFound
            | Reason::PluginNotFound
            | Reason::PluginRefused
            | Reason::ServiceNotFound
            | Reason::PortNotFound
            | Reason::TargetNotFound
            | Reason::TargetNotServed
    );
    reason.severity() == Severity::Error && !is_about_others
}

fn truncated(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES));
    text
}

/// Returns true if two lists say the same, apart from times.
pub(super) fn are_equal(before: &[Condition], after: &[Condition]) -> bool {
    let parts = |condition: &Condition| {
        let Condition { type_, status, reason, message, observed_generation, .. } = condition.clone();
        (type_, status, reason, message, observed_generation)
    };
    before.iter().map(parts).eq(after.iter().map(parts))
}

/// Returns true for kinds with conditions.
pub(super) fn has_conditions(kind: Kind) -> bool {
    matches!(kind, Kind::RoutePolicy | Kind::WasmPlugin | Kind::IngressClassConfig)
}

#[cfg(test)]
mod tests {
    use routing::object::{Name, ObjectRef};

    use super::*;

    fn problem(reason: Reason) -> Problem {
        let object = ObjectRef { kind: Kind::RoutePolicy, name: Name::new("shop", "a") };
        Problem { object, field: "spec.a".to_owned(), reason, message: "wrong".to_owned() }
    }

    /// Returns statuses and reasons of both conditions.
    fn verdicts(kind: KindState, problems: &[Problem]) -> [(String, String); 2] {
        let state = ObjectState { problems: problems.to_vec(), generation: 7, kind };
        let found = conditions(&state, &[], Timestamp::UNIX_EPOCH);
        assert!(found.iter().all(|condition| condition.observed_generation == Some(7)));
        assert_eq!([&found[0].type_, &found[1].type_], ["Accepted", "Ready"]);
        [0, 1].map(|index| (found[index].status.clone(), found[index].reason.clone()))
    }

    #[test]
    fn conditions_follow_problems_and_kind() {
        use KindState::{ClassConfig, Plugin, Policy};
        let invalid = || Some(ConfigState::Invalid("a host is wrong".to_owned()));
        for (case, kind, reason, accepted, ready) in [
            ("policy", Policy, None, ("True", "Accepted"), ("True", "Ready")),
            (
                "invalid policy",
                Policy,
                Some(Reason::InvalidValue),
                ("False", "InvalidValue"),
                ("False", "InvalidValue"),
            ),
            (
                "no target",
                Policy,
                Some(Reason::TargetNotFound),
                ("True", "Accepted"),
                ("False", "TargetNotFound"),
            ),
            ("note", Policy, Some(Reason::NoEndpoints), ("True", "Accepted"), ("True", "Ready")),
            ("plugin", Plugin(Some(PluginState::Ready)), None, ("True", "Accepted"), ("True", "Ready")),
            (
                "new plugin",
                Plugin(Some(PluginState::Fetched)),
                None,
                ("True", "Accepted"),
                ("False", "Loading"),
            ),
            ("unused plugin", Plugin(None), None, ("True", "Accepted"), ("False", "NoRoutes")),
            (
                "refused plugin",
                Plugin(None),
                Some(Reason::PluginRefused),
                ("True", "Accepted"),
                ("False", "PluginRefused"),
            ),
            ("config", ClassConfig(Some(ConfigState::Served)), None, ("True", "Accepted"), ("True", "Ready")),
            (
                "invalid config",
                ClassConfig(invalid()),
                None,
                ("False", "InvalidParameters"),
                ("False", "InvalidParameters"),
            ),
        ] {
            let problems: Vec<_> = reason.into_iter().map(problem).collect();
            let expected = [accepted, ready].map(|(status, reason)| (status.to_owned(), reason.to_owned()));
            assert_eq!(verdicts(kind, &problems), expected, "{case}");
        }
    }

    #[test]
    fn transition_time_changes_with_the_status_only() {
        let (early, late) =
            (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(9));
        let (valid, invalid) = (vec![], problem(Reason::InvalidValue));
        let state = |problems, generation| ObjectState { problems, generation, kind: KindState::Policy };
        let first = conditions(&state(valid.clone(), 1), &[], early);
        let second = conditions(&state(valid, 2), &first, late);
        assert_eq!(second[0].last_transition_time, Time(early));
        assert!(!are_equal(&first, &second) && are_equal(&first, &first));
        let third = conditions(&state(vec![invalid], 2), &second, late);
        assert_eq!(third[0].last_transition_time, Time(late));
    }

    #[test]
    fn object_without_effect_is_left_to_other_gateways() {
        let served_elsewhere = problem(Reason::TargetNotServed);
        let state = |problems, kind| ObjectState { problems, generation: 1, kind };
        assert!(!has_effect(&state(vec![served_elsewhere], KindState::Policy)));
        assert!(has_effect(&state(vec![], KindState::Policy)));
        assert!(!has_effect(&state(vec![], KindState::ClassConfig(None))));
    }
}
