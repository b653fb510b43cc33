{{/* Parts of the DaemonSet that several of its containers have. */}}

{{/* Root of the node in all but name: devices, cgroups, namespaces and the kubelet's unit are theirs. */}}
{{- define "vmlet.privileged" -}}
privileged: true
{{- end -}}

{{- define "vmlet.container" -}}
image: {{ include "vmlet.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError # a pod says itself why it does not start
securityContext:
  {{- include "vmlet.privileged" . | nindent 2 }}
{{- end -}}

{{/* What puts the router on the node, or takes it away. */}}
{{- define "vmlet.router" -}}
{{ include "vmlet.container" . }}
command: [vmlet-node, router-{{ .Values.router.mode }}]
env:
  - { name: PROGRAM_FOLDER, value: {{ .Values.host.programFolder }} }
  - { name: KUBELET_UNIT, value: {{ .Values.router.kubeletUnit }} }
  - { name: STATE_FOLDER, value: {{ .Values.config.stateFolderPath | default "/var/lib/vmlet" }} }
volumeMounts:
  - { name: programs, mountPath: {{ .Values.host.programFolder }} }
  - { name: config, mountPath: /config, readOnly: true }
{{- end -}}

{{/* libvirt's own state. QEMU sees it under these paths for as long as it runs, so they never change. */}}
{{- define "vmlet.libvirtMounts" -}}
- { name: libvirt-etc, mountPath: /etc/libvirt }
- { name: libvirt-lib, mountPath: /var/lib/libvirt }
- { name: libvirt-run, mountPath: /run/libvirt }
{{- end -}}

{{/* What machines are made of, and where they live; both daemons see it under one path. */}}
{{- define "vmlet.machineMounts" -}}
- { name: state, mountPath: {{ .Values.config.stateFolderPath | default "/var/lib/vmlet" }} }
- { name: run, mountPath: /run/vmlet }
- { name: cgroup, mountPath: /sys/fs/cgroup }
- { name: systemd, mountPath: /run/systemd, readOnly: true }
- { name: programs, mountPath: {{ .Values.host.programFolder }} }
{{- end -}}

{{/* The pod is on the node's network, so where the daemon listens for the node alone is reached there. */}}
{{- define "vmlet.probe" -}}
{{- if not (include "vmlet.isExposed" .) -}}
host: {{ .Values.metrics.address | trimPrefix "[" | trimSuffix "]" }}
{{ end -}}
port: {{ .Values.metrics.port }}
{{- end -}}
