{{/* What the pods of all components share: security, environment, volumes. */}}

{{/* Kubernetes' restricted profile. */}}
{{- define "siphonwatch.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.securityContext }}
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- if not (kindIs "invalid" (index $.Values.securityContext $name)) }}
{{ $name }}: {{ int64 (index $.Values.securityContext $name) }}
{{- end }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "siphonwatch.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* How every pod's specification begins. Without service links: they are variables SIPHONWATCH_..._PORT, which are no
     settings, and siphonwatch refuses what it does not know. */}}
{{- define "siphonwatch.podStart" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "siphonwatch.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* Where a component's pods may run; takes its values. */}}
{{- define "siphonwatch.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Image, security and environment of a component's container; takes a dict of root and component. The image sets
     addresses and the log's format for Docker, as variables, which win over the file: those are said here again. */}}
{{- define "siphonwatch.container" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
image: {{ and (eq .component "archive") $values.archive.image | default (include "siphonwatch.image" $root) | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext: {{- include "siphonwatch.containerSecurity" $root | nindent 2 }}
env:
  - name: SIPHONWATCH_CONFIG
    value: /etc/siphonwatch/config/siphonwatch.toml
  - name: SIPHONWATCH_WEB_HOST
    value: {{ $values.settings.web.host | quote }}
  - name: SIPHONWATCH_DELIVER_HOST
    value: {{ $values.settings.deliver.host | quote }}
  - name: SIPHONWATCH_LOG_FORMAT
    value: {{ $values.settings.log.format }}
  - name: NUMBA_CACHE_DIR
    value: {{ ternary "/var/cache/siphonwatch" "/tmp/numba" (eq .component "worker") }}
  {{- if has .component (list "worker" "archive" "desk") }}
  - name: SIPHONWATCH_IDENTITY_KEY
    valueFrom:
      secretKeyRef:
        name: {{ include "siphonwatch.identitySecret" $root | quote }}
        key: {{ ternary "key" $values.identity.secretKey (empty $values.identity.existingSecret) | quote }}
  {{- if and $values.identity.sealKey (eq .component "worker") }}
  - name: SIPHONWATCH_IDENTITY_SEAL_KEY
    valueFrom:
      secretKeyRef:
        name: {{ include "siphonwatch.identitySecret" $root | quote }}
        key: {{ $values.identity.sealKey | quote }}
  {{- end }}
  {{- end }}
  {{- if ne .component "provision" }}
  {{- with $values.kafka.sasl }}
  {{- if or .existingSecret .value }}
  - name: SIPHONWATCH_KAFKA_SASL_PASSWORD
    valueFrom:
      secretKeyRef:
        name: {{ include "siphonwatch.saslSecret" (dict "root" $root "hook" (eq $.component "topics")) | quote }}
        key: {{ ternary "password" .passwordKey (empty .existingSecret) | quote }}
  {{- end }}
  {{- end }}
  {{- with $values.kafka.tls.client }}
  {{- if and .existingSecret .passwordKey }}
  - name: SIPHONWATCH_KAFKA_SSL_PASSWORD
    valueFrom:
      secretKeyRef:
        name: {{ .existingSecret | quote }}
        key: {{ .passwordKey | quote }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- if and $values.desk.sessionKey (eq .component "desk") }}
  - name: SIPHONWATCH_DESK_SECRET
    valueFrom:
      secretKeyRef:
        name: {{ $values.desk.existingSecret | quote }}
        key: {{ $values.desk.sessionKey | quote }}
  {{- end }}
  {{- if and $values.desk.databasePasswordKey (eq .component "desk") }}
  - name: PGPASSWORD
    valueFrom:
      secretKeyRef:
        name: {{ $values.desk.existingSecret | quote }}
        key: {{ $values.desk.databasePasswordKey | quote }}
  {{- end }}
  {{- if and $values.grafana.existingSecret (has .component (list "deliver" "provision")) }}
  {{- range $setting, $key := dict "TOKEN" $values.grafana.tokenKey "PASSWORD" $values.grafana.passwordKey }}
  {{- if $key }}
  - name: SIPHONWATCH_GRAFANA_{{ $setting }}
    valueFrom:
      secretKeyRef:
        name: {{ $values.grafana.existingSecret | quote }}
        key: {{ $key | quote }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- range $name, $value := $values.env }}
  - name: {{ $name | quote }}
    value: {{ $value | quote }}
  {{- end }}
{{- end -}}

{{/* Mounts of a component's container; takes a dict of root and component. */}}
{{- define "siphonwatch.mounts" -}}
- name: config
  mountPath: /etc/siphonwatch/config
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if and (ne .component "provision") (include "siphonwatch.hasTls" .root) }}
- name: tls
  mountPath: /etc/siphonwatch/tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "siphonwatch.hasTls" -}}
{{- with .Values.kafka.tls }}{{ if or .ca.existingSecret .client.existingSecret }}yes{{ end }}{{ end -}}
{{- end -}}

{{/* The volumes behind them; takes a dict of root and component. */}}
{{- define "siphonwatch.volumes" -}}
- name: config
  configMap:
    name: {{ include "siphonwatch.fullname" .root }}-{{ .component }}
- name: tmp
  emptyDir:
    sizeLimit: {{ ternary .root.Values.worker.tmpSize .root.Values.tmpSize (eq .component "worker") }}
{{- if and (ne .component "provision") (include "siphonwatch.hasTls" .root) }}
- name: tls
  projected:
    defaultMode: 0440
    sources:
      {{- with .root.Values.kafka.tls.ca }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret | quote }}
          items: [{key: {{ .key | quote }}, path: ca.crt}]
      {{- end }}
      {{- end }}
      {{- with .root.Values.kafka.tls.client }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret | quote }}
          items: [{key: {{ .certKey | quote }}, path: client.crt}, {key: {{ .keyKey | quote }}, path: client.key}]
      {{- end }}
      {{- end }}
{{- end }}
{{- end -}}

{{/* Changes with whatever a component's pods read at their start. Secrets that the chart only names are not in its
     sight: restart the pods when one changes. Takes a dict of root and component. */}}
{{- define "siphonwatch.checksums" -}}
checksum/config: {{ include "siphonwatch.toml" . | sha256sum }}
{{- with .root.Values }}
checksum/secrets: {{ list .identity .kafka .grafana .deliver.existingSecret .archive.existingSecret | toJson | sha256sum }}
{{- end }}
{{- end -}}
