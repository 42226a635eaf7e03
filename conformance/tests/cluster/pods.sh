# Pods from their own specs: environment, mounts, user, probes, restarts, Jobs, Services, exec, orderly ends.
set -eu
fail() { echo "FAILED: $*" >&2; kubectl get pods -A -o wide >&2; exit 1; }

kubectl create secret generic secret --from-literal=key=hidden
kubectl create configmap config --from-literal=key=plain
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  terminationGracePeriodSeconds: 5
  securityContext: {runAsUser: 1234, runAsGroup: 1234}
  initContainers:
    - {name: first, image: echo, command: [sh, -c, "echo done > /shared/first"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
    - name: main
      image: echo
      env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: secret, key: key}}}
        - {name: BOTH, value: "$(POD_NAME)-$(FROM_SECRET)"}
      envFrom: [{configMapRef: {name: config}, prefix: C_}]
      ports: [{name: http, containerPort: 3000}]
      startupProbe: {tcpSocket: {port: http}, periodSeconds: 1}
      readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
      livenessProbe: {exec: {command: [test, "!", -e, /tmp/broken]}, periodSeconds: 1, failureThreshold: 1}
      securityContext: {readOnlyRootFilesystem: true}
      volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: secret, mountPath: /var/run/ours, readOnly: true}
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: secret, secret: {secretName: secret}}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {type: NodePort, selector: {app: one}, ports: [{port: 80, targetPort: http, nodePort: 30123}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: job, image: echo, command: ["true"]}]}}}
YAML
kubectl wait --for=condition=Ready pod/one --timeout=15s || fail "not ready: $(kubectl get pod one -o yaml | sed -n "/^status/,\$p"; find $CLUSTER_LOGS -name "*.log" -path "*default*" | xargs tail -n 5)"
kubectl wait --for=condition=Complete job/job --timeout=60s

inside() { conformance cluster exec default/one -- sh -c "$1"; }
[ "$(inside 'cat /var/run/ours/key')" = hidden ] || fail 'a Secret is not mounted'
[ "$(inside 'cat /shared/first')" = done ] || fail 'the init container did not run'
inside 'test -s /var/run/secrets/kubernetes.io/serviceaccount/token' || fail 'no token'
! inside 'touch /etc/x' 2>/dev/null || fail 'the root can be written'

address=$(kubectl get service one -o jsonpath='{.spec.clusterIP}')
curl -sS --max-time 5 "http://$address/" | grep -q '"pod":"one"' || fail 'the cluster IP does not answer'
curl -sS --max-time 5 http://10.51.0.2:30123/ | grep -q '"pod":"one"' || fail 'the node port does not answer'

# A failed liveness probe restarts the container.
inside 'touch /tmp/broken'
kubectl wait --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 pod/one --timeout=60s

kubectl delete pod one --wait=true --timeout=30s
kubectl get pod one 2>/dev/null && fail 'the pod is still there'

kubectl create deployment many --image=echo --replicas=3
kubectl rollout status deployment/many --timeout=60s
kubectl rollout restart deployment/many
kubectl rollout status deployment/many --timeout=60s
