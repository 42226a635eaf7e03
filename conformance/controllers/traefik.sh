#!/bin/sh
# Runs the suite against Traefik in the test cluster. It runs on the cluster's host, with the defaults of its Helm chart:
# TLS at the entry point for https. Arguments go to the suite:
#     sh conformance/controllers/get.sh traefik
#     conformance cluster run -- sh conformance/controllers/traefik.sh --level extended
set -eu
here=$(dirname "$0")
folder=$(sh "$here/get.sh" traefik)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

kubectl apply -f - >/dev/null <<'YAML'
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: traefik}
spec: {controller: traefik.io/ingress-controller}
YAML
# Traefik reads traefik.yml of its working folder, which has none here.
(
    cd "$work"
    exec "$folder/traefik" --global.checknewversion=false --global.sendanonymoususage=false \
        --entrypoints.web.address=:18080 --entrypoints.websecure.address=:18443 --entrypoints.websecure.http.tls=true \
        --providers.kubernetesingress=true --providers.kubernetesingress.ingressendpoint.ip=10.50.0.1
) >"${CLUSTER_LOGS:-$work}/traefik.log" 2>&1 &
conformance run --ingress-class traefik --address 10.50.0.1:18080 --https-address 10.50.0.1:18443 \
    --implementation "Traefik@$(basename "$folder" | sed 's/traefik-//')" "$@"
