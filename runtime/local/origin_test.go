package local_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// meeting is a backend on which a write for one of two tasks waits for the first one for the other.
type meeting struct {
	datastore.Backend
	tasks [2]string
	here  [2]chan struct{}
	once  [2]sync.Once
}

func (m *meeting) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	for i, task := range m.tasks {
		if !strings.Contains(key, task) {
			continue
		}
		m.once[i].Do(func() { close(m.here[i]) })
		select {
		case <-m.here[1-i]:
		case <-time.After(20 * time.Second):
			return fmt.Errorf("%s is written alone", key)
		}
	}
	return m.Backend.Put(ctx, key, body, opt)
}

// TestTakeOver: tasks are taken over several at a time, and accounted for in their order.
func TestTakeOver(t *testing.T) {
	b := newBed(t)
	flow := b.flow(fan)
	r := b.run(t.Context(), flow, local.Options{MaxWorkers: 1}, "FAIL=2")
	store := datastore.New(&meeting{
		Backend: b.store.Backend(), tasks: [2]string{"/again/work/t-0/", "/again/work/t-1/"},
		here: [2]chan struct{}{make(chan struct{}), make(chan struct{})},
	})
	origin, err := local.LoadOrigin(t.Context(), store, "Fan", r.id)
	if err != nil {
		t.Fatal(err)
	}
	run := &runtime.Run{
		Flow: flow, Graph: ir.NewGraph(flow), Store: store, User: "tester", TempDir: t.TempDir(), Dir: b.dir, Now: time.Now,
		ID: "again", Rows: metadata.Env{User: "tester", DsType: "local", DsRoot: b.store.Backend().Root(), OriginRun: r.id},
	}
	s := &local.Session{Run: run, Recorder: b.meta, Options: local.Options{Origin: origin, NamedTasks: true}}
	report, err := s.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var taken []string
	for _, res := range report.Taken {
		taken = append(taken, res.Ref.Step+"/"+res.Ref.Task)
	}
	if got := strings.Join(taken, " "); got != "start/t work/t-0 work/t-1" {
		t.Errorf("taken over: %s", got)
	}
}
