package server

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mf-run/mf/metadata/tables"
)

// creation is what the body of a request that registers an object may hold.
type creation struct {
	// user is nil for null; hasUser tells that from absent.
	user         *string
	hasUser      bool
	tags, system tables.JSON
	// id is the client's name for a run or task; nil for none.
	id *string
}

// creation reads the body of a request that registers an object, whose own id is in the member idName. When ok is
// false x holds the answer.
func (x *exchange) creation(idName string) (c creation, ok bool) {
	if err := checkJSON(x.body); err != nil {
		x.problem(err.Error())
		return c, false
	}
	if kind(skipSpace(x.body)) != '{' {
		x.problem("the body is no JSON object")
		return c, false
	}
	bad := ""
	eachMember(x.body, func(name string, v []byte) {
		switch name {
		case "user_name":
			text, null, ok := scalar(v)
			if c.user, c.hasUser = nil, true; !null {
				c.user = &text
			}
			if !ok {
				bad = "user_name is no text"
			}
		case "tags":
			c.tags = column(v)
		case "system_tags":
			c.system = column(v)
		case idName:
			if c.id = nil; kind(v) == '"' {
				text := unquote(v)
				c.id = &text
			} else if kind(v) != 'n' {
				bad = idName + " is no text"
			}
		}
	})
	if bad != "" {
		x.problem(bad)
		return c, false
	}
	return c, true
}

// column keeps a value for a column of JSON; null is none.
func column(v []byte) tables.JSON {
	if kind(v) == 'n' {
		return nil
	}
	return bytes.Clone(v)
}

func (s *Server) createFlow(x *exchange) {
	c, ok := x.creation("")
	if !ok {
		return
	}
	f, err := s.conf.DB.CreateFlow(x.ctx, tables.Flow{FlowID: x.arg(0), UserName: c.user, Tags: c.tags, SystemTags: c.system})
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendFlow(x.out, &f)
}

func (s *Server) getFlow(x *exchange) {
	f, err := s.conf.DB.Flow(x.ctx, x.arg(0))
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendFlow(x.out, &f)
}

func (s *Server) listFlows(x *exchange) {
	page, ok := x.pageOf(flowCursor, false)
	if !ok {
		return
	}
	list := s.conf.DB.Flows
	if x.limited() {
		list = x.flowsOfToken
	}
	rows, err := list(x.ctx, page)
	if err != nil {
		x.fail(err)
		return
	}
	rows = cut(x, flowCursor, page, rows, func(f *tables.Flow) tables.Cursor {
		return tables.Cursor{TsEpoch: f.TsEpoch, Name: f.FlowID}
	})
	x.out = appendList(x.out, rows, appendFlow)
}

func (s *Server) createRun(x *exchange) {
	c, ok := x.creation("run_number")
	if !ok {
		return
	}
	if c.id != nil && tables.IsNumber(*c.id) {
		x.problem("provided run_id may not be a numeric")
		return
	}
	flow := x.arg(0)
	if !x.mayCreate(flow, c.system) {
		return
	}
	row := tables.Run{FlowID: flow, RunID: c.id, UserName: c.user, Tags: c.tags, SystemTags: c.system}
	if beats(c.system) {
		now := s.conf.Now().Unix()
		row.LastHeartbeat = &now
	}
	r, err := s.conf.DB.CreateRun(x.ctx, row)
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendRun(x.out, &r, false)
}

func (s *Server) getRun(x *exchange) {
	r, err := s.conf.DB.Run(x.ctx, x.key())
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendRun(x.out, &r, true)
}

func (s *Server) listRuns(x *exchange) {
	filters, ok := x.filters(tables.RunFields)
	if !ok {
		return
	}
	tags := x.tagFilters()
	page, ok := x.pageOf(runCursor, len(filters)+len(tags) > 0)
	if !ok {
		return
	}
	flow := x.arg(0)
	own, ok := x.mayList(flow)
	if !ok {
		return
	}
	if own != nil {
		tags = append(tags, *own)
	}
	rows, err := s.conf.DB.Runs(x.ctx, flow, tables.Query{Filters: filters, Tags: tags, Page: page}, s.conf.InactiveCutoff)
	if err != nil {
		x.fail(err)
		return
	}
	rows = cut(x, runCursor, page, rows, func(r *tables.Run) tables.Cursor {
		return tables.Cursor{TsEpoch: r.TsEpoch, ID: r.RunNumber}
	})
	if own != nil {
		rows = x.ofProjects(rows)
	}
	x.out = appendList(x.out, rows, func(b []byte, r *tables.Run) []byte { return appendRun(b, r, true) })
}

func (s *Server) mutateTags(x *exchange) {
	if err := checkJSON(x.body); err != nil {
		x.problem(err.Error())
		return
	}
	if kind(skipSpace(x.body)) != '{' {
		x.problem("the body is no JSON object")
		return
	}
	var lists [2][]string
	names := [2]string{"tags_to_add", "tags_to_remove"}
	var noList [2]bool
	odd := false
	eachMember(x.body, func(name string, v []byte) {
		for i, n := range names {
			if n != name {
				continue
			}
			lists[i], noList[i] = nil, kind(v) != '['
			eachElement(v, func(e []byte) bool {
				if e[0] != '"' {
					odd = true
					return false
				}
				lists[i] = append(lists[i], unquote(e))
				return true
			})
		}
	})
	for i, n := range names {
		if noList[i] {
			x.message(http.StatusBadRequest, n+" must be a list")
			return
		}
	}
	if odd {
		x.message(http.StatusBadRequest, "All tag values must be strings")
		return
	}
	now, err := s.conf.DB.MutateTags(x.ctx, x.key(), lists[0], lists[1])
	if err != nil {
		x.failMutation(err)
		return
	}
	x.out = append(x.out, `{"tags":`...)
	x.out = appendList(x.out, now, func(b []byte, t *string) []byte { return appendString(b, *t) })
	x.out = append(x.out, '}')
}

func (x *exchange) failMutation(err error) {
	var system *tables.SystemTagError
	switch {
	case errors.Is(err, tables.ErrConflict):
		x.message(http.StatusConflict, "Conflicting concurrent tag mutation, please retry")
	case errors.Is(err, tables.ErrNullTags):
		x.problem("the run's tags are null")
	case errors.As(err, &system):
		tag := strings.ReplaceAll(strings.ReplaceAll(system.Tag, `\`, `\\`), `'`, `\'`)
		x.message(http.StatusUnprocessableEntity, fmt.Sprintf("Cannot remove tags that are existing system tags {'%s'}", tag))
	default:
		x.fail(err)
	}
}
