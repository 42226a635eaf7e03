#!/bin/sh
# Runs the suite against Contour in the test cluster. Contour and Envoy run on the cluster's host, with their defaults.
# Arguments go to the suite:
#     sh conformance/controllers/get.sh contour
#     conformance cluster run -- sh conformance/controllers/contour.sh --level extended
set -eu
here=$(dirname "$0")
folder=$(sh "$here/get.sh" contour)
envoy=$(ls "${XDG_CACHE_HOME:-$HOME/.cache}"/wasm-gateway/envoy-*/envoy)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

kubectl apply --server-side -f "$folder/crds.yaml" >/dev/null
kubectl wait --for=condition=Established --timeout=30s -f "$folder/crds.yaml" >/dev/null
kubectl create namespace projectcontour >/dev/null
kubectl apply -f - >/dev/null <<'YAML'
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: contour}
spec: {controller: projectcontour.io/ingress-controller}
YAML
"$folder/contour" serve --kubeconfig "$KUBECONFIG" --insecure --disable-leader-election \
    --ingress-status-address 10.50.0.1 --envoy-service-http-address 0.0.0.0 --envoy-service-http-port 18080 \
    --envoy-service-https-address 0.0.0.0 --envoy-service-https-port 18443 >"${CLUSTER_LOGS:-$work}/contour.log" 2>&1 &
"$folder/contour" bootstrap "$work/envoy.json" --admin-address "$work/admin.sock" --xds-address 127.0.0.1 --xds-port 8001
"$envoy" -c "$work/envoy.json" --service-cluster contour --service-node envoy --log-level warn \
    >"${CLUSTER_LOGS:-$work}/envoy.log" 2>&1 &
conformance run --ingress-class contour --address 10.50.0.1:18080 --https-address 10.50.0.1:18443 \
    --implementation "Contour@v1.33.8 (Envoy $(basename "$(dirname "$envoy")" | sed 's/envoy-//'))" "$@"
