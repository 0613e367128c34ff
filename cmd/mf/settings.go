package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// setting is one thing that can be configured. Flags come first, then the environment, mf.yaml, Metaflow's own
// settings, and the default.
type setting struct {
	// Key is the name in mf.yaml; the environment variable is MF_ + the key in upper case with _ for -.
	Key string
	// Metaflow is the name of Metaflow's setting that is honoured; empty if none.
	Metaflow string
	Default  string
	Help     string
}

func (s setting) env() string { return "MF_" + strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_")) }

var settings = []setting{
	{"home", "", "", "folder for runs made here; default: .mf beside the flow, or the nearest one above it"},
	{"python", "", "python3", "interpreter that runs Python flows"},
	{"user", "METAFLOW_USER", "", "name under which runs are recorded; default: your login name"},
	{"max-workers", "", "16", "tasks that run at a time"},
	{"max-splits", "", "100", "widest foreach that is allowed in a run here"},
	{"max-log-size", "", "10", "MiB kept of each of a task's log streams"},
	{"with", "METAFLOW_DEFAULT_DECOSPECS", "", "decorators attached to every step, separated by spaces"},
	{"image", "METAFLOW_KUBERNETES_CONTAINER_IMAGE", "", "default container image for compiled flows"},
	{"task-image", "", "", "image that carries mf-task"},
	{"target", "", "", "target of compile, plan, deploy and the verbs for what is deployed, where --target is not given"},
	{"kubernetes", "", shipAuto, "where steps with @kubernetes of a run made here run: always on the cluster, never, or auto (on it where there is one and the datastore is shared)"},
	{"kubeconfig", "", "", "file that says how to reach the Kubernetes cluster; default: KUBECONFIG, ~/.kube/config, or the pod's own account"},
	{"kube-context", "", "", "context of that file; default: its current one"},
	{"datastore-local", "METAFLOW_DATASTORE_SYSROOT_LOCAL", "", "folder below which .metaflow holds the local datastore; default: home"},
	{"datastore", "METAFLOW_DATASTORE_SYSROOT_S3", "", "root of the shared datastore: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azure://CONTAINER/PREFIX"},
	{"service-url", "METAFLOW_SERVICE_URL", "", "address of the shared metadata service"},
	{"service-internal-url", "METAFLOW_SERVICE_INTERNAL_URL", "", "address of the metadata service as deployed tasks reach it; default: service-url"},
	{"service-token", "", "", "token for the metadata service; better kept in the environment than in a file"},
	{"service-ca", "", "", "file with the certificates that vouch for the metadata service; default: the system's"},
	{"default-datastore", "METAFLOW_DEFAULT_DATASTORE", "auto", "where runs made here keep artifacts: local, s3, gs, azure, or auto (shared where MF_DATASTORE or mf.yaml names a datastore)"},
	{"default-metadata", "METAFLOW_DEFAULT_METADATA", "auto", "where runs made here are recorded: local, service, or auto (the service where MF_SERVICE_URL or mf.yaml names one)"},
	{"patience", "", "10m", "how long an outage of the shared datastore or the metadata service is waited out"},
	{"metaflow-files", "", "auto", "write Metaflow's own metadata files, for its client: always, never, or auto (where datastore-local is set)"},
	{"cache", "", "", "folder for what mf unpacks; default: the system's cache folder"},
}

// value is a setting's value and where it came from.
type value struct {
	Text   string `json:"value"`
	Source string `json:"source"`
	// metaflow is set where the value comes from Metaflow's environment or files.
	metaflow bool
}

// secret reports whether a setting's value is not to be shown.
func (s setting) secret() bool { return s.Key == "service-token" }

// config is all settings, resolved for one flow or folder.
type config struct {
	values map[string]value
	// lookup reads the environment, fallback Metaflow's own settings.
	lookup   func(name string) (string, bool)
	fallback map[string]string
	// target holds the settings of targets ("argo.namespace") that are given.
	target map[string]value
	// file is the mf.yaml that was read; empty if there is none.
	file string
}

func (c *config) get(key string) string { return c.values[key].Text }

// env reads a setting by the name of its environment variable: one of mf's own, wherever it was set, or any other from the
// environment or, failing that, from Metaflow's file. Empty is unset.
func (c *config) env(name string) string {
	for _, s := range settings {
		if s.env() == name {
			return c.get(s.Key)
		}
	}
	if text, ok := c.lookup(name); ok {
		return text
	}
	return c.fallback[name]
}

// hidden stands for a secret.
const hidden = "(hidden)"

// shown returns the settings as they may be printed.
func (c *config) shown() map[string]value {
	all := maps.Clone(c.values)
	for _, s := range settings {
		if v := all[s.Key]; s.secret() && v.Text != "" {
			v.Text = hidden
			all[s.Key] = v
		}
	}
	return all
}

// wrong refuses a setting's value, and says where it comes from.
func (c *config) wrong(key, want string) error {
	v := c.values[key]
	return usagef("setting %s must be %s, not %q (from %s)", key, want, v.Text, v.Source)
}

// loadConfig resolves the settings for a flow in dir.
func (a *app) loadConfig(dir string) (*config, error) {
	c := &config{values: map[string]value{}, lookup: a.lookupEnv}
	fromFile, err := c.readFile(dir)
	if err != nil {
		return nil, err
	}
	metaflow, metaflowFile, err := a.metaflowConfig()
	if err != nil {
		return nil, err
	}
	c.fallback = metaflow
	for _, s := range settings {
		v := value{Text: s.Default, Source: "default"}
		if text, ok := metaflow[s.Metaflow]; ok && s.Metaflow != "" {
			v = value{text, metaflowFile, true}
		}
		if text, ok := a.lookupEnv(s.Metaflow); ok && s.Metaflow != "" {
			v = value{text, "environment " + s.Metaflow, true}
		}
		if text, ok := fromFile[s.Key]; ok {
			v = value{text, c.file, false}
		}
		if text, ok := a.lookupEnv(s.env()); ok {
			v = value{text, "environment " + s.env(), false}
		}
		c.values[s.Key] = v
	}
	c.target = a.givenTargetSettings(c, fromFile)
	return c, nil
}

// readFile reads the nearest mf.yaml.
func (c *config) readFile(dir string) (map[string]string, error) {
	path, err := findUp(dir, "mf.yaml")
	if err != nil || path == "" {
		return nil, err
	}
	c.file = path
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	var raw map[string]yaml.Node
	if err := yaml.Unmarshal(data, &raw); err != nil {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if errors.As(err, new(*yaml.TypeError)) {
			text = "it is not a map"
		}
		return nil, usagef("%s: %s; the file holds settings, one \"key: value\" a line", path, text)
	}
	values := map[string]string{}
	for _, key := range sortedKeys(raw) {
		node := raw[key]
		switch {
		case !slices.ContainsFunc(settings, func(s setting) bool { return s.Key == key }) && !isTargetSetting(key):
			return nil, usagef("%s:%d: unknown setting %q; mf config lists the known ones", path, node.Line, key)
		case node.Kind != yaml.ScalarNode:
			return nil, usagef("%s:%d: setting %s takes one value, not a list or a map", path, node.Line, key)
		case node.Tag != "!!null":
			values[key] = node.Value
		}
	}
	return values, nil
}

// metaflowConfig reads ~/.metaflowconfig/config.json, or that of METAFLOW_PROFILE.
func (a *app) metaflowConfig() (map[string]string, string, error) {
	home := a.env("METAFLOW_HOME")
	if home == "" {
		if a.env("HOME") == "" {
			return nil, "", nil
		}
		home = filepath.Join(a.env("HOME"), ".metaflowconfig")
	}
	name := "config.json"
	if profile := a.env("METAFLOW_PROFILE"); profile != "" {
		name = "config_" + profile + ".json"
	}
	path := filepath.Join(home, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading Metaflow's settings: %w", err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, "", usagef("%s: %v", path, err)
	}
	values := map[string]string{}
	for key, v := range raw {
		if v != nil {
			values[key] = fmt.Sprint(v)
		}
	}
	return values, path, nil
}

// findUp returns the path of name in dir or the nearest folder above it; empty if there is none.
func findUp(dir, name string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// home returns the folder that holds runs made here.
func (c *config) home(dir string) (string, error) {
	if h := c.get("home"); h != "" {
		return filepath.Abs(h)
	}
	if sysroot := c.get("datastore-local"); sysroot != "" {
		return filepath.Abs(filepath.Join(sysroot, ".mf"))
	}
	found, err := findUp(dir, ".mf")
	if err != nil || found != "" {
		return found, err
	}
	return filepath.Abs(filepath.Join(dir, ".mf"))
}

// datastoreRoot returns the root of the local datastore, which ends in ".metaflow" so that Metaflow's client finds it
// when METAFLOW_DATASTORE_SYSROOT_LOCAL names its parent.
func (c *config) datastoreRoot(dir string) (string, error) {
	if sysroot := c.get("datastore-local"); sysroot != "" {
		return filepath.Abs(filepath.Join(sysroot, ".metaflow"))
	}
	home, err := c.home(dir)
	return filepath.Join(home, ".metaflow"), err
}

// metaflowFiles reports whether runs are to be recorded in Metaflow's own files as well.
func (c *config) metaflowFiles() (bool, error) {
	switch text := c.get("metaflow-files"); text {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return c.get("datastore-local") != "", nil
	default:
		return false, usagef("setting metaflow-files is %q; it is one of auto, always, never", text)
	}
}

// userName is the name under which runs are recorded.
func (a *app) userName(c *config) string {
	if name := c.get("user"); name != "" {
		return name
	}
	for _, key := range []string{"SUDO_USER", "USERNAME", "USER"} {
		if name := a.env(key); name != "" && name != "root" {
			return name
		}
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

// cacheDir is where mf unpacks its SDK.
func (a *app) cacheDir(c *config) (string, error) {
	if dir := c.get("cache"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := a.env("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "mf"), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		// Not the system's temporary folder, where anybody could leave a Python file for us to run.
		return "", fmt.Errorf("finding a folder for what mf unpacks (MF_CACHE names one): %w", err)
	}
	return filepath.Join(dir, "mf"), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
