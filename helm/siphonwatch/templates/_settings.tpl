{{/* The settings as TOML. No secret is ever in it: _checks.tpl refuses those. */}}

{{/* The settings with what the chart itself decides, as JSON. */}}
{{- define "siphonwatch.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $kafka := $settings.kafka -}}
{{- if .Values.kafka.tls.ca.existingSecret -}}
{{- $_ := set $kafka "ssl_cafile" "/etc/siphonwatch/tls/ca.crt" -}}
{{- end -}}
{{- if .Values.kafka.tls.client.existingSecret -}}
{{- $_ := set $kafka "ssl_certfile" "/etc/siphonwatch/tls/client.crt" -}}
{{- $_ := set $kafka "ssl_keyfile" "/etc/siphonwatch/tls/client.key" -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{/* Sections that a component reads: a change of others restarts nothing of it. */}}
{{- define "siphonwatch.sections" -}}
{{- if eq . "worker" -}}
accounts features identity ingest kafka links log scoring state topics web who
{{- else if eq . "deliver" -}}
deliver grafana kafka links log scoring sinks topics
{{- else if eq . "archive" -}}
identity kafka log topics
{{- else if eq . "desk" -}}
desk features identity kafka links log models topics
{{- else if eq . "feedback" -}}
deliver feedback kafka links log sinks topics
{{- else if eq . "topics" -}}
ingest kafka log models topics
{{- else if eq . "provision" -}}
grafana links log topics
{{- end -}}
{{- end -}}

{{/* siphonwatch.toml of a component; takes a dict of root and component. */}}
{{- define "siphonwatch.toml" -}}
{{- $settings := fromJson (include "siphonwatch.settings" .root) -}}
{{- $wanted := splitList " " (include "siphonwatch.sections" .component) -}}
# Written by Helm from `settings`; secrets come as environment variables and files.
{{- range $section := keys $settings | sortAlpha }}
{{- if has $section $wanted }}
{{- include "siphonwatch.table" (dict "path" $section "table" (index $settings $section)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One table and those within it. What JSON writes for a string, a number, a boolean or a list of them, TOML reads. */}}
{{- define "siphonwatch.table" -}}
{{- $path := .path -}}
{{- $table := .table -}}
{{- if $table }}

[{{ $path }}]
{{- end }}
{{- range $name := keys $table | sortAlpha }}
{{- $value := index $table $name }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "siphonwatch.tomlKey" $name }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $name := keys $table | sortAlpha }}
{{- $value := index $table $name }}
{{- if kindIs "map" $value }}
{{- include "siphonwatch.table" (dict "path" (printf "%s.%s" $path (include "siphonwatch.tomlKey" $name)) "table" $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "siphonwatch.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}
