package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
	"github.com/mf-run/mf/metadata/tables"
)

// beatAgain is how long clients wait between heartbeats of what is not registered yet.
const beatAgain = 10 * time.Second

// decode reads the body of one of mf's routes. When it returns false x holds the answer.
func (x *exchange) decode(v any) bool {
	err := checkJSON(x.body)
	if err == nil {
		err = json.Unmarshal(x.body, v)
	}
	if err != nil {
		x.fault(http.StatusBadRequest, "invalid", err.Error())
	}
	return err == nil
}

// answer encodes what one of mf's routes answers.
func (x *exchange) answer(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		x.failOwn(err)
		return
	}
	x.contentType = typeJSON
	x.out = append(x.out, text...)
}

// failOwn answers mf's routes with an error of the store.
func (x *exchange) failOwn(err error) {
	var db *tables.Error
	switch {
	case away(err):
		x.server.stats.dbErrors.WithLabelValues("unavailable").Inc()
		x.unavailable(err)
	case errors.Is(err, errForbidden):
		x.forbid(outOfScope)
	case errors.Is(err, metadata.ErrNotFound), errors.Is(err, tables.ErrNoParent):
		x.fault(http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, metadata.ErrExists):
		x.fault(http.StatusConflict, "exists", err.Error())
	case errors.Is(err, metadata.ErrInvalidTag):
		x.fault(http.StatusUnprocessableEntity, "invalid_tag", err.Error())
	case errors.Is(err, tables.ErrConflict):
		x.fault(http.StatusConflict, "conflict", "another change came in between: try again")
	case errors.As(err, &db) && db.Code == tables.ForeignKeyViolation:
		x.fault(http.StatusNotFound, "not_found", db.Error())
	case errors.As(err, &db) && db.Code == tables.UniqueViolation:
		x.fault(http.StatusConflict, "exists", db.Error())
	case errors.As(err, &db) && strings.HasPrefix(db.Code, badValues):
		x.fault(http.StatusBadRequest, "invalid", db.Error())
	case errors.Is(err, context.Canceled):
		x.page(clientGone, "the client has gone")
	default:
		x.server.stats.dbErrors.WithLabelValues("other").Inc()
		x.cause = err
		x.fault(http.StatusInternalServerError, "internal", "internal error: the service's log tells more")
	}
}

func (x *exchange) answerOrFail(v any, err error) {
	if err != nil {
		x.failOwn(err)
		return
	}
	x.answer(v)
}

func (s *Server) ownInfo(x *exchange) {
	x.answer(httpapi.Info{API: httpapi.Version, MF: s.conf.Version})
}

func (s *Server) ownCreateRun(x *exchange) {
	var run metadata.Run
	if !x.decode(&run) {
		return
	}
	if !x.hasFlow(run.FlowID) && !x.projectsOfTags(run.SystemTags) {
		x.forbid(outOfScope)
		return
	}
	if run.FlowID == "" {
		x.fault(http.StatusBadRequest, "invalid", "a run has no flow")
		return
	}
	made, err := s.conf.Store.CreateRun(x.ctx, run)
	x.answerOrFail(made, err)
}

func (s *Server) ownUpdateRun(x *exchange) {
	var run metadata.Run
	if !x.decode(&run) {
		return
	}
	run.FlowID, run.RunID = x.arg(0), x.arg(1)
	x.answerOrFail(struct{}{}, s.conf.Store.UpdateRun(x.ctx, run))
}

func (s *Server) ownGetRun(x *exchange) {
	run, err := s.conf.Store.Run(x.ctx, x.arg(0), x.arg(1))
	x.answerOrFail(run, err)
}

func (s *Server) ownCreateTask(x *exchange) {
	var task metadata.Task
	if !x.decode(&task) {
		return
	}
	task.FlowID, task.RunID, task.StepName = x.arg(0), x.arg(1), x.arg(2)
	made, err := s.conf.Store.CreateTask(x.ctx, task)
	x.answerOrFail(made, err)
}

func (s *Server) ownListRuns(x *exchange) {
	q := metadata.RunQuery{FlowID: x.queryText("flow"), Status: metadata.Status(x.queryText("status"))}
	for _, p := range x.params {
		if p.key == "tag" {
			q.Tags = append(q.Tags, p.value)
		}
	}
	if text := x.queryText("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			x.fault(http.StatusBadRequest, "invalid", fmt.Sprintf("limit is not a number from 0: %q", text))
			return
		}
		q.Limit = n
	}
	if x.limited() {
		if q.FlowID != "" && !x.hasFlow(q.FlowID) && len(x.token.Projects) == 0 {
			x.forbid(outOfScope)
			return
		}
		runs, err := x.runsOfToken(q)
		answerRows(x, appendOwnRun, runs, err)
		return
	}
	runs, err := s.conf.Store.Runs(x.ctx, q)
	answerRows(x, appendOwnRun, runs, err)
}

