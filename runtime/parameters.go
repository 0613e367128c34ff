package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
)

// ParameterError is a value that a parameter does not take. It is the user's mistake.
type ParameterError struct {
	// Parameter is nil where the fault is not one parameter's.
	Parameter *ir.Parameter
	Message   string
}

// Error implements error.
func (e *ParameterError) Error() string {
	if e.Parameter == nil {
		return e.Message
	}
	return fmt.Sprintf("parameter --%s: %s", e.Parameter.Option, e.Message)
}

// CheckParameters converts what can be converted without running user code, so that a wrong value is refused before
// anything else happens. given holds the texts by variable name.
func CheckParameters(flow *ir.Flow, given map[string]string) error {
	for i := range flow.Parameters {
		p := &flow.Parameters[i]
		text, ok := given[p.Name]
		if !utf8.ValidString(text) {
			return &ParameterError{p, "its value is not text in UTF-8; bytes go into a file, or in base64"}
		}
		if !ok {
			if p.Required && p.Default == nil && p.DefaultFunc == "" {
				return &ParameterError{p, fmt.Sprintf("it is required; give it as --%s VALUE", p.Option)}
			}
			continue
		}
		if p.Separator != "" {
			continue
		}
		if _, err := convert(p, text); err != nil {
			return err
		}
	}
	return nil
}

// convert turns the text given for a parameter into plain data; a file parameter's stays the path.
func convert(p *ir.Parameter, text string) (any, error) {
	fail := func(format string, args ...any) (any, error) {
		return nil, &ParameterError{p, fmt.Sprintf(format, args...)}
	}
	switch p.Type {
	case ir.IntType:
		n, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimSpace(text), "_", ""), 10, 64)
		if err != nil {
			return fail("%q is not a whole number", text)
		}
		return n, nil
	case ir.FloatType:
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return fail("%q is not a number", text)
		}
		return f, nil
	case ir.BoolType:
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "true", "t", "1", "yes", "y", "on":
			return true, nil
		case "false", "f", "0", "no", "n", "off":
			return false, nil
		}
		return fail("%q is not true or false", text)
	case ir.JSONType:
		v, err := pickle.FromJSON([]byte(text))
		if err != nil {
			return fail("not valid JSON: %v", err)
		}
		return v, nil
	default:
		return text, nil
	}
}

// MakeParameters makes the artifacts of the _parameters task: parameters, constants and what the format wants beside
// them. given holds the texts by variable name. Nothing is recorded yet but blobs. A *ParameterError is the user's.
func (r *Run) MakeParameters(ctx context.Context, given map[string]string) (map[string]datastore.Artifact, error) {
	var arts map[string]datastore.Artifact
	var err error
	if r.Flow.Source.Language == ir.Python {
		arts, err = r.initPython(ctx, given)
	} else {
		arts, err = r.initPlain(ctx, given)
	}
	if err != nil {
		return nil, err
	}
	own := []ownValue{
		{"name", r.Flow.Name, typeStr},
		{"_foreach_stack", []any{}, typeList},
		{"_task_ok", true, typeBool},
		{"_success", true, typeBool},
		{"_transition", nil, typeNone},
		{"_exception", nil, typeNone},
	}
	own = append(own, ownValue{"_graph_info", plainValue(ir.GraphInfo(r.Flow)), typeDict})
	if err := r.saveAll(ctx, own, arts); err != nil {
		return nil, fmt.Errorf("storing the parameters: %w", err)
	}
	return arts, nil
}

// GraphInfo stores the description of the graph that clients draw from.
func (r *Run) GraphInfo(ctx context.Context) (datastore.Artifact, error) {
	art, err := r.saveValue(ctx, plainValue(ir.GraphInfo(r.Flow)), typeDict)
	if err != nil {
		return art, fmt.Errorf("storing the graph: %w", err)
	}
	return art, nil
}

func (r *Run) initPlain(ctx context.Context, given map[string]string) (map[string]datastore.Artifact, error) {
	arts := map[string]datastore.Artifact{}
	for i := range r.Flow.Parameters {
		p := &r.Flow.Parameters[i]
		value, err := plainParameter(p, given)
		if err != nil {
			return nil, err
		}
		if p.Type == ir.FileType && value != nil {
			_, isGiven := given[p.Name]
			if value, err = r.includedFile(ctx, p, fmt.Sprint(value), isGiven); err != nil {
				return nil, err
			}
		}
		if arts[p.Name], err = r.saveValue(ctx, value, pickle.TypeName(value)); err != nil {
			return nil, fmt.Errorf("storing parameter %s: %w", p.Name, err)
		}
	}
	return arts, nil
}

// includedFile stores the file and returns what stands for it.
func (r *Run) includedFile(ctx context.Context, p *ir.Parameter, path string, given bool) (any, error) {
	descriptor, err := r.Store.SaveInclude(ctx, r.Flow.Name, r.resolve(path, given), !p.Binary, p.Encoding)
	if err != nil {
		return nil, &ParameterError{p, err.Error()}
	}
	return pickle.IncludedFile{Descriptor: descriptor}, nil
}

// resolve makes a path that the user gave absolute: on the command line it starts from where the user is, which is also
// where this program runs.
func (r *Run) resolve(path string, given bool) string {
	if filepath.IsAbs(path) || given {
		return path
	}
	return filepath.Join(r.Dir, path)
}

func plainParameter(p *ir.Parameter, given map[string]string) (any, error) {
	text, ok := given[p.Name]
	if !ok {
		if p.Default == nil {
			return nil, nil
		}
		value, err := pickle.FromJSON(p.Default)
		if text, isText := value.(string); isText && p.Separator != "" && text != "" {
			return split(text, p.Separator), nil
		}
		return value, err
	}
	if p.Separator != "" {
		return split(text, p.Separator), nil
	}
	return convert(p, text)
}

