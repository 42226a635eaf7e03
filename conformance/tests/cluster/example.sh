# The example install, and what a user asks it then.
set -eu
fail() { echo "FAILED: $*" >&2; exit 1; }
ends_with() {
    wanted=$1; shift
    code=0
    said=$("$@" 2>&1) || code=$?
    [ "$code" = "$wanted" ] || fail "$* ends with $code, not $wanted: $said"
}
says() { printf '%s\n' "$said" | grep -q -- "$1" || fail "no \"$1\" in: $said"; }

sh example/install.sh

# A Service of each type is a backend, and the load balancer's address answers without the gateway.
inside=$(kubectl -n gateway-system get service gateway -o jsonpath='{.spec.clusterIP}')
ends_with 0 curl -sS --fail --max-time 5 -H 'Host: green.example.com' "http://$inside/outside"
says '"pod":"green-'
outside=$(kubectl get service green-outside -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
ends_with 0 curl -sS --fail --max-time 5 "http://$outside/"
says '"pod":"green-'

# The same table, read from the API.
ends_with 0 gateway explain http://green.example.com/any --kubeconfig "$KUBECONFIG"
says 'forwarded by Ingress default/green spec.rules\[0\].http.paths\[0\]'
says 'service   default/green:8080, type NodePort'
says 'dialled: 10\.50\.[0-9.]*:3000, 10\.50\.[0-9.]*:3000'
ends_with 0 gateway explain http://green.example.com/ --kubeconfig "$KUBECONFIG" --namespace kube-system
says 'no_rule'
ends_with 1 gateway explain http://green.example.com/ --kubeconfig /missing
says '/missing'

gateway_wait() { gateway wait --kubeconfig "$KUBECONFIG" "$@"; }

# An edit is live in its own version, a broken one is refused, what nobody wrote never comes.
kubectl annotate ingress blue example.com/note=1
version=$(kubectl get ingress blue -o jsonpath='{.metadata.resourceVersion}')
ends_with 0 gateway_wait ingress/default/blue --resource-version "$version"
ends_with 2 gateway_wait ingress/default/blue --resource-version "${version}0" --timeout 3s
says "the gateway still has version $version"
kubectl create ingress broken --class=gateway --rule='broken.example.com/*=missing:80'
ends_with 1 gateway_wait ingress/default/broken
says 'Ingress default/broken spec.rules\[0\].http.paths\[0\].*missing'
ends_with 2 gateway_wait ingress/default/nobody --timeout 3s
ends_with 2 gateway_wait ingress/default/blue --gateway-namespace default --timeout 3s
says 'no pod with label app.kubernetes.io/name=gateway is ready in namespace default'
ends_with 2 gateway wait ingress/default/blue --kubeconfig /missing
says 'cannot read /missing'

# In a pod it asks that gateway alone.
pod=$(kubectl -n gateway-system get pods -l app.kubernetes.io/name=gateway -o jsonpath='{.items[0].metadata.name}')
ends_with 0 conformance cluster exec "gateway-system/$pod" -- gateway wait ingress/default/blue
says 'Ingress default/blue is live'
