package runtime

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mf-run/mf/ir"
)

// What a system takes when it starts a program.
const (
	// maxVariable is the most that Linux takes for one NAME=value, in bytes: 32 pages of 4 KiB, with the NUL at the end.
	maxVariable = 128<<10 - 1
	// maxExec is kept to for the arguments and all variables. macOS takes 1 MiB, Linux a quarter of the stack's limit (of 8 MiB
	// as a rule), each with something of its own.
	maxExec = 1<<20 - 64<<10
	// smallVariable is what leaving out does not help.
	smallVariable = 4 << 10
)

// environment is that of the command, where vars are its placeholders. Of these it leaves out what a system does not take; a
// line in the log says so, and in which file the value is.
func (c *command) environment(ctx context.Context, args []string, vars map[string]string) ([]string, error) {
	given, added := map[string]string{}, c.stepEnv()
	for name, value := range vars {
		given[variable(name)] = value
	}
	added["MF_INPUTS"], added["MF_OUTPUTS"], added["MF_TASK_DIR"] = c.inputs(), c.outputs(), c.dir
	env := slices.DeleteFunc(slices.Clone(c.run.Environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, ours := given[name] // in an engine's own form, it may be
		return ours
	})
	for _, name := range slices.Sorted(maps.Keys(added)) {
		env = append(env, name+"="+added[name])
	}
	left := tooLarge(given, size(env)+size(args))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(left, name) {
			env = append(env, name+"="+given[name])
		}
	}
	return env, c.leftOut(ctx, left)
}

// variable is the name of a placeholder's variable.
func variable(placeholder string) string {
	switch placeholder {
	case "item":
		return "MF_ITEM"
	case "index":
		return "MF_INDEX"
	}
	return ir.EnvParameterPrefix + placeholder
}

// size is what texts take of maxExec.
func size(texts []string) (n int) {
	for _, text := range texts {
		n += len(text) + 1 + 8 // the NUL, and a pointer
	}
	return n
}

// tooLarge chooses variables to leave out, beside taken bytes: what does not fit by itself, and then the largest.
func tooLarge(vars map[string]string, taken int) (left []string) {
	for name, value := range vars {
		taken += size([]string{name + "=" + value})
	}
	bySize := slices.SortedFunc(maps.Keys(vars), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(vars[b]), len(vars[a])), cmp.Compare(a, b))
	})
	for _, name := range bySize {
		kv := name + "=" + vars[name]
		alone := len(kv) > maxVariable || strings.ContainsRune(vars[name], 0)
		if alone || taken > maxExec && len(kv) > smallVariable {
			left = append(left, name)
			taken -= size([]string{kv})
		}
	}
	slices.Sort(left)
	return left
}

// leftOut makes sure that the values of variables that were left out can be read, and says where.
func (c *command) leftOut(ctx context.Context, variables []string) error {
	if len(variables) == 0 {
		return nil
	}
	where := make([]string, len(variables))
	for i, name := range variables {
		file := "item.json"
		if _, isBytes := c.item.([]byte); isBytes {
			file = "item"
		}
		if p, ok := strings.CutPrefix(name, ir.EnvParameterPrefix); ok {
			file = p + ".json"
			if err := c.writeInput(ctx, c.inputs(), p, c.run.Parameters.Artifacts[p]); err != nil {
				return err
			}
		}
		where[i] = fmt.Sprintf("%s, which is in $MF_INPUTS/%s", name, file)
	}
	c.note("the environment has no place for all values (of at most 128 KiB each, without NUL); left out: %s", strings.Join(where, "; "))
	return nil
}
