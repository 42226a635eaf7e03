{{/* The spec of a pod. It meets the Pod Security level `restricted`, except with host ports. */}}
{{- define "gateway.podSpec" -}}
serviceAccountName: {{ include "gateway.serviceAccountName" . }}
# Variables of Services could be taken for settings.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .Values.drain.preStopSeconds .Values.drain.limitSeconds 10 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- include "gateway.placement" . }}
containers:
  - name: gateway
    image: {{ include "gateway.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - run
      - --config=/etc/gateway/gateway.yaml
      {{- range .Values.status.addresses }}
      - --status-address={{ . }}
      {{- else }}
      {{- with include "gateway.statusService" . }}
      - --status-service={{ . }}
      {{- end }}
      {{- end }}
      {{- with .Values.pod.extraArgs }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      - name: POD_NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
      - name: POD_NAME
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
      - name: NODE_NAME
        valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
      - name: GATEWAY_LOG
        value: {{ .Values.pod.logLevel }}
      {{- with .Values.pod.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    ports:
      - name: http
        containerPort: 8080
        {{- if .Values.hostPorts.enabled }}
        hostPort: {{ .Values.hostPorts.http }}
        {{- end }}
      - name: https
        containerPort: 8443
        {{- if .Values.hostPorts.enabled }}
        hostPort: {{ .Values.hostPorts.https }}
        {{- end }}
      - name: probe
        containerPort: 9081
    # Two minutes to list all objects. `/readyz` says what is missing.
    startupProbe:
      httpGet: {path: /readyz, port: probe}
      periodSeconds: 1
      failureThreshold: 120
    readinessProbe:
      httpGet: {path: /readyz, port: probe}
      periodSeconds: 1
      failureThreshold: 2
    livenessProbe:
      httpGet: {path: /livez, port: probe}
    {{- with .Values.drain.preStopSeconds }}
    lifecycle:
      preStop:
        sleep: {seconds: {{ . }}}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    {{- with include "gateway.resources" . }}
    resources:
      {{- . | trim | nindent 6 }}
    {{- end }}
    volumeMounts:
      - name: config
        mountPath: /etc/gateway
        readOnly: true
      {{- range .Values.plugins.configMaps }}
      - name: plugin-map-{{ . | replace "." "-" }}
        mountPath: /plugins/{{ . }}
        readOnly: true
      {{- end }}
      {{- range .Values.plugins.volumes }}
      - name: plugin-volume-{{ .name }}
        mountPath: /plugins/{{ .name }}
        readOnly: true
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "gateway.fullname" . }}
  {{- range .Values.plugins.configMaps }}
  - name: plugin-map-{{ . | replace "." "-" }}
    configMap:
      name: {{ . }}
  {{- end }}
  {{- range .Values.plugins.volumes }}
  - name: plugin-volume-{{ .name }}
    {{- omit . "name" | toYaml | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Where pods run. */}}
{{- define "gateway.placement" -}}
{{- with .Values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and (ne .Values.kind "DaemonSet") (or .Values.topologySpread.zones .Values.topologySpread.nodes) }}
topologySpreadConstraints:
  {{- with .Values.topologySpread.zones }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ . }}
    labelSelector:
      matchLabels:
        {{- include "gateway.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- with .Values.topologySpread.nodes }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ . }}
    labelSelector:
      matchLabels:
        {{- include "gateway.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* Requests and limits that are not empty. */}}
{{- define "gateway.resources" -}}
{{- range $kind, $amounts := .Values.resources -}}
{{- $stated := dict -}}
{{- range $name, $amount := $amounts -}}
{{- if $amount -}}
{{- $_ := set $stated $name $amount -}}
{{- end -}}
{{- end -}}
{{- with $stated }}
{{ $kind }}:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}
