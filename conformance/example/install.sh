#!/bin/sh
# Installs the gateway and two apps from plain manifests, and sends requests from outside the cluster:
#     conformance cluster run -- sh conformance/example/install.sh
# It works on any cluster in KUBECONFIG that has load balancers and whose nodes can pull the two images. The images are
# not published yet.
set -eu
here=$(dirname "$0")

kubectl apply -f "$here/../../charts/gateway/crds" -f "$here/gateway.yaml" -f "$here/apps.yaml"
kubectl -n gateway-system rollout status deployment/gateway --timeout=120s
kubectl rollout status deployment/blue deployment/green --timeout=120s

# Wait until every replica serves the applied version of both Ingresses.
for app in blue green; do
    version=$(kubectl get ingress "$app" -o jsonpath='{.metadata.resourceVersion}')
    gateway wait "ingress/default/$app" --resource-version "$version" --kubeconfig "${KUBECONFIG:-$HOME/.kube/config}"
done

# Send requests to the load balancer address of the gateway's Service. In the test cluster, also to its cluster IP and
# to the node port of each node.
service_field() { kubectl -n gateway-system get service gateway -o jsonpath="$1"; }
addresses=
attempts=60
while [ -z "$addresses" ] && [ $attempts -gt 0 ]; do
    [ $attempts = 60 ] || sleep 1
    addresses=$(service_field '{.status.loadBalancer.ingress[0].ip}')
    [ -n "$addresses" ] || addresses=$(service_field '{.status.loadBalancer.ingress[0].hostname}')
    attempts=$((attempts - 1))
done
if [ -z "$addresses" ]; then
    echo 'no request sent: the Service gateway-system/gateway got no load balancer address within a minute' >&2
    exit 1
fi
if [ -n "${CLUSTER_LOGS:-}" ]; then
    addresses="$addresses $(service_field '{.spec.clusterIP}')"
    port=$(service_field '{.spec.ports[?(@.name=="http")].nodePort}')
    for node in $(kubectl get nodes -o jsonpath='{.items[*].status.addresses[?(@.type=="InternalIP")].address}'); do
        addresses="$addresses $node:$port"
    done
fi
for address in $addresses; do
    for host in blue.example.com green.example.com; do
        echo "$host through http://$address:"
        curl -sS --fail-with-body --max-time 10 -H "Host: $host" "http://$address/"
        echo
    done
done
