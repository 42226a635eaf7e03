# Installs the chart with the image $1, a reference by digest, and requests an app through it.
set -eu
fail() {
    echo "FAILED: $*" >&2
    kubectl -n gateway-system get pods -o wide >&2
    find "$CLUSTER_LOGS/gateway-system" -name "*.log" -exec tail -n 20 {} + >&2
    exit 1
}

kubectl create namespace gateway-system
kubectl label namespace gateway-system pod-security.kubernetes.io/enforce=restricted
helm install gateway ../charts/gateway --namespace gateway-system --wait --timeout 120s \
    --set "image.repository=${1%@*}" --set "image.digest=${1#*@}" || fail 'helm install'
kubectl create deployment hello --image=echo --port=3000
kubectl expose deployment hello --port=80 --target-port=3000
kubectl create ingress hello --class=gateway --rule='hello.example.com/*=hello:80'
kubectl rollout status deployment/hello --timeout=60s
gateway wait ingress/default/hello --kubeconfig "$KUBECONFIG" || fail 'gateway wait'
address=$(kubectl -n gateway-system get service gateway -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
curl --fail --silent --show-error --retry 9 --max-time 30 -H 'Host: hello.example.com' "http://$address/" | grep '"host":"hello.example.com"' ||
    fail 'no response'

# The root of the container is the image, with what a kubelet adds. `wait` runs by its name, as with `kubectl exec`.
pod=$(kubectl -n gateway-system get pods -o jsonpath='{.items[0].metadata.name}')
conformance cluster exec "gateway-system/$pod" -- gateway wait ingress/default/hello || fail 'gateway wait in the pod'
! conformance cluster exec "gateway-system/$pod" -- /bin/sh -c true 2>/dev/null || fail 'the image has a shell'
