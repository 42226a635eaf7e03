//! Rules of the API server about Ingresses that the compiler does not need. An object that breaks one cannot be applied.
//!
//! Not here: what the compiler reports itself, such as hosts that are no DNS names (`routing`).

use k8s_openapi::api::networking::v1 as networking;
use routing::object::FieldError;

use super::is_valid_name;

/// Maximum length of the name of a Service, from RFC 1035 (a DNS label).
const MAX_LABEL_BYTES: usize = 63;

/// Maximum length of the name of a port, from RFC 6335.
const MAX_PORT_NAME_BYTES: usize = 15;

/// Parts of a path that the API server refuses for Exact and Prefix.
const REFUSED_PARTS: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];

/// Ends of a path that the API server refuses for Exact and Prefix.
const REFUSED_ENDS: &[&str] = &["/..", "/."];

/// Returns the fields that the API server refuses.
pub(super) fn ingress_faults(ingress: &networking::Ingress) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let Some(spec) = &ingress.spec else { return faults };
    let mut fault =
        |field: String, message: &str| faults.push(FieldError { field, message: message.to_owned() });
    if let Some(class) = &spec.ingress_class_name
        && (class.is_empty() || !is_valid_name(class, super::MAX_NAME_BYTES))
    {
        fault("spec.ingressClassName".to_owned(), "not a name of an IngressClass");
    }
    if let Some(backend) = &spec.default_backend {
        backend_faults("spec.defaultBackend", backend, &mut fault);
    }
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        let at = format!("spec.rules[{index}]");
        host_faults(format!("{at}.host"), rule.host.as_deref().unwrap_or_default(), &mut fault);
        let Some(http) = &rule.http else { continue };
        if http.paths.is_empty() {
            fault(format!("{at}.http.paths"), "at least one path is required");
        }
        for (index, path) in http.paths.iter().enumerate() {
            let at = format!("{at}.http.paths[{index}]");
            path_faults(format!("{at}.path"), path, &mut fault);
            backend_faults(&format!("{at}.backend"), &path.backend, &mut fault);
        }
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        for (host_index, host) in tls.hosts.iter().flatten().enumerate() {
            host_faults(format!("spec.tls[{index}].hosts[{host_index}]"), host, &mut fault);
        }
        if let Some(secret) = &tls.secret_name
            && !is_valid_name(secret, super::MAX_NAME_BYTES)
        {
            fault(format!("spec.tls[{index}].secretName"), "not a name of a Secret");
        }
    }
    faults
}

fn host_faults(field: String, host: &str, fault: &mut impl FnMut(String, &str)) {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        fault(field, "a host must be in lower case");
    } else if host.ends_with('.') {
        fault(field, "a host must not end in a dot");
    }
}

fn path_faults(field: String, path: &networking::HTTPIngressPath, fault: &mut impl FnMut(String, &str)) {
    let text = path.path.as_deref().unwrap_or_default();
    if !matches!(path.path_type.as_str(), "Exact" | "Prefix") {
        if !text.is_empty() && !text.starts_with('/') {
            fault(field, "a path must start with a slash");
        }
        return;
    }
    let part = REFUSED_PARTS.iter().find(|part| text.contains(**part));
    if let Some(part) = part.or_else(|| REFUSED_ENDS.iter().find(|end| text.ends_with(**end))) {
        fault(field, &format!("a path of type Exact or Prefix must not have {part}"));
    }
}

fn backend_faults(at: &str, backend: &networking::IngressBackend, fault: &mut impl FnMut(String, &str)) {
    let Some(service) = &backend.service else { return };
    let is_label = is_valid_name(&service.name, MAX_LABEL_BYTES)
        && service.name.starts_with(|first: char| first.is_ascii_lowercase())
        && !service.name.ends_with('-')
        && !service.name.contains('.');
    if !service.name.is_empty() && !is_label {
        fault(
            format!("{at}.service.name"),
            "not a name of a Service: up to 63 of a-z, 0-9 and -, from a letter on",
        );
    }
    let port = service.port.as_ref().and_then(|port| port.name.as_deref()).unwrap_or_default();
    let is_port_name = port.len() <= MAX_PORT_NAME_BYTES
        && port.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && port.bytes().any(|byte| byte.is_ascii_lowercase());
    if !port.is_empty() && !is_port_name {
        fault(
            format!("{at}.service.port.name"),
            "not a name of a port: up to 15 of a-z, 0-9 and -, with a letter; write a number as port.number",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_api_server_refuses_are_found() {
        struct Row {
            yaml: &'static str,
            faults: &'static [&'static str],
        }
        let path = "spec.rules[0].http.paths[0]";
        for Row { yaml, faults } in [
            Row { yaml: "{rules: [{host: a.example}]}", faults: &[] },
            Row { yaml: "{rules: [{host: A.example}]}", faults: &["spec.rules[0].host"] },
            Row { yaml: "{tls: [{hosts: [a.example.]}]}", faults: &["spec.tls[0].hosts[0]"] },
            Row { yaml: "{tls: [{secretName: Cert}]}", faults: &["spec.tls[0].secretName"] },
            Row { yaml: "{ingressClassName: ''}", faults: &["spec.ingressClassName"] },
            Row { yaml: "{rules: [{http: {paths: []}}]}", faults: &["spec.rules[0].http.paths"] },
            Row {
                yaml: "{defaultBackend: {service: {name: 1a, port: {name: Web}}}}",
                faults: &["spec.defaultBackend.service.name", "spec.defaultBackend.service.port.name"],
            },
        ] {
            let ingress = format!("{{metadata: {{name: i}}, spec: {yaml}}}");
            let found = ingress_faults(&serde_saphyr::from_str(&ingress).unwrap());
            let fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
            assert_eq!(fields, faults, "{yaml}");
        }
        for (text, kind, count) in [
            ("/a//b", "Prefix", 1),
            ("/a/../b", "Exact", 1),
            ("/a/..", "Prefix", 1),
            ("/a%2Fb", "Prefix", 1),
            ("/a//b", "ImplementationSpecific", 0),
            ("a", "ImplementationSpecific", 1),
            ("/a", "Prefix", 0),
        ] {
            let backend = "backend: {service: {name: a, port: {number: 80}}}";
            let yaml = format!(
                "{{metadata: {{name: i}}, spec: {{rules: [{{http: {{paths: [{{path: {text}, pathType: {kind}, {backend}}}]}}}}]}}}}"
            );
            let found = ingress_faults(&serde_saphyr::from_str(&yaml).unwrap());
            assert_eq!(found.len(), count, "{text} {kind}");
            assert!(found.iter().all(|fault| fault.field == format!("{path}.path")), "{text}");
        }
    }
}
