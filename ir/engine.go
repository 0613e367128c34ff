package ir

import "errors"

// More of what backends put into a container's environment and mf-task reads.
const (
	// EnvOptionalParameters lists, separated by commas, the variable names of the parameters for which an empty
	// EnvParameterPrefix variable means "not given": an engine's own parameter always holds some text, even where the
	// user gave none and the flow's default is null, a function's result or a file.
	EnvOptionalParameters = "MF_OPTIONAL_PARAMS"
	// EnvBranch is the branch of a @project deployment: "prod", "prod.<branch>", "test.<branch>" or "user.<user>". Unset
	// means that the flow has no @project.
	EnvBranch = "MF_BRANCH"
	// EnvSplitList is a key below the root of the datastore. A task that splits leaves the indices of its splits there, as a
	// JSON array [0,1,2]: for engines that read a fan-out from a store and not from the task. It is written anew by each
	// invocation that ends well, one that finds its task done before included. Unset means nowhere.
	EnvSplitList = "MF_SPLIT_LIST"
	// EnvOutputsFile is the path of a file that receives all small outputs as one JSON object, such as {"splits": 3}: for
	// engines that read JSON. Numbers are numbers. Unset means nowhere; it may be set beside EnvOutputs.
	EnvOutputsFile = "MF_ENGINE_OUTPUTS_FILE"
	// EnvUser is the name under which runs are recorded.
	EnvUser = "MF_USER"
	// EnvTags are the user's tags of the run: a JSON array of texts, or texts separated by commas.
	EnvTags = "MF_TAGS"
	// EnvRuntime is Metaflow's name of the engine: "argo-workflows", "step-functions" or "airflow".
	EnvRuntime = "MF_RUNTIME"
	// EnvProductionToken is Metaflow's token of a deployed flow. It takes the user's place in the namespace and the system
	// tags of its runs.
	EnvProductionToken = "METAFLOW_PRODUCTION_TOKEN"
	// EnvOriginRun is the id of the run that this one resumes; unset for a fresh run.
	EnvOriginRun = "MF_ORIGIN_RUN"
	// EnvAddress is the IP address or host name under which the other containers of the run reach this one. The tasks of a
	// gang find each other by it.
	EnvAddress = "MF_ADDRESS"
	// EnvGangTimeout is how long a task of a gang waits for the others to come: a time with a unit, or seconds.
	EnvGangTimeout = "MF_GANG_TIMEOUT"
	// EnvPackWorkers is how many tasks of a pack run at a time, 1 or more. Unset means as many as the container has CPUs: its
	// limit where it has one, else those of the machine, which may be more than it has asked for.
	EnvPackWorkers = "MF_PACK_WORKERS"
)

// What a value of an EnvParameterPrefix variable may be instead of itself, for engines that cannot carry every text (a
// template language of their own, a size): the text's bytes in base64 after the one prefix, or the digest (hex SHA-1) of a
// raw blob of the flow in the datastore that holds them after the other. A text that itself begins with "mf-" + a word +
// ":" is always written in one of these forms.
const (
	ParameterBase64 = "mf-base64:"
	ParameterBlob   = "mf-blob:"
)

// InstallArgs is the command line, after the program's name, with which mf-task copies itself to a path: how an init
// container brings it into the user's image. It makes the folders above the path and sets the mode 0755.
func InstallArgs(path string) []string { return []string{"install", path} }

// ExitInvocation runs what is to be done when a run has ended: exit hooks and notifications. Backends emit it with Args,
// mf-task reads it with ParseExitInvocation.
type ExitInvocation struct {
	Flow string
	Run  string
	// Status is the engine's word for how the run ended, as text because engines fill it in. "Succeeded" is success,
	// whatever the case; anything else is failure.
	Status string
}

// Args returns the command line after the program's name.
func (e ExitInvocation) Args() []string {
	return []string{"exit", "--flow", e.Flow, "--run", e.Run, "--status", e.Status}
}

// ParseExitInvocation reads what Args wrote.
func ParseExitInvocation(args []string) (e ExitInvocation, err error) {
	if len(args) == 0 || args[0] != "exit" {
		return e, errors.New("an exit invocation starts with \"exit\"")
	}
	return e, parseOptions("exit", args[1:], map[string]*string{"--flow": &e.Flow, "--run": &e.Run, "--status": &e.Status},
		"--flow", "--run", "--status")
}

// EnvMarkLines, if it is not empty, has mf-task say of each line that a step prints which stream it is of
// (runtime.AppendLine): for a scheduler that reads the container's log, in which both are one.
const EnvMarkLines = "MF_MARK_LINES"
