//! Lint, golden renders of all value sets, and values that contradict each other.

use crate::helm::{helm, text, tools, value_sets};
use crate::{expect, missing};

/// Value sets that the chart must have at least.
const MIN_VALUE_SETS: usize = 12;

#[test]
fn lint_accepts_the_chart_with_each_value_set() {
    if let Err(reason) = tools() {
        return missing::skipped(&format!("lint_accepts_the_chart_with_each_value_set: {reason}"));
    }
    for name in value_sets() {
        let output = helm(&["lint", "--strict", ".", "--values", &format!("tests/values/{name}.yaml")]);
        assert!(output.status.success(), "{name}: {}", text(&output));
    }
}

#[test]
fn renders_equal_the_golden_files() {
    if let Err(reason) = tools() {
        return missing::skipped(&format!("renders_equal_the_golden_files: {reason}"));
    }
    let names = value_sets();
    assert!(names.len() >= MIN_VALUE_SETS, "{names:?}");
    for name in names {
        let values = format!("tests/values/{name}.yaml");
        let output =
            helm(&["template", "gateway", ".", "--namespace", "gateway-system", "--values", &values]);
        assert!(output.status.success(), "{name}: {}", text(&output));
        expect(&format!("tests/golden/{name}.yaml"), &String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn contradicting_values_are_refused() {
    if let Err(reason) = tools() {
        return missing::skipped(&format!("contradicting_values_are_refused: {reason}"));
    }
    for (values, message) in [
        ("autoscaling.enabled=true,kind=DaemonSet", "autoscaling.enabled needs kind: Deployment"),
        ("autoscaling.enabled=true,autoscaling.minReplicas=20", "minReplicas is greater"),
        ("autoscaling.enabled=true,autoscaling.targetCPU=0", "needs autoscaling.targetCPU"),
        ("drain.delaySeconds=30", "drain.delaySeconds must be less"),
        ("status.service=a/b,status.addresses[0]=192.0.2.1", "not both"),
        ("metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true", "twice"),
        ("service.healthCheckNodePort=30900", "needs service.externalTrafficPolicy: Local"),
        ("service.loadBalancerClass=a/b,service.type=NodePort", "needs service.type: LoadBalancer"),
        ("classes[0].name=gateway", "the class \"gateway\" is listed twice"),
        ("plugins.configMaps[0]=a,plugins.configMaps[1]=a", "the folder \"a\" would be mounted twice"),
    ] {
        let output = helm(&["template", "gateway", ".", "--set", values]);
        assert!(!output.status.success(), "{values}");
        assert!(text(&output).contains(message), "{values}: {}", text(&output));
    }
}
