{{/* Names and labels. Nothing here is longer than 63 characters. */}}
{{- define "vmlet.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "vmlet.selector" -}}
app.kubernetes.io/name: vmlet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vmlet.labels" -}}
{{ include "vmlet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "vmlet.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "vmlet.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "vmlet.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.image.digest | empty | ternary (printf "%s:%s" .Values.image.repository $tag) (printf "%s@%s" .Values.image.repository .Values.image.digest) -}}
{{- end -}}
