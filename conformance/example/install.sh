#!/bin/sh
# The plain-manifest install, from nothing to a request from outside:
#     conformance cluster run -- sh conformance/example/install.sh
# It works the same against any cluster that KUBECONFIG names, if it gives out load balancers and its nodes can get the
# two images, which nobody publishes yet.
set -eu
here=$(dirname "$0")

kubectl apply -f "$here/../../charts/gateway/crds" -f "$here/gateway.yaml" -f "$here/apps.yaml"
kubectl -n gateway-system rollout status deployment/gateway --timeout=120s
kubectl rollout status deployment/blue deployment/green --timeout=120s

# Both Ingresses are live at each replica, in the version that was written.
for app in blue green; do
    version=$(kubectl get ingress "$app" -o jsonpath='{.metadata.resourceVersion}')
    gateway wait "ingress/default/$app" --resource-version "$version" --kubeconfig "${KUBECONFIG:-$HOME/.kube/config}"
done

# From outside: the address that a load balancer gave to the gateway's Service. On the machine that is the test cluster,
# its cluster IP and the port of each node are reached too.
of_service() { kubectl -n gateway-system get service gateway -o jsonpath="$1"; }
addresses=
tries=60
while [ -z "$addresses" ] && [ $tries -gt 0 ]; do
    [ $tries = 60 ] || sleep 1
    addresses=$(of_service '{.status.loadBalancer.ingress[0].ip}')
    [ -n "$addresses" ] || addresses=$(of_service '{.status.loadBalancer.ingress[0].hostname}')
    tries=$((tries - 1))
done
if [ -z "$addresses" ]; then
    echo 'nothing was asked: the load balancer gave the Service gateway-system/gateway no address within a minute' >&2
    exit 1
fi
if [ -n "${CLUSTER_LOGS:-}" ]; then
    addresses="$addresses $(of_service '{.spec.clusterIP}')"
    port=$(of_service '{.spec.ports[?(@.name=="http")].nodePort}')
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
