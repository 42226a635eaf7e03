#!/bin/sh
# Installs this project's gateway in the cluster of KUBECONFIG and runs the suite against it. Arguments go to the suite:
#     conformance cluster run -- sh conformance/controllers/gateway.sh --level ours
set -eu
here=$(dirname "$0")

kubectl apply -f "$here/../../charts/gateway/crds" -f "$here/../example/gateway.yaml" >/dev/null
kubectl -n gateway-system rollout status deployment/gateway --timeout=120s
address=$(kubectl -n gateway-system get service gateway -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
version=$(gateway --version | cut -d ' ' -f 2)
exec conformance run --ingress-class gateway --address "$address" --implementation "gateway@$version" "$@"
