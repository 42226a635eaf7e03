{{/* The chart's name. */}}
{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of all objects. */}}
{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gateway.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of objects without a namespace. Releases of one name may exist in several namespaces. */}}
{{- define "gateway.clusterName" -}}
{{- $name := include "gateway.fullname" . -}}
{{- ternary $name (printf "%s-%s" .Release.Namespace $name) (eq .Release.Namespace $name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The labels that select pods. `gateway wait` and `gateway explain` find the pods by the first one. */}}
{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* All classes of the release, as a YAML list. */}}
{{- define "gateway.classes" -}}
{{- $classes := list -}}
{{- if .Values.ingressClass.create -}}
{{- $classes = append $classes (omit .Values.ingressClass "create" "controller") -}}
{{- end -}}
{{- range .Values.classes -}}
{{- $classes = append $classes . -}}
{{- end -}}
{{- toYaml $classes -}}
{{- end -}}

{{/* Whether a folder of modules is mounted: non-empty if so. */}}
{{- define "gateway.hasPluginDir" -}}
{{- if or .Values.plugins.configMaps .Values.plugins.volumes -}}yes{{- end -}}
{{- end -}}

{{/* The Service for the status of Ingresses. Empty if the gateway may not read the Service of the release. */}}
{{- define "gateway.statusService" -}}
{{- if .Values.status.service -}}
{{- .Values.status.service -}}
{{- else if or (not .Values.scope.namespaces) (has .Release.Namespace .Values.scope.namespaces) -}}
{{- printf "%s/%s" .Release.Namespace (include "gateway.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/*
The gateway's configuration file: the value `config`, and the settings that belong to the chart. Without the right to
read IngressClasses, the gateway serves its classes by their names.
*/}}
{{- define "gateway.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $classes := .Values.foreignClasses -}}
{{- with .Values.scope.namespaces -}}
{{- $_ := set $config "namespaces" . -}}
{{- $classes = append $classes $.Values.ingressClass.name -}}
{{- range $.Values.classes -}}
{{- $classes = append $classes .name -}}
{{- end -}}
{{- end -}}
{{- with $classes -}}
{{- $_ := set $config "classes" (uniq .) -}}
{{- end -}}
{{- if ne .Values.ingressClass.controller "wasm-gateway.dev/ingress-controller" -}}
{{- $_ := set $config "controller" .Values.ingressClass.controller -}}
{{- end -}}
{{- if include "gateway.hasPluginDir" . -}}
{{- $_ := set $config "pluginDir" "/plugins" -}}
{{- end -}}
{{- if ne .Values.pod.listenAddress "[::]" -}}
{{- $listeners := dict -}}
{{- range $name, $port := dict "http" 8080 "https" 8443 "probe" 9081 -}}
{{- $_ := set $listeners $name (printf "%s:%d" $.Values.pod.listenAddress $port) -}}
{{- end -}}
{{- $_ := set $config "listeners" $listeners -}}
{{- end -}}
{{- /* Rules for the release's own namespace are those of leader election. */ -}}
{{- if .Files.Get "files/own-rules.yaml" -}}
{{- $status := dict "lease" (include "gateway.fullname" .) -}}
{{- if .Values.scope.namespaces -}}
{{- /* The gateway cannot see that its classes are its own. */ -}}
{{- $_ := set $status "takenClasses" "on" -}}
{{- end -}}
{{- $_ := set $config "status" $status -}}
{{- end -}}
{{- $drain := dict "delay" (printf "%ds" (int .Values.drain.delaySeconds)) "limit" (printf "%ds" (int .Values.drain.limitSeconds)) -}}
{{- $_ := set $config "drain" $drain -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Fails for values that contradict each other. The schema checks each value alone. */}}
{{- define "gateway.check" -}}
{{- if and .Values.autoscaling.enabled (ne .Values.kind "Deployment") -}}
{{- fail "autoscaling.enabled needs kind: Deployment" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetCPU) (not .Values.autoscaling.targetMemory) -}}
{{- fail "autoscaling.enabled needs autoscaling.targetCPU or autoscaling.targetMemory" -}}
{{- end -}}
{{- if ge (int .Values.drain.delaySeconds) (int .Values.drain.limitSeconds) -}}
{{- fail "drain.delaySeconds must be less than drain.limitSeconds" -}}
{{- end -}}
{{- if and .Values.status.service .Values.status.addresses -}}
{{- fail "set status.service or status.addresses, not both" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor would scrape each pod twice: enable one of them" -}}
{{- end -}}
{{- if and .Values.service.healthCheckNodePort (ne .Values.service.externalTrafficPolicy "Local") -}}
{{- fail "service.healthCheckNodePort needs service.externalTrafficPolicy: Local" -}}
{{- end -}}
{{- if and .Values.service.loadBalancerClass (ne .Values.service.type "LoadBalancer") -}}
{{- fail "service.loadBalancerClass needs service.type: LoadBalancer" -}}
{{- end -}}
{{- $names := list -}}
{{- range (include "gateway.classes" . | fromYamlArray) -}}
{{- if has .name $names -}}
{{- fail (printf "the class %q is listed twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $volumes := list -}}
{{- range concat .Values.plugins.configMaps (include "gateway.volumeNames" . | fromYamlArray) -}}
{{- if has . $volumes -}}
{{- fail (printf "plugins: the folder %q would be mounted twice" .) -}}
{{- end -}}
{{- $volumes = append $volumes . -}}
{{- end -}}
{{- end -}}

{{/* The names of the volumes with modules, as a YAML list. */}}
{{- define "gateway.volumeNames" -}}
{{- $names := list -}}
{{- range .Values.plugins.volumes -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- toYaml $names -}}
{{- end -}}
