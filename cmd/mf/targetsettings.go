package main

import (
	"strings"

	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/backends/registry"
)

// metaflowTargetSettings are Metaflow's own names for settings of targets.
var metaflowTargetSettings = map[string]string{
	"argo.namespace":          "METAFLOW_KUBERNETES_NAMESPACE",
	"argo.service-account":    "METAFLOW_KUBERNETES_SERVICE_ACCOUNT",
	"argo.secrets":            "METAFLOW_KUBERNETES_SECRETS",
	"argo.image-pull-policy":  "METAFLOW_KUBERNETES_IMAGE_PULL_POLICY",
	"argo.image-pull-secrets": "METAFLOW_KUBERNETES_IMAGE_PULL_SECRETS",
	"argo.node-selector":      "METAFLOW_KUBERNETES_NODE_SELECTOR",
	"argo.priority":           "METAFLOW_ARGO_WORKFLOWS_WORKFLOW_PRIORITY",

	"argo.event-source":          "METAFLOW_ARGO_EVENTS_EVENT_SOURCE",
	"argo.event-name":            "METAFLOW_ARGO_EVENTS_EVENT",
	"argo.event-bus":             "METAFLOW_ARGO_EVENTS_EVENT_BUS",
	"argo.event-service-account": "METAFLOW_ARGO_EVENTS_SERVICE_ACCOUNT",
	"argo.events-url":            "METAFLOW_ARGO_EVENTS_INTERNAL_WEBHOOK_URL",

	"kubernetes.namespace":          "METAFLOW_KUBERNETES_NAMESPACE",
	"kubernetes.service-account":    "METAFLOW_KUBERNETES_SERVICE_ACCOUNT",
	"kubernetes.secrets":            "METAFLOW_KUBERNETES_SECRETS",
	"kubernetes.image-pull-policy":  "METAFLOW_KUBERNETES_IMAGE_PULL_POLICY",
	"kubernetes.image-pull-secrets": "METAFLOW_KUBERNETES_IMAGE_PULL_SECRETS",
	"kubernetes.node-selector":      "METAFLOW_KUBERNETES_NODE_SELECTOR",
	"kubernetes.cpu":                "METAFLOW_KUBERNETES_CPU",
	"kubernetes.memory":             "METAFLOW_KUBERNETES_MEMORY",
	"kubernetes.disk":               "METAFLOW_KUBERNETES_DISK",
	"kubernetes.ttl":                "METAFLOW_KUBERNETES_JOB_TTL_SECONDS_AFTER_FINISHED",
}

// targetSettingNames lists the settings of all targets, in the order of the documentation.
func targetSettingNames() []string {
	var names []string
	for _, b := range registry.All() {
		for _, s := range b.Settings() {
			names = append(names, s.Name)
		}
	}
	for _, s := range kubernetes.Settings() {
		names = append(names, s.Name)
	}
	return names
}

func isTargetSetting(key string) bool {
	for _, name := range targetSettingNames() {
		if name == key {
			return true
		}
	}
	return false
}

// targetEnv is the environment variable of a target's setting: MF_ARGO_NAMESPACE for argo.namespace.
func targetEnv(name string) string {
	return "MF_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// givenTargetSettings resolves the settings of targets as those of mf itself: the environment, mf.yaml, then Metaflow's.
func (a *app) givenTargetSettings(c *config, fromFile map[string]string) map[string]value {
	given := map[string]value{}
	for _, name := range targetSettingNames() {
		if theirs := metaflowTargetSettings[name]; theirs != "" {
			if text, ok := c.fallback[theirs]; ok {
				given[name] = value{text, "Metaflow's " + theirs, true}
			}
			if text, ok := a.lookupEnv(theirs); ok {
				given[name] = value{text, "environment " + theirs, true}
			}
		}
		if text, ok := fromFile[name]; ok {
			given[name] = value{text, c.file, false}
		}
		if text, ok := a.lookupEnv(targetEnv(name)); ok {
			given[name] = value{text, "environment " + targetEnv(name), false}
		}
	}
	return given
}

// targetSettings are the settings of targets that are given, those of the --set flags above all others.
func (c *config) targetSettings(flags []string) (map[string]string, error) {
	own, err := pairs("set", flags)
	if err != nil {
		return nil, err
	}
	if unknown := registry.CheckSettings(own); len(unknown) > 0 {
		return nil, usagef("%s; %s", unknown[0].Summary, unknown[0].Detail)
	}
	all := map[string]string{}
	for name, v := range c.target {
		all[name] = v.Text
	}
	for name, text := range own {
		all[name] = text
	}
	return all, nil
}
