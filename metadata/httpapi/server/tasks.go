package server

import (
	"net/http"
	"strconv"

	"github.com/mf-run/mf/metadata/tables"
)

func (s *Server) createStep(x *exchange) {
	c, ok := x.creation("")
	if !ok {
		return
	}
	if !c.hasUser {
		c.user = new(string)
	}
	k := x.key()
	row, err := s.conf.DB.CreateStep(x.ctx, k,
		tables.Step{StepName: k.Step, UserName: c.user, Tags: c.tags, SystemTags: c.system})
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendStep(x.out, &row)
}

func (s *Server) getStep(x *exchange) {
	row, err := s.conf.DB.Step(x.ctx, x.key())
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendStep(x.out, &row)
}

func (s *Server) listSteps(x *exchange) {
	rows, err := s.conf.DB.Steps(x.ctx, x.key())
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendList(x.out, rows, appendStep)
}

func (s *Server) createTask(x *exchange) {
	c, ok := x.creation("task_id")
	if !ok {
		return
	}
	if c.id != nil && tables.IsNumber(*c.id) {
		x.object(http.StatusBadRequest, "provided task_name may not be a numeric")
		return
	}
	k := x.key()
	row := tables.Task{StepName: k.Step, TaskName: c.id, UserName: c.user, Tags: c.tags, SystemTags: c.system}
	if beats(c.system) {
		now := s.conf.Now().Unix()
		row.LastHeartbeat = &now
	}
	t, err := s.conf.DB.CreateTask(x.ctx, k, row)
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendTask(x.out, &t)
}

func (s *Server) getTask(x *exchange) {
	t, err := s.conf.DB.Task(x.ctx, x.key())
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendTask(x.out, &t)
}

func (s *Server) listTasks(x *exchange) {
	filters, ok := x.filters(tables.TaskFields)
	if !ok {
		return
	}
	page, ok := x.pageOf(taskCursor, len(filters) > 0)
	if !ok {
		return
	}
	rows, err := s.conf.DB.Tasks(x.ctx, x.key(), tables.Query{Filters: filters, Page: page})
	if err != nil {
		x.fail(err)
		return
	}
	rows = cut(x, taskCursor, page, rows, func(t *tables.Task) tables.Cursor {
		return tables.Cursor{TsEpoch: t.TsEpoch, ID: t.TaskID}
	})
	x.out = appendList(x.out, rows, appendTask)
}

func (s *Server) filteredTasks(x *exchange) {
	rows, err := s.conf.DB.FilteredTasks(x.ctx, x.key(), x.query("metadata_field_name"), x.query("pattern"))
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendList(x.out, rows, func(b []byte, t *tables.Task) []byte {
		return appendString(b, t.FlowID+"/"+idText(t.RunNumber, t.RunID)+"/"+t.StepName+"/"+idText(t.TaskID, t.TaskName))
	})
}

// idText is what a run or task is called by.
func idText(number int64, name *string) string {
	if name != nil {
		return *name
	}
	return strconv.FormatInt(number, 10)
}
