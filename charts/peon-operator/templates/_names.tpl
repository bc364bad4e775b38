{{/*
Name of the chart, for the label app.kubernetes.io/name.
*/}}
{{- define "peon-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/*
Name of all objects. At most 52 characters, so that a suffix such as "-metrics" still fits into the 63 of a Service.
*/}}
{{- define "peon-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Labels by which the operator's pods are selected. They never change in the life of a release.
*/}}
{{- define "peon-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "peon-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/*
Labels of the operator's pods. The chart's version is not among them: it alone is no reason to replace a pod.
"managed-by" is Helm and never "peon-operator": that value marks peons. By component and part-of kubectl peon finds the
operator, whatever the release is called.
*/}}
{{- define "peon-operator.podLabels" -}}
{{ include "peon-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: peon-operator
app.kubernetes.io/component: operator
{{- with merge (deepCopy .Values.podLabels) .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Labels of every other object.
*/}}
{{- define "peon-operator.labels" -}}
{{ include "peon-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: peon-operator
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
Image of the operator without tag. The registry is what stands before the first slash, if it can be a host.
*/}}
{{- define "peon-operator.repository" -}}
{{- $repository := .Values.image.repository -}}
{{- with (.Values.global).imageRegistry -}}
{{- $first := splitList "/" $repository | first -}}
{{- if and (contains "/" $repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) -}}
{{- $repository = trimPrefix (printf "%s/" $first) $repository -}}
{{- end -}}
{{- $repository = printf "%s/%s" . $repository -}}
{{- end -}}
{{- $repository -}}
{{- end }}

{{/*
Image of the operator: by digest, else by tag.
*/}}
{{- define "peon-operator.image" -}}
{{- $repository := include "peon-operator.repository" . -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{/*
Whether this release has the operator, and whether it has objects of the cluster; empty for no.
*/}}
{{- define "peon-operator.hasOperator" -}}
{{- if ne .Values.parts "cluster" }}true{{ end -}}
{{- end }}
{{- define "peon-operator.hasCluster" -}}
{{- if ne .Values.parts "namespace" }}true{{ end -}}
{{- end }}

{{/*
The security context of the operator's pods.
*/}}
{{- define "peon-operator.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if eq .Values.platform "openshift" -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end }}

{{/*
The role of the pods of VirtualMiddleManagers, as Kind/name.
*/}}
{{- define "peon-operator.middleManagerRole" -}}
{{- $own := printf "%s/%s-middle-manager" (ternary "Role" "ClusterRole" (ne (include "peon-operator.watchNamespace" .) "")) (include "peon-operator.fullname" .) -}}
{{- default $own .Values.middleManagers.role -}}
{{- end }}

{{/*
Name of the operator's ServiceAccount.
*/}}
{{- define "peon-operator.serviceAccountName" -}}
{{- $default := ternary (include "peon-operator.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end }}

{{/*
The namespace whose PeonTasks are run; empty for all of them.
*/}}
{{- define "peon-operator.watchNamespace" -}}
{{- if eq .Values.scope "namespace" -}}
{{- default .Release.Namespace .Values.watchNamespace -}}
{{- end -}}
{{- end }}

{{/*
Name of the Lease by which the operator's pods choose a leader.
*/}}
{{- define "peon-operator.leaseName" -}}
{{- default (include "peon-operator.fullname" .) .Values.leaderElection.leaseName -}}
{{- end }}

{{/*
PriorityClass of the pods of operator and VirtualMiddleManagers; empty for none. The value of a PriorityClass cannot be
changed, so it is a part of the name: another value is another object.
*/}}
{{- define "peon-operator.priorityClassName" -}}
{{- if .Values.priorityClassName -}}
{{- .Values.priorityClassName -}}
{{- else if and .Values.priorityClass.create (include "peon-operator.hasCluster" .) -}}
{{- $value := int64 .Values.priorityClass.value | toString | replace "-" "minus-" -}}
{{- printf "%s-%s-%s" (include "peon-operator.fullname" .) .Release.Namespace $value -}}
{{- end -}}
{{- end }}

{{/*
The operator's ServiceAccount as the subject of a binding.
*/}}
{{- define "peon-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "peon-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/*
What the operator may do to tasks and their pods: each verb is one that it uses, none is a wildcard.
*/}}
{{- define "peon-operator.taskRules" -}}
# Finished tasks are deleted when their time is over.
- apiGroups: [peon.dev]
  resources: [peontasks]
  verbs: [get, list, watch, delete]
- apiGroups: [peon.dev]
  resources: [peontemplates]
  verbs: [list, watch]
- apiGroups: [peon.dev]
  resources: [peontasks/status, peontemplates/status]
  verbs: [patch]
# A pod is patched to end sidecars that outlive its peon.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, get, create, patch, delete]
# Logs of peons, where they are archived.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, get]
# Payloads that hold secrets, and with what Indexers are called.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Why a pod does not start.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Warnings about tasks.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/*
What the pods of VirtualMiddleManagers may do, in their namespace.
*/}}
{{- define "peon-operator.workerRules" -}}
# The tasks that the overlord assigns, and those that are submitted to it.
- apiGroups: [peon.dev]
  resources: [peontasks]
  verbs: [get, list, watch, create, patch]
# How far those are that users applied, and what the overlord assigned for them.
- apiGroups: [peon.dev]
  resources: [peontasks/status]
  verbs: [patch]
- apiGroups: [peon.dev]
  resources: [virtualmiddlemanagers]
  verbs: [get, list, watch]
- apiGroups: [peon.dev]
  resources: [virtualmiddlemanagers/status]
  verbs: [patch]
# Whether the overlord sees the Indexers of its IndexerPools.
- apiGroups: [peon.dev]
  resources: [indexerpools/status]
  verbs: [patch]
# Where their peons can be called.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Their payloads.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [create]
{{- end }}

{{/*
What the operator may do for VirtualMiddleManagers: their pods, their Services and the right of those pods.
*/}}
{{- define "peon-operator.middleManagerRules" -}}
- apiGroups: [peon.dev]
  resources: [virtualmiddlemanagers]
  verbs: [list, watch]
- apiGroups: [peon.dev]
  resources: [indexerpools]
  verbs: [list, watch]
- apiGroups: [peon.dev]
  resources: [virtualmiddlemanagers/status, indexerpools/status]
  verbs: [patch]
# An Indexer that gets its task gets its cpu request with it.
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
# Indexers with a task are not evicted.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, create, patch]
{{- if .Values.middleManagers.kubernetesDiscovery }}
# The pods that carry announcements, and the right to patch these, which the operator has itself for all pods.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles]
  verbs: [get, create, patch]
{{- end }}
# No other role can be given away.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [{{ ternary "roles" "clusterroles" (ne (include "peon-operator.watchNamespace" .) "") }}]
  resourceNames: [{{ include "peon-operator.middleManagerRole" . | splitList "/" | last }}]
  verbs: [bind]
{{- end }}

{{/*
Refuses values that contradict each other, which the schema could only do with an obscure message.
*/}}
{{- define "peon-operator.check" -}}
{{- if and (eq .Values.scope "cluster") .Values.watchNamespace -}}
{{- fail "watchNamespace has no effect under scope cluster: set scope to namespace" -}}
{{- end -}}
{{- if and (eq .Values.parts "namespace") (ne .Values.scope "namespace") -}}
{{- fail "parts namespace is the operator for one namespace: set scope to namespace" -}}
{{- end -}}
{{- if and (eq .Values.parts "cluster") (ne .Values.scope "cluster") -}}
{{- fail "parts cluster is for all namespaces: leave scope at cluster" -}}
{{- end -}}
{{- if and .Values.middleManagers.role .Values.rbac.create -}}
{{- fail "middleManagers.role is for rbac.create=false: with rbac.create the chart creates the role" -}}
{{- end -}}
{{- if and .Values.logs.volume (not .Values.logs.mountPath) -}}
{{- fail "logs.volume needs logs.mountPath, which is druid.indexer.logs.directory or a folder above it" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.service.enabled; metrics.podMonitor works without" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor would read every metric twice: enable one of them" -}}
{{- end -}}
{{- end }}