func split(text, separator string) []any {
	parts := []any{}
	for part := range strings.SplitSeq(text, separator) {
		parts = append(parts, part)
	}
	return parts
}

type initJob struct {
	Op         string            `json:"op"`
	Flow       string            `json:"flow"`
	Username   string            `json:"username"`
	Namespace  string            `json:"namespace"`
	Tags       []string          `json:"tags"`
	Parameters map[string]string `json:"parameters"`
	Env        map[string]string `json:"env"`
	TempDir    string            `json:"tempdir"`
	InlineMax  int               `json:"inline_max"`
	// PrintFailure is false: the failure is in the error.
	PrintFailure bool `json:"print_failure"`
}

// initPython has the Python process convert the parameters, since types, parsers and defaults may be user code.
func (r *Run) initPython(ctx context.Context, given map[string]string) (map[string]datastore.Artifact, error) {
	arts := map[string]datastore.Artifact{}
	a := &attempt{run: r, produced: arts, logs: map[datastore.Stream]*logWriter{}}
	for _, stream := range []datastore.Stream{datastore.Stdout, datastore.Stderr} {
		// Full from the start: what user code prints here belongs to no task's log.
		a.logs[stream] = &logWriter{run: r, stream: stream, ctx: ctx, full: true}
	}
	pipes, stdout, stderr, err := a.openPipes()
	if err != nil {
		return nil, err
	}
	defer pipes.drain()
	p, err := r.launch(ctx, stdout, stderr)
	if err != nil {
		return nil, err
	}
	defer p.Conn.Close()
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	if given == nil {
		given = map[string]string{}
	}
	job := initJob{Op: "init", Flow: r.Flow.Name, Username: r.User, Namespace: r.Namespace,
		Tags: append([]string{}, r.Tags...), Parameters: given, Env: r.TaskEnv, TempDir: r.TempDir, InlineMax: inlineMax}
	s := newSession(r, p, a.put, nil)
	var end *ending
	if err := p.Conn.Send(job, nil); err == nil {
		if end, err = s.serve(ctx); err != nil {
			p.Kill()
			p.Wait()
			return nil, err
		}
	}
	exit := p.Wait()
	if end == nil && ctx.Err() != nil {
		return nil, &StartError{Message: "the task was told to stop while the parameters were being made", Err: ctx.Err()}
	}
	if end == nil {
		return nil, fmt.Errorf("the Python process that makes the parameters %s", exit)
	}
	if !end.OK {
		return nil, r.parameterFailure(end)
	}
	return arts, nil
}

func (r *Run) parameterFailure(end *ending) error {
	e := &ParameterError{Parameter: r.Flow.Parameter(end.Parameter)}
	exc := end.Exception
	if exc == nil {
		return e
	}
	e.Message = exc.Message
	if e.Parameter != nil {
		e.Message = strings.TrimPrefix(e.Message, fmt.Sprintf("parameter '%s': ", e.Parameter.Option))
	}
	if !strings.HasPrefix(exc.Type, "metaflow.") {
		// Not a refusal but a fault in the user's own code: a type, a parser.
		e.Message = strings.TrimSpace(shortType(exc.Type)+": "+exc.Message) + "\n" + strings.TrimRight(exc.Traceback, "\n")
	}
	return e
}

// GivenFromEnv reads what an engine or a caller passed by environment: EnvParameterPrefix + name, text for string and
// file parameters, JSON text for others, in any of the forms of ir.EncodeParameter. Empty text for a parameter that
// EnvOptionalParameters lists means not given. blob reads a raw blob of the flow; nil where there is no datastore to read from.
func GivenFromEnv(flow *ir.Flow, environ []string, blob func(digest string) ([]byte, error)) (map[string]string, error) {
	if blob == nil {
		blob = func(string) ([]byte, error) { return nil, errors.New("there is no datastore here to read it from") }
	}
	given := map[string]string{}
	optional := map[string]bool{}
	for _, kv := range environ {
		if names, ok := strings.CutPrefix(kv, ir.EnvOptionalParameters+"="); ok {
			for name := range strings.SplitSeq(names, ",") {
				optional[name] = true
			}
		}
	}
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		name, ok := strings.CutPrefix(key, ir.EnvParameterPrefix)
		if !ok {
			continue
		}
		p := flow.Parameter(name)
		if p == nil || value == "" && optional[name] {
			continue
		}
		value, err := ir.DecodeParameter(value, blob)
		if err != nil {
			return nil, &ParameterError{p, fmt.Sprintf("%s cannot be read: %v", key, err)}
		}
		if p.Type != ir.StringType && p.Type != ir.FileType && p.Type != ir.JSONType {
			var v any
			if err := json.Unmarshal([]byte(value), &v); err != nil {
				return nil, &ParameterError{p, fmt.Sprintf("%s is not JSON: %v", key, err)}
			}
			if v == nil {
				continue
			}
			value = strings.Trim(value, `"`)
		}
		given[name] = value
	}
	return given, nil
}

// ParameterBlobs reads the values of parameters that were kept in the datastore.
func ParameterBlobs(ctx context.Context, store *datastore.Store, flow string) func(digest string) ([]byte, error) {
	return func(digest string) ([]byte, error) {
		body, err := store.Open(ctx, flow, digest)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		data, err := io.ReadAll(io.LimitReader(body, ir.MaxParameter+1))
		if err == nil && len(data) > ir.MaxParameter {
			err = ir.ErrParameterTooLarge
		}
		return data, err
	}
}
