package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/notify"
)

// The environment that this program reads beside what ir and stores name.
const (
	// envCode is the folder that holds the flow's code and, in .mf_meta, its IR.
	envCode = "MF_CODE"
	// envPython is the interpreter of Python steps.
	envPython = "MF_PYTHON"
	// envCache is where the Python SDK is unpacked.
	envCache = "MF_CACHE"
	// envPatience is how long outages are waited out, envGrace how long a step may take to end when it is told to.
	envPatience, envGrace = "MF_PATIENCE", "MF_GRACE"
	// envMaxLogSize bounds what is kept of a log.
	envMaxLogSize = "MF_MAX_LOG_SIZE"
	// envTaskDir is set by this program itself for the commands of a command step.
	envTaskDir = "MF_TASK_DIR"
)

// variable describes one of the variables that this program reads. docs/mf-task.md has a row for each.
type variable struct {
	Name    string
	Default string // in words; empty for none
}

// variables lists all that is read, by what reads it.
func variables() []variable {
	return []variable{
		{ir.EnvDatastore, ""},
		{ir.EnvPackage, ""},
		{envCode, "the working directory"},
		{ir.EnvServiceURL, ""},
		{stores.EnvServiceToken, ""},
		{stores.EnvServiceKey, ""},
		{stores.EnvServiceHeaders, ""},
		{stores.EnvServiceCA, ""},
		{ir.EnvParameterPrefix + "NAME", ""},
		{ir.EnvOptionalParameters, ""},
		{ir.EnvOutputs, ""},
		{ir.EnvOutputsFile, ""},
		{ir.EnvSplitList, ""},
		{ir.EnvUser, defaultUser},
		{ir.EnvTags, ""},
		{ir.EnvBranch, ""},
		{ir.EnvProductionToken, ""},
		{ir.EnvRuntime, "dev"},
		{ir.EnvOriginRun, ""},
		{ir.EnvAddress, ""},
		{ir.EnvEventsURL, ""},
		{ir.EnvEventsToken, ""},
		{envEventsAuth, ""},
		{ir.EnvEventPayloadPrefix + "NAME", ""},
		{ir.EnvNotifyOn, ""},
		{ir.EnvNotifySlack, ""},
		{ir.EnvNotifyPagerDuty, ""},
		{envPagerDutyURL, notify.DefaultPagerDutyURL},
		{ir.EnvNotifyWebhook, ""},
		{ir.EnvRunURL, ""},
		{ir.EnvFailures, ""},
		{ir.EnvMarkLines, ""},
		{ir.EnvPackWorkers, "the number of CPUs that the container may use"},
		{ir.EnvGangTimeout, defaultGangTimeout.String()},
		{envPython, defaultPython},
		{envCache, "a temporary folder"},
		{envPatience, "10m"},
		{envGrace, defaultGrace.String()},
		{envMaxLogSize, strconv.Itoa(defaultMaxLog)},
		{envTaskDir, ""},
		{stores.EnvS3Endpoint, ""},
		{stores.EnvGSEndpoint, ""},
		{stores.EnvAzureEndpoint, ""},
		{stores.EnvAzureAccount, ""},
		{stores.EnvAzureKey, ""},
		{stores.EnvAzureSAS, ""},
	}
}

// The defaults.
const (
	defaultUser   = "unknown"
	defaultPython = "python3"
	defaultMaxLog = 10 // MiB
	// defaultGrace is less than the 30 s after which Kubernetes ends a container the hard way.
	defaultGrace = 20 * time.Second
	// defaultGangTimeout is as long as Metaflow's.
	defaultGangTimeout = 10 * time.Minute
)

// settings is what the environment says, checked.
type settings struct {
	datastore, service string
	packaged           string // digest of the code package; empty if there is none
	code               string
	user               string
	tags               []string
	branch             string
	token              string
	runtime, origin    string
	python, cache      string
	patience           time.Duration // 0 for the default, below zero for none
	grace              time.Duration
	maxLog             int64
	address            string
	gangTimeout        time.Duration
	workers            int // how many tasks of a pack run at a time; 0 for the default
}

