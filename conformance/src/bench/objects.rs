//! Kubernetes objects of cases that start their own gateway, as YAML in the namespace `bench`.

/// Returns a Service of the backend's two ports.
pub(crate) fn service(name: &str, [first, second]: [u16; 2]) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: bench
  annotations:
    wasm-gateway.dev/endpoints: \"127.0.0.1:{first},127.0.0.1:{second}\"
spec:
  ports:
    - port: 80
"
    )
}

/// Returns an Ingress with one host, all paths to one Service.
pub(crate) fn ingress(name: &str, host: &str, service: &str) -> String {
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  namespace: bench
spec:
  ingressClassName: gateway
  rules:
    - host: {host}
      http:
        paths:
          - {{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}
"
    )
}

/// Returns an object of ours about one Ingress, with further fields of its spec in flow style: `{field: value}`.
pub(crate) fn about_ingress(kind: &str, name: &str, ingress: &str, spec: &str) -> String {
    let target = format!("{{group: networking.k8s.io, kind: Ingress, name: {ingress}}}");
    let spec = spec.replacen('{', &format!("{{targetRefs: [{target}], "), 1);
    format!(
        "---
apiVersion: wasm-gateway.dev/v1alpha1
kind: {kind}
metadata:
  name: {name}
  namespace: bench
spec: {spec}
"
    )
}
