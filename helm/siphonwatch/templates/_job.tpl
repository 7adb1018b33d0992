{{/* A job that runs one command; takes a dict of root, component, args and serviceAccount. */}}
{{- define "siphonwatch.job" -}}
backoffLimit: {{ .root.Values.jobs.backoffLimit }}
activeDeadlineSeconds: {{ .root.Values.jobs.activeDeadlineSeconds }}
template:
  metadata:
    labels: {{- include "siphonwatch.componentSelector" . | nindent 6 }}
  spec:
    {{- include "siphonwatch.podStart" .root | nindent 4 }}
    serviceAccountName: {{ .serviceAccount | quote }}
    restartPolicy: Never
    containers:
      - name: {{ .component }}
        args: {{ toJson .args }}
        {{- include "siphonwatch.container" . | nindent 8 }}
        resources: {{- toYaml .root.Values.jobs.resources | nindent 10 }}
        volumeMounts: {{- include "siphonwatch.mounts" . | nindent 10 }}
    volumes: {{- include "siphonwatch.volumes" . | nindent 6 }}
{{- end -}}

{{/* Annotations of what exists only while a hook runs. Takes a dict of events and weight. */}}
{{- define "siphonwatch.hook" -}}
helm.sh/hook: {{ .events }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
