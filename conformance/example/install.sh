#!/bin/sh
# The plain-manifest install, from nothing to a request from outside:
#     conformance cluster run -- sh conformance/example/install.sh
# It works the same against any cluster that KUBECONFIG names and that has the two images.
set -eu
here=$(dirname "$0")

kubectl apply -f "$here/../../charts/gateway/crds" -f "$here/gateway.yaml" -f "$here/apps.yaml"
kubectl -n gateway-system rollout status deployment/gateway --timeout=120s
kubectl rollout status deployment/blue deployment/green --timeout=120s

# The address that a load balancer gave to the gateway's Service.
address=$(kubectl -n gateway-system get service gateway -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
for host in blue.example.com green.example.com; do
    echo "$host through http://$address:"
    curl -sS --fail-with-body --max-time 10 -H "Host: $host" "http://$address/"
    echo
done
