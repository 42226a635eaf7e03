//! Objects as a user would write them, and a namespace with a class for each test.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::cluster::cluster;

/// A namespace of a test, and the class of the same name.
pub(crate) struct TestNamespace {
    pub(crate) name: String,
}

impl TestNamespace {
    /// Makes the namespace and the class.
    pub(crate) fn new(name: &str) -> Self {
        let space = Self::without_class(name);
        cluster().apply(&class(name));
        space
    }

    /// Makes the namespace alone.
    pub(crate) fn without_class(name: &str) -> Self {
        cluster().apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
        Self { name: name.to_owned() }
    }

    /// A Service whose endpoints the test writes.
    pub(crate) fn service(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": self.name },
            "spec": { "ports": [{ "name": "http", "port": 80 }] },
        })
    }

    /// One EndpointSlice of a Service: endpoints with one port.
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

    /// A host on a Service, in the class of this name.
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

    /// The same in the test's class.
    pub(crate) fn ingress(&self, name: &str, host: &str) -> Value {
        self.ingress_of(&self.name, name, host)
    }

    /// A Service with one endpoint.
    pub(crate) fn app(&self, name: &str, endpoint: SocketAddr) {
        cluster().apply(&self.service(name));
        cluster().apply(&self.slice(name, 1, &[endpoint]));
    }

    /// A Service with one endpoint that answers with `name`, and an Ingress for the host.
    pub(crate) fn serve(&self, name: &str, host: &str) -> SocketAddr {
        let endpoint = crate::endpoint::start(name);
        self.app(name, endpoint);
        cluster().apply(&self.ingress(name, host));
        endpoint
    }

    /// A TLS Secret.
    pub(crate) fn secret(&self, name: &str, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name, "namespace": self.name },
            "stringData": {
                "tls.crt": certificate.cert.pem(), "tls.key": certificate.signing_key.serialize_pem(),
            },
        })
    }

    /// Removes the namespace, without waiting until it is gone.
    pub(crate) fn delete(&self) {
        cluster()
            .delete(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.name } }));
    }
}

/// A class of ours.
pub(crate) fn class(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": name },
        "spec": { "controller": "wasm-gateway.dev/ingress-controller" },
    })
}

/// A class with a config.
pub(crate) fn class_with(name: &str, config: &str) -> Value {
    let mut class = class(name);
    class["spec"]["parameters"] =
        json!({ "apiGroup": "wasm-gateway.dev", "kind": "IngressClassConfig", "name": config });
    class
}

/// With a TLS part.
pub(crate) fn with_tls(mut ingress: Value, host: &str, secret: &str) -> Value {
    ingress["spec"]["tls"] = json!([{ "hosts": [host], "secretName": secret }]);
    ingress
}
