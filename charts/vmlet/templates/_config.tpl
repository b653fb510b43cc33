{{/* /etc/vmlet/config.yaml: what the user gave, and over it what the chart decides. */}}
{{- define "vmlet.config" -}}
{{- $virtualization := get (dict "auto" "auto" "required" "kvm" "none" "emulated") .Values.kvm -}}
{{- $listen := printf "%s:%d" .Values.metrics.address (int .Values.metrics.port) -}}
{{- $routerListen := printf "%s:%d" .Values.metrics.address (int .Values.metrics.routerPort) -}}
{{- $own := dict
  "libvirt" (dict "virtualization" $virtualization "templateFolderPath" "/etc/vmlet/domain-templates")
  "cni" (dict "configFolderPath" .Values.host.cniConfigFolder "binFolderPaths" (list .Values.host.cniBinFolder))
  "metrics" (dict "listen" $listen)
  "router" (dict "metrics" (dict "listen" $routerListen))
-}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $own) -}}
{{- end -}}

{{/* Where Prometheus may look, or nothing. */}}
{{- define "vmlet.isExposed" -}}
{{- if not (has .Values.metrics.address (list "127.0.0.1" "[::1]")) }}true{{ end -}}
{{- end -}}

{{- define "vmlet.templates" -}}
{{- $all := dict -}}
{{- range $path, $bytes := .Files.Glob "files/domain-templates/*.xml" -}}
{{- $_ := set $all (base $path) (toString $bytes) -}}
{{- end -}}
{{- range $name, $xml := .Values.domainTemplates -}}
{{- $_ := set $all (printf "%s.xml" $name) $xml -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}