// answerRows answers with a list, which is never null.
func answerRows[T any](x *exchange, one func([]byte, *T) []byte, rows []T, err error) {
	if err != nil {
		x.failOwn(err)
		return
	}
	x.contentType = typeJSON
	x.out = appendList(x.out, rows, one)
}

func (s *Server) ownListTasks(x *exchange) {
	rows, err := s.conf.Store.Tasks(x.ctx, x.arg(0), x.arg(1), x.queryText("step"))
	answerRows(x, appendOwnTask, rows, err)
}

func (s *Server) ownListMetadata(x *exchange) {
	rows, err := s.conf.Store.Metadata(x.ctx, x.arg(0), x.arg(1), x.queryText("step"), x.queryText("task"))
	answerRows(x, appendOwnMetadatum, rows, err)
}

func (s *Server) ownListArtifacts(x *exchange) {
	rows, err := s.conf.Store.Artifacts(x.ctx, x.arg(0), x.arg(1), x.queryText("step"), x.queryText("task"))
	answerRows(x, appendOwnArtifact, rows, err)
}

// runID names a run.
type runID struct{ flow, run string }

// runsOf lists the runs that a batch's rows are of.
func runsOf(b *metadata.Batch) []runID {
	var ids []runID
	var last runID
	add := func(flow, run string) {
		if id := (runID{flow, run}); id != last && !slices.Contains(ids, id) {
			ids = append(ids, id)
			last = id
		}
	}
	for i := range b.Steps {
		add(b.Steps[i].FlowID, b.Steps[i].RunID)
	}
	for i := range b.Tasks {
		add(b.Tasks[i].FlowID, b.Tasks[i].RunID)
	}
	for i := range b.Metadata {
		add(b.Metadata[i].FlowID, b.Metadata[i].RunID)
	}
	for i := range b.Artifacts {
		add(b.Artifacts[i].FlowID, b.Artifacts[i].RunID)
	}
	return ids
}

func (s *Server) ownRecord(x *exchange) {
	var req httpapi.RecordRequest
	if !x.decode(&req) {
		return
	}
	if n := len(req.Steps) + len(req.Tasks) + len(req.Metadata) + len(req.Artifacts); n > maxRows {
		x.fault(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("more than %d rows in one request: send them in parts", maxRows))
		return
	}
	if x.limited() {
		for _, id := range runsOf(&req.Batch) {
			if err := x.mayUse(id.flow, id.run); err != nil {
				x.failOwn(err)
				return
			}
		}
	}
	if req.Retry {
		if err := x.dropRecorded(&req.Batch); err != nil {
			x.failOwn(err)
			return
		}
	}
	if req.Empty() {
		x.answer(struct{}{})
		return
	}
	x.answerOrFail(struct{}{}, s.conf.Store.Record(x.ctx, req.Batch))
}

// dropRecorded takes out of a batch the metadata rows that are recorded already, all columns equal.
func (x *exchange) dropRecorded(b *metadata.Batch) error {
	type taskID struct{ flow, run, step, task string }
	known := map[taskID][]metadata.Metadatum{}
	var err error
	b.Metadata = slices.DeleteFunc(b.Metadata, func(m metadata.Metadatum) bool {
		if err != nil {
			return false
		}
		id := taskID{m.FlowID, m.RunID, m.StepName, m.TaskID}
		rows, ok := known[id]
		if !ok {
			rows, err = x.server.conf.Store.Metadata(x.ctx, id.flow, id.run, id.step, id.task)
			known[id] = rows
		}
		return slices.ContainsFunc(rows, func(r metadata.Metadatum) bool {
			return r.FieldName == m.FieldName && r.Value == m.Value && r.Type == m.Type && r.UserName == m.UserName &&
				r.TsEpoch == m.TsEpoch && slices.Equal(r.Tags, m.Tags)
		})
	})
	return err
}

func (s *Server) ownHeartbeat(x *exchange) {
	var req httpapi.HeartbeatRequest
	if !x.decode(&req) {
		return
	}
	wait := beatAgain
	err := x.mayUse(req.Flow, req.Run)
	if err == nil {
		tasks := make([]metadata.TaskRef, len(req.Tasks))
		for i, t := range req.Tasks {
			tasks[i] = metadata.TaskRef{Flow: req.Flow, Run: req.Run, Step: t.Step, Task: t.Task}
		}
		wait, err = s.conf.Store.Beat(x.ctx, req.Flow, req.Run, tasks)
	}
	if errors.Is(err, metadata.ErrNotFound) {
		err = nil // a task may beat before its run is registered
	}
	x.answerOrFail(httpapi.HeartbeatResponse{WaitSeconds: int(max(wait, time.Second) / time.Second)}, err)
}
