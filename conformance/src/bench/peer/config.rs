//! Configurations of the peers for equal work.
//!
//! Each peer routes by Host and path, keeps connections alive on both sides, balances round robin over two endpoints,
//! and offers TLS 1.3 with the same certificate. Each replaces X-Forwarded-For, -Proto, -Host, -Port and X-Real-IP.

use std::path::Path;

use super::kind::{ClientTimeouts, PeerKind};
use crate::bench::http::{HOST, Scheme};
use crate::bench::tls::BenchCertificate;

/// Parameters of the configurations of nginx and HAProxy.
pub(super) struct ProxyConfig<'a> {
    /// Ports for plaintext and TLS.
    pub(super) ports: [u16; 2],
    /// Ports of the two endpoints.
    pub(super) endpoints: [u16; 2],
    /// File with certificate and key.
    pub(super) pem: &'a Path,
    pub(super) timeouts: ClientTimeouts,
}

impl ProxyConfig<'_> {
    /// Returns nginx's `http` section. Response files are off, because no other peer writes to disk. The pool keeps as many
    /// idle connections as can be in use, as the other peers do.
    pub(super) fn nginx(&self) -> String {
        let Self { ports: [http, https], endpoints: [first, second], pem, timeouts } = *self;
        let header = timeouts.seconds(60);
        format!(
            "  client_header_timeout {header}s;\n  proxy_max_temp_file_size 0;\n  ssl_protocols TLSv1.3;\n  \
         ssl_certificate {pem};\n  ssl_certificate_key {pem};\n  \
         upstream bench {{\n    server 127.0.0.1:{first};\n    server 127.0.0.1:{second};\n    keepalive 1024;\n    \
         keepalive_requests 1000000000;\n  }}\n  \
         server {{\n    listen 127.0.0.1:{http} default_server;\n    \
         listen 127.0.0.1:{https} ssl http2 default_server;\n    return 404;\n  }}\n  \
         server {{\n    listen 127.0.0.1:{http};\n    listen 127.0.0.1:{https} ssl http2;\n    \
         server_name {HOST};\n    location / {{\n      \
         proxy_pass http://bench;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-For $remote_addr;\n      \
         proxy_set_header X-Forwarded-Proto $scheme;\n      proxy_set_header X-Forwarded-Host $http_host;\n      \
         proxy_set_header X-Forwarded-Port $server_port;\n      proxy_set_header X-Real-IP $remote_addr;\n      \
         proxy_pass_header Server;\n    }}\n  }}\n",
            pem = pem.display()
        )
    }

    /// Returns HAProxy's configuration.
    pub(super) fn haproxy(&self, kind: PeerKind) -> String {
        let Self { ports: [http, https], endpoints: [first, second], pem, timeouts } = *self;
        let (header, idle) = (timeouts.seconds(10), timeouts.seconds(75));
        let client = timeouts.seconds(60);
        // By default HAProxy reserves file descriptors for one pipe per four connections, which exceeds the limit here.
        let (pipes, splice) = match kind {
            PeerKind::HaproxySplice => ("  maxpipes 256\n", "  option splice-response\n"),
            PeerKind::Nginx | PeerKind::Haproxy | PeerKind::Envoy | PeerKind::Gateway => ("", ""),
        };
        let plain = haproxy_frontend(Scheme::Http, &format!("127.0.0.1:{http}"));
        let tls = format!("127.0.0.1:{https} ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3", pem.display());
        let tls = haproxy_frontend(Scheme::Https, &tls);
        format!(
            "global\n  nbthread 1\n  maxconn 8192\n{pipes}\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client {client}s\n  timeout server 60s\n  \
         timeout http-request {header}s\n  timeout http-keep-alive {idle}s\n{splice}\
         {plain}{tls}\
         backend bench\n  balance roundrobin\n  http-reuse always\n  \
         server first 127.0.0.1:{first}\n  server second 127.0.0.1:{second}\n"
        )
    }
}

fn haproxy_frontend(scheme: Scheme, bind: &str) -> String {
    format!(
        "frontend {scheme}\n  bind {bind}\n  \
         http-request set-header X-Forwarded-For %[src]\n  http-request set-header X-Forwarded-Proto {scheme}\n  \
         http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  \
         http-request set-header X-Forwarded-Port %[dst_port]\n  http-request set-header X-Real-IP %[src]\n  \
         http-request deny deny_status 404 unless {{ req.hdr(host) -i {HOST} }} {{ path_beg / }}\n  \
         default_backend bench\n"
    )
}

/// Returns the gateway's objects. The certificate is the default one because wrk's SNI is the address it connects to.
pub(super) fn gateway([first, second]: [u16; 2], certificate: &BenchCertificate) -> String {
    let secret = certificate.secret("gateway-system", "default");
    format!(
        "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: gateway}}
spec:
  controller: wasm-gateway.dev/ingress-controller
  parameters: {{apiGroup: wasm-gateway.dev, kind: IngressClassConfig, name: gateway}}
---
apiVersion: wasm-gateway.dev/v1alpha1
kind: IngressClassConfig
metadata: {{name: gateway}}
spec: {{defaultCertificate: {{name: default}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: bench, namespace: default}}
spec:
  ingressClassName: gateway
  tls:
    - hosts: [{HOST}]
  rules:
    - host: {HOST}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {{service: {{name: bench, port: {{number: 80}}}}}}
---
apiVersion: v1
kind: Service
metadata:
  name: bench
  namespace: default
  annotations:
    wasm-gateway.dev/endpoints: \"127.0.0.1:{first},127.0.0.1:{second}\"
spec:
  ports:
    - port: 80
{secret}"
    )
}
