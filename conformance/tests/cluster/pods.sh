# Tests pods: environment, mounts, user, probes, restarts, Jobs, Services, exec, termination.
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
        - {name: FROM_CONFIG, valueFrom: {configMapKeyRef: {name: config, key: key}}}
      envFrom: [{configMapRef: {name: config}, prefix: C_}]
      ports: [{name: http, containerPort: 3000}]
      startupProbe: {tcpSocket: {port: http}, periodSeconds: 1}
      readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
      livenessProbe: {exec: {command: [test, "!", -e, /tmp/broken]}, periodSeconds: 1, failureThreshold: 1}
      securityContext: {readOnlyRootFilesystem: true}
      volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: secret, mountPath: /var/run/ours, readOnly: true}
        - {name: config, mountPath: /config}
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: secret, secret: {secretName: secret}}
    - {name: config, configMap: {name: config}}
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
[ "$(inside 'cat /config/key')" = plain ] || fail 'a ConfigMap is not mounted'
# A changed ConfigMap or Secret changes the mounted file.
kubectl create configmap config --from-literal=key=changed --dry-run=client -o yaml | kubectl replace -f -
tries=0
until [ "$(inside 'cat /config/key')" = changed ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail 'a mounted ConfigMap does not change'
    sleep 0.1
done
environment=$(inside 'echo "$POD_NAME $FROM_SECRET $FROM_CONFIG $BOTH $C_key"')
[ "$environment" = 'one hidden plain one-hidden plain' ] || fail "the environment is: $environment"
# User of the process. Its id belongs to the PID namespace of the whole cluster.
pid=$(grep -lzx 'ech[o]' /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3) || true
[ -n "$pid" ] || fail 'no process of this container is seen'
ids=$(sed -n 's/^\([UG]id\):\t\([0-9]*\)\t.*/\1 \2/p' "/proc/$pid/status" | tr '\n' ' ')
[ "$ids" = 'Uid 1234 Gid 1234 ' ] || fail "the container runs as $ids"
inside 'test -s /var/run/secrets/kubernetes.io/serviceaccount/token' || fail 'no token'
! inside 'touch /etc/x' 2>/dev/null || fail 'the root can be written'

address=$(kubectl get service one -o jsonpath='{.spec.clusterIP}')
curl -sS --max-time 5 "http://$address/" | grep -q '"pod":"one"' || fail 'no response from the cluster IP'
curl -sS --max-time 5 http://10.51.0.2:30123/ | grep -q '"pod":"one"' || fail 'no response from the node port'

# A failed liveness probe restarts the container.
inside 'touch /tmp/broken'
kubectl wait --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 pod/one --timeout=60s

kubectl delete pod one --wait=true --timeout=30s
kubectl get pod one 2>/dev/null && fail 'the pod is still there'

# Termination: one container handles SIGTERM after its preStop hook. Another ignores it and gets its whole grace period,
# not more.
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: gentle}
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: main
      image: echo
      command: [sh, -c, "trap 'echo asked; exit 0' TERM; echo started; while :; do sleep 0.1; done"]
      lifecycle: {preStop: {exec: {command: [sh, -c, "echo first > /shared/prestop"]}}}
      volumeMounts: [{name: shared, mountPath: /shared}]
    - name: witness
      image: echo
      command: [sh, -c, "trap 'cat /shared/prestop; exit 0' TERM; echo started; while :; do sleep 0.1; done"]
      lifecycle: {preStop: {exec: {command: [sh, -c, "until [ -e /shared/prestop ]; do sleep 0.1; done"]}}}
      volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 5
  containers:
    - {name: main, image: echo, command: [sh, -c, "trap 'echo ignored' TERM; echo started; while :; do sleep 0.1; done"]}
YAML
kubectl wait --for=condition=Ready pod/gentle pod/stubborn --timeout=30s
# Each container prints a line once its trap is set.
log() { cat "$CLUSTER_LOGS/default/$1.log"; }
tries=0
until [ "$(log gentle/main)$(log gentle/witness)$(log stubborn/main)" = startedstartedstarted ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail 'a container does not start'
    sleep 0.1
done
ends_after() {
    began=$(date +%s%N)
    kubectl delete pod "$1" --wait=true --timeout=50s
    took=$((($(date +%s%N) - began) / 1000000))
}
ends_after gentle
[ "$(log gentle/main | tail -n 1)" = asked ] || fail "no SIGTERM: $(log gentle/main)"
[ "$(log gentle/witness | tail -n 1)" = first ] || fail "no preStop before SIGTERM: $(log gentle/witness)"
ends_after stubborn
[ "$(log stubborn/main | tail -n 1)" = ignored ] || fail "no SIGTERM: $(log stubborn/main)"
[ "$took" -ge 5000 ] || fail "killed after $took ms, before its grace period was over"
[ "$took" -lt 20000 ] || fail "killed after $took ms, long after its grace period"

kubectl create deployment many --image=echo --replicas=3
kubectl rollout status deployment/many --timeout=60s
kubectl rollout restart deployment/many
kubectl rollout status deployment/many --timeout=60s
