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

{{/* The name of an image. Takes a list of the root and the values that are about it. */}}
{{- define "azure-cni.image" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $root.Chart.AppVersion }}
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
{{- if .blocks -}}
{{- $name := ternary "size" "batch" (gt (int .size) 0) -}}
{{- $count := int (get . $name) -}}
{{- if mod $count 16 -}}
{{- fail (printf "pool.%s is %d but must be a multiple of 16 with pool.blocks, because a block has 16 addresses" $name $count) -}}
{{- end -}}
{{- if lt (int .max) 16 -}}
{{- fail (printf "pool.max is %d but must be at least 16 with pool.blocks, because a block has 16 addresses" (int .max)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "azure-cni.validate.docker" . -}}
{{- include "azure-cni.validate.azure" . -}}
{{- include "azure-cni.validate.directories" . -}}
{{- include "azure-cni.validate.ports" . -}}
{{- include "azure-cni.validate.environment" . -}}
{{- include "azure-cni.validate.lists" . -}}
{{- if eq .Values.nicWriter "controller" -}}
{{- if not .Values.controller.enabled -}}
{{- fail "nicWriter is controller, which needs controller.enabled" -}}
{{- end -}}
{{- end -}}
{{- if .Values.controller.enabled -}}
{{- if gt (int .Values.quota.reserved) (int .Values.quota.limit) -}}
{{- fail (printf "quota.reserved is %d but cannot be more than quota.limit, which is %d" (int .Values.quota.reserved) (int .Values.quota.limit)) -}}
{{- end -}}
{{- $account := include "azure-cni.serviceAccountName" (list . "agent") -}}
{{- if eq $account (include "azure-cni.serviceAccountName" (list . "controller")) -}}
{{- fail (printf "serviceAccount.name and controller.serviceAccount.name are both %s: agents must not be able to grant" $account) -}}
{{- end -}}
{{- end -}}
{{- include "azure-cni.validate.metrics" . -}}
{{- include "azure-cni.validate.prefixes" (list "routablePrefixes" .Values.routablePrefixes) -}}
{{- $services := (.Values.windows | default dict).services | default dict -}}
{{- include "azure-cni.validate.prefixes" (list "windows.services.prefixes" $services.prefixes) -}}
{{- include "azure-cni.validate.plugins" . -}}
{{- include "azure-cni.validate.networkPolicy" . -}}
{{- if and (eq .Values.linkNames "calico") (ne .Values.mode "transparent") -}}
{{- fail (printf "linkNames is calico, which needs mode transparent: it is %s, and behind a bridge Calico does not see pods' links and would let all of their traffic pass" .Values.mode) -}}
{{- end -}}
{{- end -}}

{{- /* What cni/extra_plugins.py refuses; there also what JSON alone shows. */ -}}
{{- define "azure-cni.validate.plugins" -}}
{{- $text := toJson .Values.cni.extraPlugins -}}
{{- if gt (len $text) 16384 -}}
{{- fail (printf "cni.extraPlugins has %d characters as JSON, and agents take 16384 at most: put settings of a plugin into a file of its own" (len $text)) -}}
{{- end -}}
{{- $chained := list "azure-cni" -}}
{{- if .Values.cni.chainPortmap }}{{ $chained = append $chained "portmap" }}{{ end -}}
{{- if .Values.cni.chainBandwidth }}{{ $chained = append $chained "bandwidth" }}{{ end -}}
{{- range $plugin := .Values.cni.extraPlugins -}}
{{- if has .type $chained -}}
{{- fail (printf "cni.extraPlugins: %s is chained already" .type) -}}
{{- end -}}
{{- $chained = append $chained .type -}}
{{- if has .type (list "bridge" "dummy" "host-device" "ipvlan" "loopback" "macvlan" "ptp" "tap" "vlan" "dhcp" "host-local" "static") -}}
{{- fail (printf "cni.extraPlugins: %s cannot follow azure-cni: it makes an interface, or gives addresses to a plugin that does" .type) -}}
{{- end -}}
{{- if has .type (list "multus" "multus-shim") -}}
{{- fail (printf "cni.extraPlugins: %s would call azure-cni again; its own configuration comes first and delegates (docs/works-beside.md)" .type) -}}
{{- end -}}
{{- range $key := list "cniVersion" "name" "prevResult" "runtimeConfig" "ipam" -}}
{{- if hasKey $plugin $key -}}
{{- fail (printf "cni.extraPlugins: leave %s out of %s" $key $plugin.type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* With what the engine would not start, enforce nothing, or do otherwise than its values say. */ -}}
{{- define "azure-cni.validate.networkPolicy" -}}
{{- with .Values.networkPolicy -}}
{{- if .enabled -}}
{{- if regexMatch "-npa-v[0-9a-z]+$" .image.tag -}}
{{- fail (printf "networkPolicy.image.tag is %s; leave out %s: networkPolicy.clusterNetworkPolicies adds it, and the rights that this image needs" .image.tag (regexFind "-npa-v[0-9a-z]+$" .image.tag)) -}}
{{- end -}}
{{- if and .clusterNetworkPolicies (eq (int .queue) 65535) -}}
{{- fail "networkPolicy.queue is 65535, the last one, and with networkPolicy.clusterNetworkPolicies the engine reads the one after it, too" -}}
{{- end -}}
{{- range .extraArgs -}}
{{- $flag := regexFind "^--?[^=]+" . | trimAll "-" -}}
{{- $value := get (dict "fail-open" "failOpen" "strict-mode" "strictMode" "nfqueue-id" "queue" "metrics-bind-address" "metricsBindAddress" "hostname-override" "enabled") $flag -}}
{{- if $value -}}
{{- fail (printf "networkPolicy.extraArgs: --%s is the chart's own flag; %s" $flag (eq $value "enabled" | ternary "leave it out" (printf "set networkPolicy.%s" $value))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "azure-cni.validate.docker" -}}
{{- if and .Values.docker.enabled (has "IPv6" .Values.ipFamilies) -}}
{{- fail "docker.enabled and ipFamilies has IPv6: Docker's containers get IPv4 alone; set ipFamilies to [IPv4]" -}}
{{- end -}}
{{- if and .Values.docker.enabled (ne .Values.mode "transparent") -}}
{{- fail (printf "docker.enabled needs mode transparent: it is %s, and Docker's containers are wired in the other alone" .Values.mode) -}}
{{- end -}}
{{- with .Values.docker.engineSocket -}}
{{- if not $.Values.docker.enabled -}}
{{- fail (printf "docker.engineSocket is %s, which needs docker.enabled" .) -}}
{{- end -}}
{{- if ne . (clean .) -}}
{{- fail (printf "docker.engineSocket is %s; write it without dots: %s" . (clean .)) -}}
{{- end -}}
{{- $directory := dir . -}}
{{- $parts := splitList "/" $directory -}}
{{- $taken := has $directory (list "/var/run" "/run/docker" "/run/docker/plugins" "/run/containerd" "/run/netns") -}}
{{- $ours := include "azure-cni.contains" (list "/run/azure-cni" $directory) -}}
{{- if or (lt (len $parts) 3) $taken $ours -}}
{{- fail (printf "docker.engineSocket is %s: its directory is mounted, and others use %s; have Docker listen in one that has nothing else, too, such as /run/docker-api/docker.sock (docs/docker.md)" . $directory) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "azure-cni.validate.metrics" -}}
{{- with .Values.metrics -}}
{{- if ne .bind "node" -}}
{{- if .serviceMonitor.enabled -}}
{{- fail (printf "metrics.serviceMonitor.enabled needs metrics.bind node: it is %s, and Prometheus could not reach the port" .bind) -}}
{{- end -}}
{{- if .tls.enabled -}}
{{- fail (printf "metrics.tls.enabled needs metrics.bind node: it is %s, and nothing leaves the node" .bind) -}}
{{- end -}}
{{- end -}}
{{- if eq .bind "none" -}}
{{- if .prometheusRule.enabled -}}
{{- fail "metrics.prometheusRule.enabled is true and metrics.bind none: Prometheus would see nothing, so that AzureCNIAway and AzureCNINoLeader always fire and no other ever does" -}}
{{- end -}}
{{- if .dashboard.enabled -}}
{{- fail "metrics.dashboard.enabled is true and metrics.bind none: there are no metrics that it could show" -}}
{{- end -}}
{{- end -}}
{{- if not .tls.enabled -}}
{{- if eq .auth "token" -}}
{{- fail "metrics.auth is token, which needs metrics.tls.enabled: whoever reads a token on the network can use it" -}}
{{- end -}}
{{- if .tls.secretName -}}
{{- fail (printf "metrics.tls.secretName is %s, which nothing uses without metrics.tls.enabled" .tls.secretName) -}}
{{- end -}}
{{- if .serviceMonitor.tlsConfig -}}
{{- fail "metrics.serviceMonitor.tlsConfig is set, which nothing uses without metrics.tls.enabled" -}}
{{- end -}}
{{- end -}}
{{- if eq .auth "none" -}}
{{- if .tokenAudience -}}
{{- fail "metrics.tokenAudience is set, which nothing uses without metrics.auth token" -}}
{{- end -}}
{{- if .serviceMonitor.authorization -}}
{{- fail "metrics.serviceMonitor.authorization is set, which nothing uses without metrics.auth token" -}}
{{- end -}}
{{- end -}}
{{- if and .tokenAudience .serviceMonitor.enabled (not .serviceMonitor.authorization) -}}
{{- fail "metrics.tokenAudience needs metrics.serviceMonitor.authorization: the token of Prometheus' own service account is for the API server" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What an agent would not start with. Of (list "value" PREFIXES). */ -}}
{{- define "azure-cni.validate.prefixes" -}}
{{- $name := index . 0 -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" -}}
{{- range index . 1 -}}
{{- if not (regexMatch (printf "^(%s\\.){3}%s/(3[0-2]|[12]?[0-9])$" $octet $octet) .) -}}
{{- fail (printf "%s: %q is not an IPv4 prefix such as 192.168.0.0/16" $name .) -}}
{{- end -}}
{{- $parts := splitList "/" . -}}
{{- $address := 0 -}}
{{- range splitList "." (index $parts 0) -}}
{{- $address = add (mul $address 256) (atoi .) -}}
{{- end -}}
{{- $size := 1 -}}
{{- range until (sub 32 (index $parts 1 | atoi) | int) -}}
{{- $size = mul $size 2 -}}
{{- end -}}
{{- if mod $address $size -}}
{{- fail (printf "%s: %q is an address in a prefix; write the prefix, whose bits beyond /%s are 0" $name . (index $parts 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Of (list SYSTEM SELECTOR): each key once, also where somebody names the system, and always this system. */ -}}
{{- define "azure-cni.nodeSelector" -}}
{{- toYaml (merge (dict "kubernetes.io/os" (index . 0)) (index . 1 | default dict)) -}}
{{- end -}}

{{- define "azure-cni.validate.azure" -}}
{{- if has "IPv6" .Values.ipFamilies -}}
{{- if .Values.windows.enabled -}}
{{- fail "windows.enabled and ipFamilies has IPv6: pods on Windows get IPv4 alone; set ipFamilies to [IPv4]" -}}
{{- end -}}
{{- if .Values.pool.subnets -}}
{{- fail "pool.subnets is set and ipFamilies has IPv6: pods in a subnet of their own get IPv4 alone; set ipFamilies to [IPv4]" -}}
{{- end -}}
{{- end -}}
{{- with .Values.azure -}}
{{- if and (eq .identity "workload") (not (and .clientID .tenantID)) -}}
{{- fail "azure.identity is workload, which needs azure.clientID and azure.tenantID" -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.azure "nic" -}}
{{- fail (printf "azure.nic is %v, and is no value any more: nicWriter=none replaces azure.nic=observe; leave azure.nic out" .Values.azure.nic) -}}
{{- end -}}
{{- if eq .Values.nicWriter "none" -}}
{{- if eq .Values.azure.adopt "none" -}}
{{- fail "nicWriter is none and azure.adopt is none: pods would get nothing, because the NIC has no address that azure-cni put there" -}}
{{- end -}}
{{- if .Values.pool.subnets -}}
{{- fail "nicWriter is none and pool.subnets is set: which NIC is in a subnet is asked of Azure; leave pool.subnets empty" -}}
{{- end -}}
{{- if has "IPv6" .Values.ipFamilies -}}
{{- fail "nicWriter is none and ipFamilies has IPv6: nobody would add IPv6 addresses to the NIC; set ipFamilies to [IPv4]" -}}
{{- end -}}
{{- if .Values.controller.enabled -}}
{{- fail "nicWriter is none, and then a controller has nothing to grant; set controller.enabled=false" -}}
{{- end -}}
{{- if not .Values.routablePrefixes -}}
{{- fail "nicWriter is none, and then Azure is not asked which prefixes the VNet has; list them in routablePrefixes, or pods reach the rest of the VNet with the node's address" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Is the second directory the first, or inside it? */}}
{{- define "azure-cni.contains" -}}
{{- if or (eq (index . 0) (index . 1)) (hasPrefix (printf "%s/" (index . 0)) (index . 1)) }}true{{ end -}}
{{- end -}}

{{- define "azure-cni.validate.directories" -}}
{{- $directories := dict "cni.binDir" .Values.cni.binDir "cni.confDir" .Values.cni.confDir -}}
{{- range $name, $path := $directories -}}
{{- if ne $path (clean $path) -}}
{{- fail (printf "%s is %s; write it without dots: %s" $name $path (clean $path)) -}}
{{- end -}}
{{- range $other, $taken := merge (dict "the agent's own directory" "/run/azure-cni") (omit $directories $name) -}}
{{- if include "azure-cni.contains" (list $taken $path) -}}
{{- fail (printf "%s is %s, which is in %s (%s); the runtime reads plugins and configurations from directories of their own" $name $path $taken $other) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ports of a node's own network that others use as a rule: Kubernetes' own, SSH, and BGP speakers. */}}
{{- define "azure-cni.takenPorts" -}}
"22": SSH
"179": BGP
"2379": etcd
"2380": etcd
"6443": the API server
"10248": the kubelet
"10249": kube-proxy
"10250": the kubelet
"10255": the kubelet
"10256": kube-proxy
"10257": kube-controller-manager
"10258": cloud-controller-manager
"10259": kube-scheduler
{{- end -}}

{{- define "azure-cni.validate.ports" -}}
{{- $taken := include "azure-cni.takenPorts" . | fromYaml -}}
{{- $ports := dict "metrics.port" .Values.metrics.port -}}
{{- if .Values.controller.enabled -}}
{{- $_ := set $ports "controller.metricsPort" .Values.controller.metricsPort -}}
{{- if eq (int .Values.controller.metricsPort) (int .Values.metrics.port) -}}
{{- fail (printf "controller.metricsPort is %d, and so is metrics.port: agent and controller share the network of a node" (int .Values.metrics.port)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.networkPolicy -}}
{{- if .enabled -}}
{{- $engine := regexFind "[0-9]+$" .metricsBindAddress | int -}}
{{- range $name, $port := $ports -}}
{{- if eq (int $port) $engine -}}
{{- fail (printf "networkPolicy.metricsBindAddress has port %d, and so has %s: they share the network of a node" $engine $name) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $ports "networkPolicy.metricsBindAddress" $engine -}}
{{- end -}}
{{- end -}}
{{- range $name, $port := $ports -}}
{{- with get $taken (int $port | toString) -}}
{{- fail (printf "%s is %d, the port of %s: it is on the network of the node itself; choose another" $name (int $port) .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "azure-cni.validate.environment" -}}
{{- $variables := list -}}
{{- range $variable := .Values.agent.extraEnv -}}
{{- $variables = append $variables (list "agent.extraEnv" $variable.name) -}}
{{- end -}}
{{- range $variable := .Values.controller.extraEnv -}}
{{- $variables = append $variables (list "controller.extraEnv" $variable.name) -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $variables -}}
{{- $where := index . 0 -}}
{{- $name := index . 1 -}}
{{- /* In any case: Windows does not tell capital letters from small ones in the names of variables. */ -}}
{{- if or (hasPrefix "AZURE_CNI_" (upper $name)) (has (upper $name) (list "AZURE_TENANT_ID" "AZURE_FEDERATED_TOKEN_FILE")) -}}
{{- fail (printf "%s: %s is one of the chart's own variables; set the value that it stands for (docs/values.md)" $where $name) -}}
{{- end -}}
{{- if hasKey $seen (join " " .) -}}
{{- fail (printf "%s: %s is there twice, and only one could count" $where $name) -}}
{{- end -}}
{{- $_ := set $seen (join " " .) true -}}
{{- end -}}
{{- end -}}

{{- /*
Lists reach a process as one variable each, and Linux starts none with a variable of more than 128 KiB, its name
included (MAX_ARG_STRLEN): every agent would end before it begins. Windows has 32,767 characters for one (Microsoft
documentation, "Environment Variables").
*/ -}}
{{- define "azure-cni.validate.lists" -}}
{{- $windows := (.Values.windows | default dict).enabled -}}
{{- $longest := ternary 32000 130000 (default false $windows) -}}
{{- $lists := dict "podNetworking.allowed" (toJson .Values.podNetworking.allowed) "pool.subnets" (toJson .Values.pool.subnets) -}}
{{- $_ := set $lists "routablePrefixes" (join "," .Values.routablePrefixes) -}}
{{- $_ := set $lists "podNetworking.egress.namespaces" (join "," .Values.podNetworking.egress.namespaces) -}}
{{- range $name, $text := $lists -}}
{{- if gt (len $text) $longest -}}
{{- fail (printf "%s has %d characters as agents are given it, and %s starts no process with more than %d of them: list less" $name (len $text) (ternary "Windows" "Linux" (default false $windows)) $longest) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
How the values of quota.* compare with the VNetQuotas that are there already, in words; empty when there are none. Only an
installation or upgrade can look, and only where the kind is known.
*/}}
{{- define "azure-cni.quotas" -}}
{{- if .Capabilities.APIVersions.Has "azure-cni.io/v1alpha1" -}}
{{- range (lookup "azure-cni.io/v1alpha1" "VNetQuota" "" "").items -}}
{{- $quota := . -}}
{{- $differing := list -}}
{{- range $name, $value := $.Values.quota -}}
{{- $counts := get $quota.spec $name -}}
{{- if ne (int64 $value) (int64 $counts) -}}
{{- $differing = append $differing (printf "quota.%s is %d, spec.%s %d" $name (int64 $value) $name (int64 $counts)) -}}
{{- end -}}
{{- end -}}
{{- if not $differing }}
VNetQuota {{ $quota.metadata.name }} counts, as quota.* says. To change it: kubectl edit vnetquota {{ $quota.metadata.name }}
{{ else }}
NOT TAKEN: VNetQuota {{ $quota.metadata.name }} is there already, and its spec counts.
{{- range $differing }}
  {{ . }}
{{- end }}
To change it:

  kubectl edit vnetquota {{ $quota.metadata.name }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
For whoever calls Azure: the agent unless nicWriter is controller, and always the controller, which counts the VNet.
*/}}
{{- define "azure-cni.azure.env" -}}
- name: AZURE_CNI_CLOUD
  value: {{ .Values.azure.cloud | quote }}
{{- with .Values.azure.resourceManagerEndpoint }}
- name: AZURE_CNI_ARM_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: AZURE_CNI_ADOPT
  value: {{ .Values.azure.adopt | quote }}
- name: AZURE_CNI_SHRINK_SCALE_SETS
  value: {{ .Values.scaleSets.shrink | quote }}
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

{{/*
For whoever decides what pods have of the VNet: agents, and the controller that writes their NICs.
*/}}
{{- define "azure-cni.podNetworking.env" -}}
- name: AZURE_CNI_POD_NETWORKING_ALLOWED
  value: {{ .Values.podNetworking.allowed | toJson | quote }}
- name: AZURE_CNI_POD_SUBNETS
  value: {{ .Values.pool.subnets | default list | toJson | quote }}
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

{{/* What a controller that writes NICs needs to know who is who. */}}
{{- define "azure-cni.attestation.env" -}}
- name: AZURE_CNI_ATTESTATION
  value: {{ .Values.azure.attestation.required | quote }}
{{- with .Values.azure.attestation.caBundle }}
{{- if .configMap }}
- name: AZURE_CNI_ATTESTATION_CA_FILE
  value: /etc/azure-cni/attestation/{{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "azure-cni.attestation.mounts" -}}
{{- if and (eq .Values.nicWriter "controller") .Values.azure.attestation.caBundle.configMap }}
- name: attestation-ca
  mountPath: /etc/azure-cni/attestation
  readOnly: true
{{- end }}
{{- end -}}

{{- define "azure-cni.attestation.volumes" -}}
{{- $writes := eq .Values.nicWriter "controller" -}}
{{- with .Values.azure.attestation.caBundle }}
{{- if and $writes .configMap }}
- name: attestation-ca
  configMap:
    name: {{ .configMap }}
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes a list of the root and the port. */}}
{{- define "azure-cni.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/scheme: {{ ternary "https" "http" (index . 0).Values.metrics.tls.enabled }}
prometheus.io/port: {{ index . 1 | int64 | quote }}
prometheus.io/path: /metrics
{{- end -}}

{{/*
A pattern of the names of a component's pods. Takes a list of the root and the component. Of a longer name the API server
takes 58 characters to make a pod's name.
*/}}
{{- define "azure-cni.podNames" -}}
{{- printf "%s-" (include "azure-cni.componentName" .) | trunc 58 -}}.+
{{- end -}}

{{/*
The alerts, for this release: its series, severities and runbooks. Without a controller those are left out that are about controllers alone: that none leads
would always be so.
*/}}
{{- define "azure-cni.alerts" -}}
{{- $alerts := include "azure-cni.ownSeries" (list . (.Files.Get "files/alerts.yaml")) -}}
{{- with .Values.metrics.prometheusRule -}}
{{- range $name, $severity := .severities -}}
{{- $alerts = $alerts | replace (printf "{severity: %s}" $name) (printf "{severity: %s}" (quote $severity)) -}}
{{- end -}}
{{- with .runbooks -}}
{{- $alerts = regexReplaceAll "runbook_url: docs/([a-z-]+)\\.md" $alerts (printf "runbook_url: %s/${1}.html" (trimSuffix "/" .)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.controller.enabled -}}
{{- $alerts -}}
{{- else -}}
{{- $agents := include "azure-cni.podNames" (list . "agent") -}}
{{- $groups := list -}}
{{- range (fromYaml $alerts).groups -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- if contains $agents .expr -}}
{{- $rules = append $rules . -}}
{{- end -}}
{{- end -}}
{{- $groups = append $groups (dict "name" .name "rules" $rules) -}}
{{- end -}}
{{- dict "groups" $groups | toYaml -}}
{{- end -}}
{{- end -}}

{{/*
A text whose PromQL selects the pods of a release azure-cni in kube-system, for this release. Takes a list of the root and
the text.
*/}}
{{- define "azure-cni.ownSeries" -}}
{{- $root := index . 0 -}}
{{- $text := index . 1 | replace "\"kube-system\"" (quote $root.Release.Namespace) -}}
{{- range $component := list "agent" "controller" -}}
{{- $text = $text | replace (printf "azure-cni-%s-.+" $component) (include "azure-cni.podNames" (list $root $component)) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* What agent and controller both need to serve metrics; each adds its port. */}}
{{- define "azure-cni.metrics.env" -}}
- name: AZURE_CNI_METRICS_BIND
  value: {{ .Values.metrics.bind | quote }}
- name: AZURE_CNI_HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
{{- if .Values.metrics.tls.enabled }}
- name: AZURE_CNI_METRICS_TLS
  value: "true"
{{- if .Values.metrics.tls.secretName }}
- name: AZURE_CNI_METRICS_TLS_DIR
  value: /etc/azure-cni/metrics-tls
{{- end }}
- name: AZURE_CNI_METRICS_AUTH
  value: {{ .Values.metrics.auth | quote }}
{{- with .Values.metrics.tokenAudience }}
- name: AZURE_CNI_METRICS_AUDIENCE
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "azure-cni.metrics.mounts" -}}
{{- if .Values.metrics.tls.secretName }}
- name: metrics-tls
  mountPath: /etc/azure-cni/metrics-tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "azure-cni.metrics.volumes" -}}
{{- with .Values.metrics.tls.secretName }}
- name: metrics-tls
  secret:
    secretName: {{ . | quote }}
    optional: true # pods are wired, and cert-manager's own can start, before the certificate is there
{{- end }}
{{- end -}}

{{/* Whose the tokens of scrapes are, and whether they may read the metrics: rules of a ClusterRole. */}}
{{- define "azure-cni.metrics.reviews" -}}
{{- if eq .Values.metrics.auth "token" }}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
{{- end -}}

{{/* For the agents of all systems: whose node it is, its pool, Azure, pods' traffic, metrics and logs. */}}
{{- define "azure-cni.agent.env" -}}
- name: AZURE_CNI_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if .Values.pool.size }}
- name: AZURE_CNI_POOL_SIZE
  value: {{ .Values.pool.size | int64 | quote }}
{{- else }}
- name: AZURE_CNI_POOL_MIN_FREE
  value: {{ .Values.pool.minFree | int64 | quote }}
- name: AZURE_CNI_POOL_MAX_FREE
  value: {{ .Values.pool.maxFree | int64 | quote }}
- name: AZURE_CNI_POOL_BATCH
  value: {{ .Values.pool.batch | int64 | quote }}
{{- end }}
- name: AZURE_CNI_POOL_MAX
  value: {{ .Values.pool.max | int64 | quote }}
{{- if has "IPv6" .Values.ipFamilies }}
- name: AZURE_CNI_IP_FAMILIES
  value: {{ join "," .Values.ipFamilies }}
{{- end }}
{{- with .Values.pool.blocks }}
- name: AZURE_CNI_POOL_BLOCKS
  value: {{ . | int64 | quote }}
{{- end }}
- name: AZURE_CNI_GRANTS
  value: {{ ternary "controller" "self" .Values.controller.enabled }}
- name: AZURE_CNI_NIC_WRITER
  value: {{ .Values.nicWriter }}
{{- if ne .Values.nicWriter "controller" }}
{{- include "azure-cni.azure.env" . | nindent 0 }}
{{- end }}
- name: AZURE_CNI_ALLOW_IMDS
  value: {{ .Values.imds.allowPods | quote }}
- name: AZURE_CNI_ROUTABLE_PREFIXES
  value: {{ join "," .Values.routablePrefixes | quote }}
- name: AZURE_CNI_EGRESS_NAMESPACES
  value: {{ join "," .Values.podNetworking.egress.namespaces | quote }}
{{- include "azure-cni.podNetworking.env" . | nindent 0 }}
- name: AZURE_CNI_METRICS_PORT
  value: {{ .Values.metrics.port | int64 | quote }}
{{- include "azure-cni.metrics.env" . | nindent 0 }}
- name: AZURE_CNI_LOG_LEVEL
  value: {{ .Values.agent.logLevel | quote }}
- name: AZURE_CNI_LOG_FORMAT
  value: {{ .Values.agent.logFormat | quote }}
- name: AZURE_CNI_SHRINK_DELAY_S
  value: {{ .Values.agent.shrinkDelaySeconds | int64 | quote }}
- name: AZURE_CNI_COOLING_S
  value: {{ .Values.agent.coolingSeconds | int64 | quote }}
- name: AZURE_CNI_RESYNC_S
  value: {{ .Values.agent.resyncSeconds | int64 | quote }}
{{- end -}}

{{/* Where an agent is asked whether it is alive and ready: on loopback, where nobody on the network can be in the kubelet's
way. Alive says nothing about Azure: a restart would not help there. */}}
{{- define "azure-cni.agent.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    host: 127.0.0.1
    port: metrics
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    host: 127.0.0.1
    port: metrics
  periodSeconds: 2 # a rolling update waits for it, node after node
  timeoutSeconds: 5
  failureThreshold: 8
{{- end -}}

{{/* What the values' securityContext and podSecurityContext are merged over. */}}
{{- define "azure-cni.agent.podSecurityContext" -}}
{{- include "azure-cni.seccompProfile" (list . "agent") }}
{{- end -}}

{{/* A profile of the chart's own has to lie on the node before the pod starts there, so it is no default. */}}
{{- define "azure-cni.seccompProfile" -}}
{{- $directory := ((index . 0).Values.seccomp | default dict).localhostProfiles -}}
seccompProfile:
{{- if $directory }}
  type: Localhost
  localhostProfile: {{ $directory }}/{{ index . 1 }}.json
{{- else }}
  type: RuntimeDefault
{{- end }}
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
{{ include "azure-cni.seccompProfile" (list . "controller") }}
{{- end -}}

{{- define "azure-cni.controller.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
