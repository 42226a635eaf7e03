# Tests the example install, `gateway explain` and `gateway wait` in a cluster.
set -eu
fail() { echo "FAILED: $*" >&2; exit 1; }
expect_code() {
    expected=$1; shift
    code=0
    output=$("$@" 2>&1) || code=$?
    [ "$code" = "$expected" ] || fail "$* ends with $code, not $expected: $output"
}
expect_output() { printf '%s\n' "$output" | grep -q -- "$1" || fail "no \"$1\" in: $output"; }

sh example/install.sh

# Services of each type work as backends, and the load balancer of an app works without the gateway.
inside=$(kubectl -n gateway-system get service gateway -o jsonpath='{.spec.clusterIP}')
expect_code 0 curl -sS --fail --max-time 5 -H 'Host: green.example.com' "http://$inside/outside"
expect_output '"pod":"green-'
outside=$(kubectl get service green-outside -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
expect_code 0 curl -sS --fail --max-time 5 "http://$outside/"
expect_output '"pod":"green-'

# `explain` compiles the same table from the API.
expect_code 0 gateway explain http://green.example.com/any --kubeconfig "$KUBECONFIG"
expect_output 'forwarded to Service default/green:8080'
expect_output 'of Ingress default/green spec.rules\[0\].http.paths\[0\]'
expect_output 'service   default/green:8080, type NodePort'
expect_output 'sends to 10\.50\.[0-9.]*:3000, 10\.50\.[0-9.]*:3000'
expect_code 0 gateway explain http://green.example.com/ --kubeconfig "$KUBECONFIG" --namespace kube-system
expect_output 'no_rule'
expect_code 1 gateway explain http://green.example.com/ --kubeconfig /missing
expect_output '/missing'

gateway_wait() { gateway wait --kubeconfig "$KUBECONFIG" "$@"; }

# `wait` succeeds for the version of an edit, fails for a broken Ingress, and times out for a missing one.
kubectl annotate ingress blue example.com/note=1
version=$(kubectl get ingress blue -o jsonpath='{.metadata.resourceVersion}')
expect_code 0 gateway_wait ingress/default/blue --resource-version "$version"
expect_code 2 gateway_wait ingress/default/blue --resource-version "${version}0" --timeout 3s
expect_output "the gateway still has version $version"
kubectl create ingress broken --class=gateway --rule='broken.example.com/*=missing:80'
expect_code 1 gateway_wait ingress/default/broken
expect_output 'Ingress default/broken spec.rules\[0\].http.paths\[0\].*missing'
expect_code 2 gateway_wait ingress/default/missing --timeout 3s
expect_code 2 gateway_wait ingress/default/blue --gateway-namespace default --timeout 3s
expect_output 'no pod with label app.kubernetes.io/name=gateway is ready in namespace default'
expect_code 2 gateway wait ingress/default/blue --kubeconfig /missing
expect_output 'cannot read /missing'

# In a pod, `wait` queries only the gateway of that pod.
pod=$(kubectl -n gateway-system get pods -l app.kubernetes.io/name=gateway -o jsonpath='{.items[0].metadata.name}')
expect_code 0 conformance cluster exec "gateway-system/$pod" -- gateway wait ingress/default/blue
expect_output 'Ingress default/blue is live'
