package yaml

import (
	yamlv3 "gopkg.in/yaml.v3"
)

// The structs below are the language: a field's yaml tag is its key in the file, its validate tag its rules. The
// published schema (schema.json) has the same properties; a test holds the two together.

// document is a whole file.
type document struct {
	Flow        name               `yaml:"flow" validate:"required,pyname"`
	Description string             `yaml:"description"`
	Project     *project           `yaml:"project"`
	Schedule    *schedule          `yaml:"schedule"`
	Parameters  ordered[parameter] `yaml:"parameters" validate:"dive"`
	Image       name               `yaml:"image" validate:"omitempty,word"`
	Env         ordered[envValue]  `yaml:"env"`
	Decorators  ordered[settings]  `yaml:"decorators"`
	Defaults    *defaults          `yaml:"defaults"`
	Steps       ordered[step]      `yaml:"steps" validate:"required,min=1,dive"`
}

// defaults holds the settings that a step can have and that every step takes over unless it says otherwise.
type defaults struct {
	Resources  *resources        `yaml:"resources"`
	Retry      *toggle[retry]    `yaml:"retry"`
	Timeout    *toggle[timeout]  `yaml:"timeout"`
	Catch      *toggle[catch]    `yaml:"catch"`
	Secrets    *toggle[secrets]  `yaml:"secrets"`
	Decorators ordered[settings] `yaml:"decorators"`
}

// step is one step.
type step struct {
	Description string            `yaml:"description"`
	Start       bool              `yaml:"start"`
	End         bool              `yaml:"end"`
	Join        bool              `yaml:"join"`
	Run         *command          `yaml:"run" validate:"required_with=Inputs Outputs"`
	Inputs      []name            `yaml:"inputs" validate:"dive,artifact"`
	Outputs     []name            `yaml:"outputs" validate:"dive,artifact"`
	Next        *next             `yaml:"next"`
	Image       name              `yaml:"image" validate:"omitempty,word"`
	Env         ordered[envValue] `yaml:"env"`
	Resources   *resources        `yaml:"resources"`
	Retry       *toggle[retry]    `yaml:"retry"`
	Timeout     *toggle[timeout]  `yaml:"timeout"`
	Catch       *toggle[catch]    `yaml:"catch"`
	Secrets     *toggle[secrets]  `yaml:"secrets"`
	Decorators  ordered[settings] `yaml:"decorators"`
}

// parameter is an input of the flow.
type parameter struct {
	Type      string `yaml:"type" validate:"omitempty,oneof=string int float bool json file"`
	Default   *data  `yaml:"default"`
	Required  bool   `yaml:"required"`
	Help      string `yaml:"help"`
	Option    name   `yaml:"option" validate:"omitempty,option"`
	Separator string `yaml:"separator" validate:"only_for=string"`
	Binary    bool   `yaml:"binary" validate:"only_for=file,excluded_with=Encoding"`
	Encoding  string `yaml:"encoding" validate:"only_for=file"`
}

// resources is what a step needs of a machine. Sizes are MiB.
type resources struct {
	CPU          *float64 `yaml:"cpu" validate:"omitempty,gt=0"`
	Memory       *size    `yaml:"memory" validate:"omitempty,gt=0"`
	Disk         *size    `yaml:"disk" validate:"omitempty,gt=0"`
	GPU          *int64   `yaml:"gpu" validate:"omitempty,gte=0"`
	SharedMemory *size    `yaml:"shared_memory" validate:"omitempty,gt=0"`
}

// retry says how often a failed task is tried again, and how long to wait in between.
type retry struct {
	Times          *int64   `yaml:"times" validate:"omitempty,gte=0"`
	MinutesBetween *float64 `yaml:"minutes_between" validate:"omitempty,gte=0"`
}

// catch lets the flow go on after a step that has failed for good.
type catch struct {
	Var name `yaml:"var" validate:"required,artifact"`
}

// secrets are put into a step's environment from a secret store.
type secrets struct {
	Sources       []data `yaml:"sources" validate:"required,min=1"`
	Role          string `yaml:"role"`
	AllowOverride bool   `yaml:"allow_override"`
}

// schedule says when a deployed flow is run: a word or a map.
type schedule struct {
	Every    string `yaml:"every" validate:"required_without=Cron,excluded_with=Cron,omitempty,oneof=hourly daily weekly"`
	Cron     string `yaml:"cron" validate:"omitempty,cron_fields"`
	Timezone string `yaml:"timezone" validate:"omitempty,zone"`
}

// project groups deployments: a name or a map.
type project struct {
	Name       name `yaml:"name" validate:"required,project"`
	Branch     name `yaml:"branch" validate:"omitempty,word"`
	Production bool `yaml:"production"`
}

// next is a transition: the name of a step, a list of them, or one of the maps.
type next struct {
	node  *yamlv3.Node
	split bool        // the list form
	steps []name      // the name, or the list
	Map   *transition `yaml:"map" validate:"omitempty"`
}

// transition is the map form of next.
type transition struct {
	Foreach  name        `yaml:"foreach" validate:"required_without_all=Switch Parallel,excluded_with=Switch Parallel,omitempty,artifact"`
	Switch   name        `yaml:"switch" validate:"excluded_with=Parallel,omitempty,artifact"`
	Parallel *int64      `yaml:"parallel" validate:"omitempty,gte=1,lte=10000"`
	Step     name        `yaml:"step" validate:"required_with=Foreach Parallel,excluded_with=Switch"`
	Cases    switchCases `yaml:"cases" validate:"required_with=Switch,excluded_without=Switch"`
}

// command is what a step runs: a shell line, or a list for the exec form.
type command struct {
	node  *yamlv3.Node
	shell string
	args  []name
}
