{{/* What the schema cannot say: values that contradict each other or miss something. All problems are told at once. */}}

{{- define "siphonwatch.checks" -}}
{{- $problems := list -}}
{{- range list "siphonwatch.checkSecrets" "siphonwatch.checkKafka" "siphonwatch.checkScale" "siphonwatch.checkParts" "siphonwatch.checkDesk" "siphonwatch.checkFeedback" -}}
{{- $problems = concat $problems (fromJsonArray (include . $)) -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "these values cannot be used:\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "siphonwatch.checkSecrets" -}}
{{- $problems := list -}}
{{- $settings := .Values.settings -}}
{{- with .Values.identity -}}
{{- if not (or .existingSecret .value) -}}
{{- $problems = append $problems "there is no identity key: make a Secret with `kubectl create secret generic siphonwatch-identity --from-literal=key=$(openssl rand -hex 32)` and set identity.existingSecret=siphonwatch-identity" -}}
{{- else if and .existingSecret .value -}}
{{- $problems = append $problems "identity.existingSecret and identity.value are both set: leave one out" -}}
{{- else if and .value (lt (len .value) 16) -}}
{{- $problems = append $problems "identity.value is too short: give at least 16 characters, such as `openssl rand -hex 32`" -}}
{{- end -}}
{{- if and .sealKey (not .existingSecret) -}}
{{- $problems = append $problems "identity.sealKey names an entry of identity.existingSecret, which is not set" -}}
{{- end -}}
{{- end -}}
{{- $homes := dict "identity.key" "identity.existingSecret" "identity.seal_key" "identity.sealKey" "kafka.sasl_password" "kafka.sasl.existingSecret" "kafka.ssl_password" "kafka.tls.client.passwordKey" "grafana.token" "grafana.existingSecret" "grafana.password" "grafana.existingSecret" "desk.secret" "desk.sessionKey" "desk.oidc_secret" "settings.desk.oidc_secret_file and desk.existingSecret" "feedback.secret" "settings.feedback.secret_file and deliver.existingSecret" -}}
{{- range $field, $home := $homes -}}
{{- $parts := splitList "." $field -}}
{{- if dig (first $parts) (last $parts) "" $settings -}}
{{- $problems = append $problems (printf "settings.%s is a secret, and settings become a ConfigMap: use %s" $field $home) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "//[^/@]*:[^/@]*@|password=" (dig "desk" "database" "" $settings) -}}
{{- $problems = append $problems "settings.desk.database has a password, and settings become a ConfigMap: use desk.databasePasswordKey" -}}
{{- end -}}
{{- range $name, $sink := $settings.sinks -}}
{{- range $field := list "secret" "token" "routing_key" "url" -}}
{{- if and (get $sink $field) (or (ne $field "url") (has $sink.kind (list "slack" "apprise"))) -}}
{{- $problems = append $problems (printf "settings.sinks.%s.%s is a secret, and settings become a ConfigMap: put it into the Secret of deliver.existingSecret and set %s_file: /etc/siphonwatch/sinks/ENTRY" $name $field $field) -}}
{{- end -}}
{{- $file := get $sink (printf "%s_file" $field) | default "" -}}
{{- if and (hasPrefix "/etc/siphonwatch/sinks/" $file) (not $.Values.deliver.existingSecret) -}}
{{- $problems = append $problems (printf "settings.sinks.%s.%s_file is %s: name the Secret that has this entry in deliver.existingSecret" $name $field $file) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $sink.kind "grafana") (not (and (dig "grafana" "url" "" $settings) $.Values.grafana.existingSecret)) -}}
{{- $problems = append $problems (printf "settings.sinks.%s is of kind grafana: set settings.grafana.url and grafana.existingSecret" $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "siphonwatch.checkKafka" -}}
{{- $problems := list -}}
{{- $kafka := .Values.settings.kafka -}}
{{- $protocol := $kafka.security_protocol -}}
{{- $mechanism := $kafka.sasl_mechanism | default "" -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- $tls := .Values.kafka.tls -}}
{{- if not $kafka.bootstrap -}}
{{- $problems = append $problems "settings.kafka.bootstrap is empty: name the brokers, such as kafka-bootstrap.kafka.svc:9092" -}}
{{- else -}}
{{- range splitList "," $kafka.bootstrap -}}
{{- if not (regexMatch "^\\s*[^\\s:]+:[0-9]+\\s*$|^\\s*\\[[0-9A-Fa-f:]+\\]:[0-9]+\\s*$" .) -}}
{{- $problems = append $problems (printf "settings.kafka.bootstrap has %q: write host:port, several separated by commas" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasPrefix "SASL" $protocol -}}
{{- if not $mechanism -}}
{{- $problems = append $problems (printf "settings.kafka.security_protocol is %s: set settings.kafka.sasl_mechanism too" $protocol) -}}
{{- else if eq $mechanism "OAUTHBEARER" -}}
{{- if not (contains ":" ($kafka.oauth_token_provider | default "")) -}}
{{- $problems = append $problems "settings.kafka.sasl_mechanism is OAUTHBEARER: set settings.kafka.oauth_token_provider to package.module:function" -}}
{{- end -}}
{{- else -}}
{{- if not $kafka.sasl_username -}}
{{- $problems = append $problems (printf "settings.kafka.sasl_mechanism is %s: set settings.kafka.sasl_username" $mechanism) -}}
{{- end -}}
{{- if not (or $sasl.existingSecret $sasl.value) -}}
{{- $problems = append $problems (printf "settings.kafka.sasl_mechanism is %s: name the Secret that holds the password in kafka.sasl.existingSecret" $mechanism) -}}
{{- end -}}
{{- end -}}
{{- else if or $sasl.existingSecret $sasl.value -}}
{{- $problems = append $problems (printf "kafka.sasl names a password, and settings.kafka.security_protocol is %s: set it to SASL_SSL" $protocol) -}}
{{- end -}}
{{- if and $sasl.existingSecret $sasl.value -}}
{{- $problems = append $problems "kafka.sasl.existingSecret and kafka.sasl.value are both set: leave one out" -}}
{{- end -}}
{{- if and (include "siphonwatch.hasTls" .) (not (hasSuffix "SSL" $protocol)) -}}
{{- $problems = append $problems (printf "kafka.tls names certificates, and settings.kafka.security_protocol is %s: set it to SSL or SASL_SSL" $protocol) -}}
{{- end -}}
{{- if and $tls.ca.existingSecret $kafka.ssl_cafile -}}
{{- $problems = append $problems "kafka.tls.ca.existingSecret and settings.kafka.ssl_cafile are both set: leave one out" -}}
{{- end -}}
{{- if and $tls.client.existingSecret (or $kafka.ssl_certfile $kafka.ssl_keyfile) -}}
{{- $problems = append $problems "kafka.tls.client.existingSecret and settings.kafka.ssl_certfile or ssl_keyfile are both set: leave one out" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "siphonwatch.checkScale" -}}
{{- $problems := list -}}
{{- $partitions := int .Values.settings.topics.partitions -}}
{{- $worker := .Values.worker -}}
{{- $fixed := not (kindIs "invalid" $worker.replicas) -}}
{{- if and $fixed (gt (int $worker.replicas) $partitions) -}}
{{- $problems = append $problems (printf "worker.replicas is %d and settings.topics.partitions %d: a partition has one worker, and further ones would idle; lower the first, or have the topics made with more partitions" (int $worker.replicas) $partitions) -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- $most := int (.maxReplicas | default $partitions) -}}
{{- if $fixed -}}
{{- $problems = append $problems (printf "autoscaling.enabled and worker.replicas=%d contradict each other: leave worker.replicas null, and set autoscaling.minReplicas" (int $worker.replicas)) -}}
{{- end -}}
{{- if gt $most $partitions -}}
{{- $problems = append $problems (printf "autoscaling.maxReplicas is %d and settings.topics.partitions %d: a partition has one worker, and further ones would idle" $most $partitions) -}}
{{- end -}}
{{- if gt (int .minReplicas) $most -}}
{{- $problems = append $problems (printf "autoscaling.minReplicas is %d, more than the most, %d" (int .minReplicas) $most) -}}
{{- end -}}
{{- if and (eq ($.Values.settings.kafka.sasl_mechanism | default "") "OAUTHBEARER") (not .authenticationRef) -}}
{{- $problems = append $problems "KEDA cannot use settings.kafka.oauth_token_provider: make a TriggerAuthentication and name it in autoscaling.authenticationRef" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $needed := add (int $worker.settleSeconds) 70 -}}
{{- if lt (int $worker.terminationGracePeriodSeconds) (int $needed) -}}
{{- $problems = append $problems (printf "worker.terminationGracePeriodSeconds is %d: a last checkpoint may take 60 s after worker.settleSeconds=%d, so give at least %d" (int $worker.terminationGracePeriodSeconds) (int $worker.settleSeconds) $needed) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "siphonwatch.checkParts" -}}
{{- $problems := list -}}
{{- $kafka := .Values.settings.kafka -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" (include "siphonwatch.fullname" .)) -}}
{{- $problems = append $problems (printf "%s is no name for a Service: set fullnameOverride to lower-case letters, digits and hyphens, a letter first" (include "siphonwatch.fullname" .)) -}}
{{- end -}}
{{- if eq .Values.image.tag "latest" -}}
{{- $problems = append $problems "image.tag is latest: name a version, so that every pod runs the same one" -}}
{{- end -}}
{{- range $name, $_ := .Values.env -}}
{{- if hasPrefix "SIPHONWATCH_" $name -}}
{{- $problems = append $problems (printf "env.%s is a setting: set it in settings, or name its Secret" $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.archive -}}
{{- if and .enabled .url (not (contains "://" .url)) -}}
{{- $problems = append $problems (printf "archive.url is %s: write an object store's URL, such as s3://bucket/siphonwatch, or leave it empty for archive.volume" .url) -}}
{{- end -}}
{{- if and .enabled (hasSuffix ":latest" .image) -}}
{{- $problems = append $problems "archive.image is a latest one: name a version" -}}
{{- end -}}
{{- end -}}
{{- with .Values.strimzi -}}
{{- if and (or .user.create (eq $.Values.topics.manage "strimzi")) (not .cluster) -}}
{{- $problems = append $problems "strimzi.cluster is empty: name the Kafka resource" -}}
{{- end -}}
{{- if .user.create -}}
{{- if and (eq .user.authentication "scram-sha-512") (or (ne ($kafka.sasl_mechanism | default "") "SCRAM-SHA-512") (ne ($kafka.sasl_username | default "") .user.name)) -}}
{{- $problems = append $problems (printf "strimzi.user.authentication is scram-sha-512: set settings.kafka.sasl_mechanism=SCRAM-SHA-512 and settings.kafka.sasl_username=%s" .user.name) -}}
{{- end -}}
{{- if and (eq .user.authentication "tls") (not $.Values.kafka.tls.client.existingSecret) -}}
{{- $problems = append $problems (printf "strimzi.user.authentication is tls: set kafka.tls.client.existingSecret=%s, certKey=user.crt and keyKey=user.key" .user.name) -}}
{{- end -}}
{{- if eq $.Values.topics.manage "job" -}}
{{- $problems = append $problems "strimzi.user.create makes a user that may not create topics: set topics.manage=strimzi" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.provision.enabled (not (and (dig "grafana" "url" "" .Values.settings) .Values.grafana.existingSecret)) -}}
{{- $problems = append $problems "provision.enabled needs settings.grafana.url and grafana.existingSecret" -}}
{{- end -}}
{{- if and .Values.provision.enabled .Values.monitoring.dashboards.enabled -}}
{{- $problems = append $problems "provision.enabled and monitoring.dashboards.enabled would both make the dashboards, and Grafana lets none change what files provide: leave one off" -}}
{{- end -}}
{{- if and .Values.monitoring.rules.enabled (not (.Files.Get "files/rules.yml")) -}}
{{- $problems = append $problems "monitoring.rules.enabled, and the chart has no files/rules.yml, a link into deploy/: install a packaged chart (`helm package`)" -}}
{{- end -}}
{{- if and .Values.monitoring.dashboards.enabled (not (.Files.Glob "files/dashboards/*.json")) -}}
{{- $problems = append $problems "monitoring.dashboards.enabled, and the chart has no files/dashboards/*.json, a link into deploy/: install a packaged chart (`helm package`)" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
