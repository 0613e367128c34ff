package worker

import "encoding/json"

// DescribeRequest asks the Python process to load the flow and describe it.
type DescribeRequest struct {
	// Op is set by the sender.
	Op string `json:"op"`
	// With lists decorators to attach to every step, as on the command line: "retry:times=3".
	With []string `json:"with"`
	// Configs are the config files, ConfigValues the config values, by config name.
	Configs      map[string]string `json:"configs"`
	ConfigValues map[string]string `json:"config_values"`
	// Stubs lets missing third-party modules be replaced while compiling.
	Stubs bool `json:"stubs"`
	// Evaluate calls the functions that compute parameter defaults.
	Evaluate bool `json:"evaluate"`
}

// LoadRequest asks the Python process to load the flow ahead of its first task.
type LoadRequest struct {
	// Op is set by the sender.
	Op string `json:"op"`
	// ConfigData are values of configs as they were read before, by config name.
	ConfigData map[string]json.RawMessage `json:"config_data"`
}
