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

{{/*
The names below are of one kind of process; they take a list of the root and that kind: agent or controller.
*/}}
{{- define "azure-cni.componentName" -}}
{{- include "azure-cni.fullname" (index . 0) }}-{{ index . 1 }}
{{- end -}}

{{- define "azure-cni.serviceAccountName" -}}
{{- $values := (index . 0).Values -}}
{{- $path := "serviceAccount" -}}
{{- $account := $values.serviceAccount -}}
{{- if eq (index . 1) "controller" -}}
{{- $path = "controller.serviceAccount" -}}
{{- $account = $values.controller.serviceAccount -}}
{{- end -}}
{{- if $account.create -}}
{{- default (include "azure-cni.componentName" .) $account.name -}}
{{- else -}}
{{- required (printf "%s.name is needed when %s.create is false" $path $path) $account.name -}}
{{- end -}}
{{- end -}}

{{/* As the API server knows it. */}}
{{- define "azure-cni.username" -}}
system:serviceaccount:{{ (index . 0).Release.Namespace }}:{{ include "azure-cni.serviceAccountName" . }}
{{- end -}}

{{/* What selects its pods; never changes, because the selector of a DaemonSet or Deployment cannot. */}}
{{- define "azure-cni.selectorLabels" -}}
app.kubernetes.io/name: azure-cni
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "azure-cni.labels" -}}
{{- $root := index . 0 -}}
{{ include "azure-cni.selectorLabels" . }}
app.kubernetes.io/part-of: azure-cni
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "azure-cni.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
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
{{- if eq .Values.nicWriter "controller" -}}
{{- if not .Values.controller.enabled -}}
{{- fail "nicWriter is controller, which needs controller.enabled" -}}
{{- end -}}
{{- if eq .Values.azure.nic "observe" -}}
{{- fail "nicWriter is controller, but azure.nic is observe, and then nobody writes; leave nicWriter at agent" -}}
{{- end -}}
{{- end -}}
{{- if .Values.controller.enabled -}}
{{- if gt (int .Values.quota.reserved) (int .Values.quota.limit) -}}
{{- fail (printf "quota.reserved is %d but cannot be more than quota.limit, which is %d" (int .Values.quota.reserved) (int .Values.quota.limit)) -}}
{{- end -}}
{{- if eq (int .Values.controller.metricsPort) (int .Values.metrics.port) -}}
{{- fail (printf "controller.metricsPort is %d, and so is metrics.port: agent and controller share the network of a node" (int .Values.metrics.port)) -}}
{{- end -}}
{{- $account := include "azure-cni.serviceAccountName" (list . "agent") -}}
{{- if eq $account (include "azure-cni.serviceAccountName" (list . "controller")) -}}
{{- fail (printf "serviceAccount.name and controller.serviceAccount.name are both %s: agents must not be able to grant" $account) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (ne .Values.metrics.bind "node") -}}
{{- fail (printf "metrics.serviceMonitor.enabled needs metrics.bind node: it is %s, and Prometheus could not reach the port" .Values.metrics.bind) -}}
{{- end -}}
{{- range .Values.routablePrefixes -}}
{{- if not (regexMatch "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])/(3[0-2]|[12]?[0-9])$" .) -}}
{{- fail (printf "routablePrefixes: %q is not an IPv4 prefix such as 192.168.0.0/16" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What whoever calls Azure needs: the agent where nicWriter is agent, and always the controller, which counts the VNet.
*/}}
{{- define "azure-cni.azure.env" -}}
- name: AZURE_CNI_CLOUD
  value: {{ .Values.azure.cloud | quote }}
{{- with .Values.azure.resourceManagerEndpoint }}
- name: AZURE_CNI_ARM_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: AZURE_CNI_IDENTITY
  value: {{ .Values.azure.identity | quote }}
{{- with .Values.azure.clientID }}
- name: AZURE_CNI_CLIENT_ID
  value: {{ . | quote }}
{{- end }}
{{- if eq .Values.azure.identity "workload" }}
# As the workload identity webhook would set them; its own pod could not start before the agent.
- name: AZURE_TENANT_ID
  value: {{ .Values.azure.tenantID | quote }}
- name: AZURE_FEDERATED_TOKEN_FILE
  value: /var/run/secrets/azure/tokens/azure-identity-token
{{- end }}
{{- if .Values.azure.caBundle.configMap }}
- name: AZURE_CNI_CA_FILE
  value: /etc/azure-cni/ca/{{ .Values.azure.caBundle.key }}
{{- end }}
{{- end -}}

{{- define "azure-cni.azure.mounts" -}}
{{- if .Values.azure.caBundle.configMap }}
- name: ca
  mountPath: /etc/azure-cni/ca
  readOnly: true
{{- end }}
{{- if eq .Values.azure.identity "workload" }}
- name: azure-token
  mountPath: /var/run/secrets/azure/tokens
  readOnly: true
{{- end }}
{{- end -}}

{{- define "azure-cni.azure.volumes" -}}
{{- with .Values.azure.caBundle }}
{{- if .configMap }}
- name: ca
  configMap:
    name: {{ .configMap }}
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- if eq .Values.azure.identity "workload" }}
- name: azure-token
  projected:
    sources:
      - serviceAccountToken:
          audience: api://AzureADTokenExchange
          expirationSeconds: 3600
          path: azure-identity-token
{{- end }}
{{- end -}}

{{- define "azure-cni.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/scheme: http
prometheus.io/port: {{ . | int64 | quote }}
prometheus.io/path: /metrics
{{- end -}}

{{/* What the values' securityContext and podSecurityContext are merged over. */}}
{{- define "azure-cni.agent.podSecurityContext" -}}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "azure-cni.agent.securityContext" -}}
runAsUser: 0 # the network namespaces of pods belong to root
runAsGroup: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add:
    - NET_ADMIN # links, addresses, routes, nftables and network sysctls, on the node and in pods
    - SYS_ADMIN # setns into a pod's network namespace; the kernel asks for no less
{{- end -}}

{{- define "azure-cni.controller.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532 # whom the kubelet lets read the mounted tokens
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "azure-cni.controller.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
