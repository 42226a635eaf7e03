//! Kubernetes objects as users write them, and a namespace with a class for each test.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::cluster::cluster;

/// The namespace of a test, and an IngressClass of the same name.
pub(crate) struct TestNamespace {
    pub(crate) name: String,
}

impl TestNamespace {
    /// Creates the namespace and the class.
    pub(crate) fn new(name: &str) -> Self {
        let space = Self::without_class(name);
        cluster().apply(&class(name));
        space
    }

    /// Creates the namespace only.
    pub(crate) fn without_class(name: &str) -> Self {
        cluster().apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
        Self { name: name.to_owned() }
    }

    /// Returns a Service without a selector: the test writes its endpoints.
    pub(crate) fn service(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": self.name },
            "spec": { "ports": [{ "name": "http", "port": 80 }] },
        })
    }

    /// Returns an EndpointSlice of a Service. All endpoints have the port of the first one.
    pub(crate) fn slice(&self, service: &str, number: usize, endpoints: &[SocketAddr]) -> Value {
        let port = endpoints.first().map_or(80, SocketAddr::port);
        let endpoints: Vec<_> =
            endpoints.iter().map(|endpoint| json!({ "addresses": [endpoint.ip()] })).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{service}-{number}"), "namespace": self.name,
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
            "endpoints": endpoints,
        })
    }

    /// Returns an Ingress of this class that routes a host to the Service of the same name.
    pub(crate) fn ingress_of(&self, class: &str, name: &str, host: &str) -> Value {
        let backend = json!({ "service": { "name": name, "port": { "number": 80 } } });
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": self.name },
            "spec": { "ingressClassName": class, "rules": [{
                "host": host,
                "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
            }] },
        })
    }

    /// Returns an Ingress of the test's class that routes a host to the Service of the same name.
    pub(crate) fn ingress(&self, name: &str, host: &str) -> Value {
        self.ingress_of(&self.name, name, host)
    }

    /// Creates a Service with one endpoint.
    pub(crate) fn app(&self, name: &str, endpoint: SocketAddr) {
        cluster().apply(&self.service(name));
        cluster().apply(&self.slice(name, 1, &[endpoint]));
    }

    /// Creates a Service with one endpoint that responds with `name`, and an Ingress for the host.
    pub(crate) fn serve(&self, name: &str, host: &str) -> SocketAddr {
        let endpoint = crate::endpoint::start(name);
        self.app(name, endpoint);
        cluster().apply(&self.ingress(name, host));
        endpoint
    }

    /// Returns a TLS Secret.
    pub(crate) fn secret(&self, name: &str, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name, "namespace": self.name },
            "stringData": {
                "tls.crt": certificate.cert.pem(), "tls.key": certificate.signing_key.serialize_pem(),
            },
        })
    }

    /// Deletes the namespace without waiting for the end of its termination.
    pub(crate) fn delete(&self) {
        cluster()
            .delete(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.name } }));
    }
}

/// Returns an IngressClass of our controller.
pub(crate) fn class(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": name },
        "spec": { "controller": "wasm-gateway.dev/ingress-controller" },
    })
}

/// Makes a class that of another controller, so that gateways serve it only by `--class`.
pub(crate) fn of_another_controller(mut class: Value) -> Value {
    class["spec"]["controller"] = "example.com/other".into();
    class
}

/// Returns an IngressClass with an IngressClassConfig.
pub(crate) fn class_with_config(name: &str, config: &str) -> Value {
    let mut class = class(name);
    class["spec"]["parameters"] =
        json!({ "apiGroup": "wasm-gateway.dev", "kind": "IngressClassConfig", "name": config });
    class
}

/// Adds a TLS section to an Ingress.
pub(crate) fn with_tls(mut ingress: Value, host: &str, secret: &str) -> Value {
    ingress["spec"]["tls"] = json!([{ "hosts": [host], "secretName": secret }]);
    ingress
}
