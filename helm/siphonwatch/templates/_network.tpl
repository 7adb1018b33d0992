{{/* Where pods may go: name servers and brokers. */}}
{{- define "siphonwatch.egress" -}}
{{- $policy := .Values.networkPolicy -}}
- to: {{- toYaml $policy.dns.to | nindent 4 }}
  ports:
    {{- range $policy.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{ include "siphonwatch.rule" (dict "peers" $policy.kafka.to "ports" ($policy.kafka.ports | default (fromJsonArray (include "siphonwatch.kafkaPorts" .)))) }}
{{- end -}}

{{/* One rule of egress over TCP; takes a dict of peers, none for any address, and ports. */}}
{{- define "siphonwatch.rule" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .peers }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Ports as a JSON list: those given and those that URLs name. Takes a dict of ports and urls. */}}
{{- define "siphonwatch.portsOf" -}}
{{- $ports := list -}}
{{- range .ports }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- range compact .urls -}}
{{- $url := urlParse . -}}
{{- $ports = append $ports (int (regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (get (dict "http" "80" "smtps" "465" "smtp" "587" "smtp-plain" "25" "postgresql" "5432" "postgres" "5432") $url.scheme | default "443"))) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* Ports in settings.kafka.bootstrap, as a JSON list. */}}
{{- define "siphonwatch.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.settings.kafka.bootstrap -}}
{{- $ports = append $ports (int (regexFind "[0-9]+\\s*$" . | trim)) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* URLs of the sinks that the feedback service polls, empty ones of those that have theirs in a file, as a JSON list. */}}
{{- define "siphonwatch.polled" -}}
{{- $urls := list -}}
{{- range $_, $sink := .Values.settings.sinks -}}
{{- if has $sink.kind (list "thehive" "iris" "jira") }}{{ $urls = append $urls ($sink.url | default "") }}{{ end -}}
{{- end -}}
{{- toJson $urls -}}
{{- end -}}
