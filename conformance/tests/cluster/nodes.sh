# Stops a node, whose pods move within seconds, and starts it again. Then the same with the API server.
set -eu
kubectl create deployment many --image=echo --replicas=4
kubectl rollout status deployment/many --timeout=60s
conformance cluster stop node-2
kubectl wait --for=condition=Ready=Unknown node/node-2 --timeout=60s
kubectl wait --for=jsonpath='{.status.availableReplicas}'=4 deployment/many --timeout=90s
conformance cluster start node-2
kubectl wait --for=condition=Ready node/node-2 --timeout=60s

conformance cluster stop api-server
! kubectl get nodes --request-timeout=2s 2>/dev/null
conformance cluster start api-server
kubectl get nodes