func (p *program) settings() (s settings, err error) {
	s = settings{
		datastore: p.env(ir.EnvDatastore), service: p.env(ir.EnvServiceURL), code: p.env(envCode),
		user: cmp.Or(p.env(ir.EnvUser), defaultUser), branch: p.env(ir.EnvBranch), token: p.env(ir.EnvProductionToken),
		runtime: p.env(ir.EnvRuntime), origin: p.env(ir.EnvOriginRun), python: cmp.Or(p.env(envPython), defaultPython),
		cache: p.env(envCache), grace: defaultGrace, maxLog: defaultMaxLog << 20,
		address: p.env(ir.EnvAddress), gangTimeout: defaultGangTimeout,
	}
	if s.datastore == "" {
		return s, fmt.Errorf("%s is not set: it is the root of the datastore, %s", ir.EnvDatastore, stores.Schemes)
	}
	if s.packaged, err = packageDigest(p.env(ir.EnvPackage)); err != nil {
		return s, err
	}
	if s.tags, err = parseTags(p.env(ir.EnvTags)); err != nil {
		return s, err
	}
	if text := p.env(envPatience); text != "" {
		if s.patience, err = parseTime(envPatience, text); err != nil {
			return s, err
		}
		if s.patience == 0 {
			s.patience = -1
		}
	}
	if text := p.env(envGrace); text != "" {
		if s.grace, err = parseTime(envGrace, text); err != nil {
			return s, err
		}
	}
	if text := p.env(ir.EnvGangTimeout); text != "" {
		if s.gangTimeout, err = parseTime(ir.EnvGangTimeout, text); err != nil {
			return s, err
		}
	}
	if text := p.env(ir.EnvPackWorkers); text != "" {
		if s.workers, err = strconv.Atoi(text); err != nil || s.workers < 1 {
			return s, fmt.Errorf("%s=%q is not a number of tasks (1, 2, 3 …)", ir.EnvPackWorkers, text)
		}
	}
	if text := p.env(envMaxLogSize); text != "" {
		mib, err := strconv.ParseUint(text, 10, 20)
		if err != nil {
			return s, fmt.Errorf("%s=%q is not a number of MiB", envMaxLogSize, text)
		}
		s.maxLog = int64(mib) << 20
	}
	return s, nil
}

// parseTime reads a time with a unit, or a number of seconds.
func parseTime(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s=%q is not a time such as 90s or 10m", name, text)
	}
	return d, nil
}

func parseTags(text string) ([]string, error) {
	if strings.HasPrefix(text, "[") {
		var tags []string
		if err := json.Unmarshal([]byte(text), &tags); err != nil {
			return nil, fmt.Errorf(`%s=%q is not a JSON array of texts, such as ["a", "b"]`, ir.EnvTags, text)
		}
		return tags, nil
	}
	var tags []string
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// packageDigest returns the digest of the code package, which may be named by its whole URL.
func packageDigest(text string) (string, error) {
	digest := text[strings.LastIndexByte(text, '/')+1:]
	if text != "" && (len(digest) != 40 || strings.Trim(digest, "0123456789abcdef") != "") {
		return "", fmt.Errorf("%s=%q is not the digest of a code package: 40 hex digits, or a URL that ends in them", ir.EnvPackage, text)
	}
	return digest, nil
}

// project says which deployment of a @project this is; nil for a flow without one.
func (s *settings) project(flow *ir.Flow) (*runtime.Project, error) {
	said, ok := flow.Project()
	if !ok {
		return nil, nil
	}
	p := &runtime.Project{Name: said.Name, Branch: cmp.Or(s.branch, "user."+s.user)}
	kind, rest, named := strings.Cut(p.Branch, ".")
	switch {
	case kind == "prod" && (!named || rest != ""):
		p.IsProduction = true
	case kind == "user" && rest != "":
		p.IsUserBranch = true
	case kind == "test" && rest != "":
	default:
		return nil, fmt.Errorf("%s=%q is not a branch: prod, prod.NAME, test.NAME or user.NAME", ir.EnvBranch, s.branch)
	}
	p.FlowName = p.Name + "." + p.Branch + "." + flow.Name
	return p, nil
}

// namespace is the value of current.namespace.
func (s *settings) namespace() string {
	if s.token != "" {
		return "production:" + s.token
	}
	return "user:" + s.user
}
