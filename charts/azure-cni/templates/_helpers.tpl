{{/* Name of all objects; each kind of process adds its own ending, such as -agent. */}}
{{- define "azure-cni.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "azure-cni.agent.fullname" -}}
{{- include "azure-cni.fullname" . }}-agent
{{- end -}}

{{- define "azure-cni.agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "azure-cni.agent.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What selects the agent's pods; never changes, because a DaemonSet's selector cannot. */}}
{{- define "azure-cni.agent.selectorLabels" -}}
app.kubernetes.io/name: azure-cni
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end -}}

{{- define "azure-cni.agent.labels" -}}
{{ include "azure-cni.agent.selectorLabels" . }}
app.kubernetes.io/part-of: azure-cni
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "azure-cni.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* What a schema cannot say because it holds between values. */}}
{{- define "azure-cni.validate" -}}
{{- with .Values.pool -}}
{{- $least := add .minFree .batch | int -}}
{{- if and (not .size) (lt (int .maxFree) $least) -}}
{{- fail (printf "pool.maxFree is %d but must be at least pool.minFree + pool.batch = %d, or pools would shrink and grow in turns" (int .maxFree) $least) -}}
{{- end -}}
{{- if gt (int .size) (int .max) -}}
{{- fail (printf "pool.size is %d but cannot be more than pool.max, which is %d" (int .size) (int .max)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.azure -}}
{{- if and (eq .identity "workload") (not (and .clientID .tenantID)) -}}
{{- fail "azure.identity is workload, which needs azure.clientID and azure.tenantID" -}}
{{- end -}}
{{- end -}}
{{- range .Values.routablePrefixes -}}
{{- if not (regexMatch "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])/(3[0-2]|[12]?[0-9])$" .) -}}
{{- fail (printf "routablePrefixes: %q is not an IPv4 prefix such as 192.168.0.0/16" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
