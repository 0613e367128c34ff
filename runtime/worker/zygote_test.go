//go:build unix

package worker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mf-run/mf/runtime/worker"
	"github.com/mf-run/mf/sdk"
)

// TestGiveUpLoading: nobody waits for a flow to be loaded who no longer wants it.
func TestGiveUpLoading(t *testing.T) {
	dir := t.TempDir()
	sdkDir, err := sdk.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	loading := filepath.Join(dir, "loading")
	flow := filepath.Join(dir, "flow.py")
	source := "import time\nopen('" + loading + "', 'w').close()\ntime.sleep(90)\n"
	if err := os.WriteFile(flow, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	opt := worker.Options{Interpreter: "python3", SDKDir: sdkDir, FlowFile: flow, Dir: dir, Env: os.Environ()}
	for name, wait := range map[string]func(context.Context, *worker.Zygote) error{
		"describe": func(ctx context.Context, z *worker.Zygote) error {
			_, err := z.Describe(ctx, worker.DescribeRequest{})
			return err
		},
		"fork": func(ctx context.Context, z *worker.Zygote) error {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = z.Fork(ctx, null, null)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(loading)
			z, err := worker.StartZygote(opt, os.Stdout, os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for ctx.Err() == nil {
					if _, err := os.Stat(loading); err == nil {
						cancel()
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			if err := wait(ctx, z); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
			begin := time.Now()
			z.Close()
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %s to end", took)
			}
		})
	}
}
