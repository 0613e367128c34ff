package stepfunctions

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// jobs collects the Batch job definitions: one for each image, as the image is all that a submitted job cannot override.
type jobs struct {
	list []jobDefinition
	// byContent finds the name of a definition by its JSON.
	byContent map[string]string
	// environment is what every container is told.
	environment []backends.EnvVar
	// base is the definition of a step that asks for nothing.
	base jobDefinition
}

// jobDefinition is Batch's RegisterJobDefinition request.
type jobDefinition struct {
	Name                string              `json:"jobDefinitionName"`
	Type                string              `json:"type"`
	ContainerProperties containerProperties `json:"containerProperties"`
	RetryStrategy       struct {
		Attempts int `json:"attempts"`
	} `json:"retryStrategy"`
	Timeout struct {
		AttemptDurationSeconds int64 `json:"attemptDurationSeconds"`
	} `json:"timeout"`
}

type containerProperties struct {
	Image                string           `json:"image"`
	Command              []string         `json:"command"`
	JobRoleArn           string           `json:"jobRoleArn,omitempty"`
	ExecutionRoleArn     string           `json:"executionRoleArn,omitempty"`
	Environment          []jobVariable    `json:"environment"`
	ResourceRequirements []jobRequirement `json:"resourceRequirements"`
	LinuxParameters      *linuxParameters `json:"linuxParameters,omitempty"`
}

type jobVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type jobRequirement struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type linuxParameters struct {
	SharedMemorySize int64 `json:"sharedMemorySize"`
}

func (e *emitter) newJobs() jobs {
	j := jobs{
		byContent:   map[string]string{},
		environment: backends.TaskEnvironment(e.opt, e.project, "step-functions", nil),
	}
	j.base.Type = "container"
	j.base.RetryStrategy.Attempts = 1
	j.base.Timeout.AttemptDurationSeconds = backends.DefaultTimeoutSeconds
	c := &j.base.ContainerProperties
	// What runs if somebody submits the definition by hand.
	c.Command = []string{taskProgram, "--help"}
	c.JobRoleArn = e.setting(setJobRole)
	c.ExecutionRoleArn = e.setting(setExecutionRole)
	for _, v := range j.environment {
		e.checkVariable(diag.Span{}, v.Name)
		c.Environment = append(c.Environment, jobVariable(v))
	}
	c.ResourceRequirements = []jobRequirement{
		{"VCPU", strconv.FormatInt(max(e.intSetting(setCPU), 1), 10)},
		{"MEMORY", strconv.FormatInt(max(e.intSetting(setMemory), leastMemory), 10)},
	}
	return j
}

// jobDefinition returns the name of the step's job definition. The name holds a digest of the content, so that a definition
// is never changed under an execution that is running.
func (e *emitter) jobDefinition(s *ir.Step) string {
	j := &e.jobs
	d := j.base
	c := &d.ContainerProperties
	c.Image = backends.ImageOf(s, e.opt)
	if size := s.Resources().SharedMemoryMB; size > 0 {
		c.LinuxParameters = &linuxParameters{size}
	}
	if batch := s.Decorator("batch"); batch != nil {
		c.JobRoleArn = batch.Attributes.String("iam_role", c.JobRoleArn)
		c.ExecutionRoleArn = batch.Attributes.String("execution_role", c.ExecutionRoleArn)
	}
	var content bytes.Buffer
	if err := writeJSON(&content, d); err != nil {
		e.errorf(s.Span, "bug-in-mf", "a job definition has no JSON form, a bug in mf: %v", err)
		return ""
	}
	if name, known := j.byContent[content.String()]; known {
		return name
	}
	sum := sha256.Sum256(content.Bytes())
	const digits = 12
	d.Name = jobName(e.name)
	d.Name = d.Name[:min(len(d.Name), longestName-1-digits)] + "-" + hex.EncodeToString(sum[:])[:digits]
	j.byContent[content.String()] = d.Name
	j.list = append(j.list, d)
	e.checkJobDefinition(s, content.Len()+len(d.Name))
	return d.Name
}

// checkVariable: Batch keeps a prefix for itself.
func (e *emitter) checkVariable(span diag.Span, name string) {
	if strings.HasPrefix(name, "AWS_BATCH") {
		e.errorf(span, "bad-environment", "the environment variable %s starts with AWS_BATCH, which Batch keeps for itself", name)
	}
}
