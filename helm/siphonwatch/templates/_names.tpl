{{/* Names, labels and the image: what every manifest agrees on. */}}

{{- define "siphonwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters at most: what Kubernetes adds to names of pods and revisions must fit into labels. */}}
{{- define "siphonwatch.fullname" -}}
{{- $name := include "siphonwatch.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects all pods of the release. */}}
{{- define "siphonwatch.selector" -}}
app.kubernetes.io/name: {{ include "siphonwatch.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* What selects the pods of one component; takes a dict of root and component. */}}
{{- define "siphonwatch.componentSelector" -}}
{{ include "siphonwatch.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of a component's objects; takes a dict of root and component. */}}
{{- define "siphonwatch.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "siphonwatch.componentSelector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: siphonwatch
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "siphonwatch.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "siphonwatch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "siphonwatch.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "siphonwatch.identitySecret" -}}
{{- .Values.identity.existingSecret | default (printf "%s-identity" (include "siphonwatch.fullname" .)) -}}
{{- end -}}

{{/* Takes a dict of root and hook: a job that runs before the release's Secrets exist brings its own. */}}
{{- define "siphonwatch.saslSecret" -}}
{{- $made := printf "%s-%s" (include "siphonwatch.fullname" .root) (ternary "topics" "sasl" .hook) -}}
{{- .root.Values.kafka.sasl.existingSecret | default $made -}}
{{- end -}}
