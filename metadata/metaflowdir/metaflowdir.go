// Package metaflowdir writes metadata as Metaflow's local provider lays it out below a datastore's root, so that the
// real Metaflow client reads the runs of mf with nothing but METAFLOW_DATASTORE_SYSROOT_LOCAL set.
//
//	<Flow>/_meta/_self.json                                 the flow
//	<Flow>/<run>/_meta/_self.json                           a run, with its tags
//	<Flow>/<run>/<step>/_meta/_self.json                    a step
//	<Flow>/<run>/<step>/<task>/_meta/_self.json             a task
//	…/<task>/_meta/sysmeta_<field>_<ms>.json                a metadatum
//	…/<task>/_meta/<attempt>_artifact_<name>.json           an artifact
//	<Flow>/latest_run                                       the id of the last fresh run
//
// Keys, their order and the escaping of texts are those of Metaflow. What differs: no metadatum is lost when two of a
// field fall into one millisecond (the later file's name counts on), and a change of tags keeps the run's time and
// user. The client learns how a run stands from its end task; mf's own status is not written here.
//
// A reader never sees a part of a file: each is written under a name that no pattern of the client matches, and then
// renamed. A process that is killed may leave such a file, ".mf-…", behind; it does no harm.
package metaflowdir

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
)

// Dir is a metadata.Recorder. It is safe for concurrent use, by several processes too. Unlike a database it writes a
// batch row by row: after an error a part may be there.
type Dir struct {
	root string
	now  func() time.Time
	temp tempNames
	// tags is held while a run's tags change.
	tags sync.Mutex
}

var _ metadata.Recorder = (*Dir)(nil)

// New returns a recorder below the datastore root given, which is created when the first run is. For Metaflow the root
// is the folder ".metaflow" in the one that METAFLOW_DATASTORE_SYSROOT_LOCAL names.
func New(root string, now func() time.Time) *Dir {
	return &Dir{root: root, now: now, temp: tempNames{prefix: ".mf-" + rand.Text() + "-"}}
}

const (
	metaDir  = "_meta"
	selfFile = "_self.json"
)

// path returns the folder of an object: of a flow, or a run of it, and so on.
func (d *Dir) path(ids ...string) (string, error) {
	for _, id := range ids {
		if id == "" || id == "." || id == ".." || id == metaDir || strings.ContainsAny(id, "/\\\x00") {
			return "", fmt.Errorf("%q, of %q, cannot be the name of a folder", id, strings.Join(ids, "/"))
		}
	}
	return filepath.Join(append([]string{d.root}, ids...)...), nil
}

// CreateRun implements metadata.Recorder. A run without an id gets the time in microseconds, as Metaflow's do. A
// fresh run becomes the flow's latest_run, from which Metaflow's resume starts; one with an Origin does not.
func (d *Dir) CreateRun(ctx context.Context, run metadata.Run) (metadata.Run, error) {
	if err := errors.Join(metadata.CheckRun(run), ctx.Err()); err != nil {
		return metadata.Run{}, err
	}
	now := d.now()
	if run.TsEpoch == 0 {
		run.TsEpoch = now.UnixMilli()
	}
	run, err := d.createRun(run, now.UnixMicro())
	if err != nil {
		return metadata.Run{}, fmt.Errorf("writing the metadata of a run of %s: %w", run.FlowID, err)
	}
	return run, nil
}

func (d *Dir) createRun(run metadata.Run, number int64) (metadata.Run, error) {
	flow, err := d.path(run.FlowID)
	if err != nil {
		return run, err
	}
	err = d.writeSelf(flow, flowJSON(run.FlowID, run.TsEpoch))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return run, err
	}
	for minted := run.RunID == ""; ; number++ {
		if minted {
			run.RunID = strconv.FormatInt(number, 10)
		}
		folder, err := d.path(run.FlowID, run.RunID)
		if err != nil {
			return run, err
		}
		err = d.writeSelf(folder, runJSON(&run))
		if errors.Is(err, fs.ErrExist) {
			if minted {
				continue
			}
			return run, fmt.Errorf("run %s/%s: %w", run.FlowID, run.RunID, metadata.ErrExists)
		}
		if err != nil || run.Origin != "" {
			return run, err
		}
		h, err := openFolder(flow)
		if err != nil {
			return run, err
		}
		return run, errors.Join(h.replace(d.temp.next(), "latest_run", []byte(run.RunID)), h.close())
	}
}

// writeSelf writes the _self.json of the object in folder, creating its folders; fs.ErrExist if it is there.
func (d *Dir) writeSelf(folder string, content []byte) error {
	meta := filepath.Join(folder, metaDir)
	if _, err := os.Lstat(filepath.Join(meta, selfFile)); err == nil {
		return fs.ErrExist
	}
	if err := os.MkdirAll(meta, 0o755); err != nil {
		return err
	}
	h, err := openFolder(meta)
	if err != nil {
		return err
	}
	return errors.Join(h.place(d.temp.next(), content, once(selfFile)), h.close())
}

// UpdateRun implements metadata.Recorder. The layout has no place for a status: it only makes sure that the run exists.
func (d *Dir) UpdateRun(_ context.Context, run metadata.Run) error {
	return d.needRun(run.FlowID, run.RunID)
}

func (d *Dir) needRun(flow, run string) error {
	folder, err := d.path(flow, run)
	if err != nil {
		return err
	}
	_, err = os.Lstat(filepath.Join(folder, metaDir, selfFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("run %s/%s: %w", flow, run, metadata.ErrNotFound)
	}
	return err
}

// MutateTags implements metadata.Recorder. Processes of mf take turns; a change that a Metaflow client makes in the
// same moment can be lost, as it can between two of these clients.
func (d *Dir) MutateTags(ctx context.Context, flow, run string, add, remove []string) ([]string, error) {
	if err := d.needRun(flow, run); err != nil {
		return nil, err
	}
	d.tags.Lock()
	defer d.tags.Unlock()
	folder, err := d.path(flow, run)
	if err != nil {
		return nil, err
	}
	meta := filepath.Join(folder, metaDir)
	unlock, err := lockFolder(ctx, meta)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", meta, err)
	}
	tags, err := d.mutateTags(meta, add, remove)
	if err = errors.Join(err, unlock()); err != nil {
		return nil, fmt.Errorf("changing the tags of run %s/%s: %w", flow, run, err)
	}
	return tags, nil
}

func (d *Dir) mutateTags(meta string, add, remove []string) ([]string, error) {
	self := filepath.Join(meta, selfFile)
	text, err := os.ReadFile(self)
	if err != nil {
		return nil, err
	}
	var row struct {
		FlowID     string   `json:"flow_id"`
		RunNumber  string   `json:"run_number"`
		UserName   string   `json:"user_name"`
		Tags       []string `json:"tags"`
		SystemTags []string `json:"system_tags"`
		TsEpoch    int64    `json:"ts_epoch"`
	}
	if err := json.Unmarshal(text, &row); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", metadata.ErrCorrupt, self, err)
	}
	tags, changed, err := metadata.ApplyTags(row.Tags, row.SystemTags, add, remove)
	if err != nil || !changed {
		return tags, err
	}
	h, err := openFolder(meta)
	if err != nil {
		return nil, err
	}
	content := runJSON(&metadata.Run{
		FlowID: row.FlowID, RunID: row.RunNumber, UserName: row.UserName, Tags: tags, SystemTags: row.SystemTags,
		TsEpoch: row.TsEpoch,
	})
	return tags, errors.Join(h.replace(d.temp.next(), selfFile, content), h.close())
}
