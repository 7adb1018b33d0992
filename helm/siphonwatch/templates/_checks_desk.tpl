{{/* As streams/common/desk_access.py and streams/deliver/feedback/service.py have it: what they would refuse at the start. */}}

{{- define "siphonwatch.checkDesk" -}}
{{- $problems := list -}}
{{- $loopback := list "localhost" "127.0.0.1" "::1" -}}
{{- if .Values.desk.enabled -}}
{{- with .Values.settings.desk -}}
{{- $login := .login | default "" -}}
{{- $open := not (has .host $loopback) -}}
{{- if $login -}}
{{- if not (regexMatch "^https?://[^/?#\\s]+/*$" (.address | default "")) -}}
{{- $problems = append $problems (printf "settings.desk.address is '%s': give what browsers open, as https://desk.example" (.address | default "")) -}}
{{- else if and (hasPrefix "http:" .address) (not (has (urlParse .address).hostname $loopback)) -}}
{{- $problems = append $problems (printf "settings.desk.address is %s: over http whoever is on the way can decide" .address) -}}
{{- end -}}
{{- end -}}
{{- if and $open (empty $login) -}}
{{- $problems = append $problems (printf "settings.desk.host is %s and settings.desk.login is not set: whoever reaches it could decide. Set settings.desk.login to oidc or proxy, or settings.desk.host to 127.0.0.1" .host) -}}
{{- else if and $open (eq $login "nobody") -}}
{{- $problems = append $problems (printf "settings.desk.host is %s and settings.desk.login is nobody: whoever reaches it could decide. Set settings.desk.login to oidc or proxy, or settings.desk.host to 127.0.0.1" .host) -}}
{{- end -}}
{{- if has $login (list "oidc" "proxy") -}}
{{- if not (or .read .decide .administer) -}}
{{- $problems = append $problems "nobody may use the desk: name groups in settings.desk.read, settings.desk.decide and settings.desk.administer" -}}
{{- end -}}
{{- if and (eq $login "proxy") (not .proxies) -}}
{{- $problems = append $problems "settings.desk.login is proxy: name the proxy's addresses in settings.desk.proxies, or nobody is believed" -}}
{{- end -}}
{{- if eq $login "oidc" -}}
{{- if not (and .oidc_client (regexMatch "^[a-z]+://[^/]" (.oidc_issuer | default ""))) -}}
{{- $problems = append $problems "settings.desk.login is oidc: set settings.desk.oidc_issuer and settings.desk.oidc_client" -}}
{{- else if not (or (hasPrefix "https:" .oidc_issuer) (has (urlParse .oidc_issuer).hostname $loopback)) -}}
{{- $problems = append $problems (printf "settings.desk.oidc_issuer is %s: an issuer is reached over https" .oidc_issuer) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $field := list "oidc_secret_file" "names" -}}
{{- $file := get $.Values.settings.desk $field | default "" -}}
{{- if and (hasPrefix "/etc/siphonwatch/desk/" $file) (not $.Values.desk.existingSecret) -}}
{{- $problems = append $problems (printf "settings.desk.%s is %s: name the Secret that has this entry in desk.existingSecret" $field $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $database := .Values.settings.desk.database | default "" -}}
{{- with .Values.desk -}}
{{- range $key := list "sessionKey" "databasePasswordKey" -}}
{{- if and (get $.Values.desk $key) (not $.Values.desk.existingSecret) -}}
{{- $problems = append $problems (printf "desk.%s names an entry of desk.existingSecret, which is not set" $key) -}}
{{- end -}}
{{- end -}}
{{- if and .databasePasswordKey (not $database) -}}
{{- $problems = append $problems "desk.databasePasswordKey is set and settings.desk.database is not: nothing asks for a password" -}}
{{- end -}}
{{- if and $.Values.desk.enabled (gt (int .replicas) 1) -}}
{{- if and .volume.existingClaim (not $database) -}}
{{- $problems = append $problems "desk.replicas is more than 1 and desk.volume.existingClaim is one volume: each desk has an index of its own; leave it out to have one made for each" -}}
{{- end -}}
{{- if not .sessionKey -}}
{{- $problems = append $problems "desk.replicas is more than 1 and desk.sessionKey is not set: each desk would refuse the sessions of the others" -}}
{{- end -}}
{{- if not (has ($.Values.settings.desk.login | default "") (list "oidc" "proxy")) -}}
{{- $problems = append $problems "desk.replicas is more than 1 and settings.desk.login is not set: a port-forward reaches one desk alone" -}}
{{- end -}}
{{- end -}}
{{- if and .volume.existingClaim (not .volume.persistent) -}}
{{- $problems = append $problems "desk.volume.existingClaim is set and desk.volume.persistent false: leave one out" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "siphonwatch.checkFeedback" -}}
{{- $problems := list -}}
{{- if .Values.feedback.enabled -}}
{{- $file := .Values.settings.feedback.secret_file | default "" -}}
{{- if not (or $file (fromJsonArray (include "siphonwatch.polled" .))) -}}
{{- $problems = append $problems "nothing to listen to: set settings.feedback.secret_file for signed messages, or a sink of kind thehive, iris, jira" -}}
{{- end -}}
{{- if and (hasPrefix "/etc/siphonwatch/sinks/" $file) (not .Values.deliver.existingSecret) -}}
{{- $problems = append $problems (printf "settings.feedback.secret_file is %s: name the Secret that has this entry in deliver.existingSecret" $file) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
