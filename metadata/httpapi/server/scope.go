package server

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

const projectTag = "project:"

const outOfScope = "the token is not for this flow or project"

// limited reports whether the request's token is for some flows or projects only.
func (x *exchange) limited() bool { return x.token != nil && x.token.Limited() }

// hasFlow reports whether the token is for all of a flow.
func (x *exchange) hasFlow(flow string) bool {
	return !x.limited() || slices.Contains(x.token.Flows, flow)
}

// projectsOf reports whether a run with these system tags is of one of the token's projects.
func (x *exchange) projectsOf(system tables.JSON) bool {
	return slices.ContainsFunc(x.token.Projects, func(p string) bool { return hasTag(system, projectTag, p) })
}

// projectsOfTags is projectsOf for tags that have been read.
func (x *exchange) projectsOfTags(system []string) bool {
	return slices.ContainsFunc(x.token.Projects, func(p string) bool { return slices.Contains(system, projectTag+p) })
}

// inScope sees to the limits of the token where the path says what the request is about. When it returns false x holds
// the answer.
func (x *exchange) inScope() bool {
	if !x.limited() {
		return true
	}
	switch x.route.scope {
	case scopeFlow:
		if x.hasFlow(x.arg(0)) || len(x.token.Projects) > 0 {
			return true
		}
		x.forbid(outOfScope)
		return false
	case scopeRun:
		if x.hasFlow(x.arg(0)) {
			return true
		}
		if len(x.token.Projects) == 0 {
			x.forbid(outOfScope)
			return false
		}
		r, err := x.server.conf.DB.Run(x.ctx, tables.Key{Flow: x.arg(0), Run: x.arg(1)})
		if err != nil {
			x.fail(err)
			return false
		}
		if !x.projectsOf(r.SystemTags) {
			x.forbid(outOfScope)
			return false
		}
	case scopeOwnRun:
		if err := x.mayUse(x.arg(0), x.arg(1)); err != nil {
			x.failOwn(err)
			return false
		}
	}
	return true
}

// errForbidden: the token is not for the run.
var errForbidden = errors.New(outOfScope)

// mayUse returns nil where the token is for a run that mf's store knows, errForbidden where it is not, and other errors
// where that cannot be said, metadata.ErrNotFound for one.
func (x *exchange) mayUse(flow, run string) error {
	if x.hasFlow(flow) {
		return nil
	}
	if len(x.token.Projects) == 0 {
		return errForbidden
	}
	r, err := x.server.conf.Store.Run(x.ctx, flow, run)
	if err != nil {
		return err
	}
	if !x.projectsOfTags(r.SystemTags) {
		return errForbidden
	}
	return nil
}

// mayCreate sees to the limits of the token for a new run. When it returns false x holds the answer.
func (x *exchange) mayCreate(flow string, system tables.JSON) bool {
	if x.hasFlow(flow) || x.projectsOf(system) {
		return true
	}
	x.forbid(outOfScope)
	return false
}

// mayList sees to the limits of the token for the runs of a flow. own is nil where all may be listed, else the condition
// that leaves those of the token's projects and runs that say so in a user tag, which ofProjects takes out. When ok is
// false x holds the answer.
func (x *exchange) mayList(flow string) (own *tables.TagFilter, ok bool) {
	if x.hasFlow(flow) {
		return nil, true
	}
	if len(x.token.Projects) == 0 {
		x.forbid(outOfScope)
		return nil, false
	}
	own = &tables.TagFilter{Op: "any"}
	for _, p := range x.token.Projects {
		own.Values = append(own.Values, projectTag+p)
	}
	return own, true
}

// ofProjects leaves the runs of the token's projects.
func (x *exchange) ofProjects(rows []tables.Run) []tables.Run {
	return slices.DeleteFunc(rows, func(r tables.Run) bool { return !x.projectsOf(r.SystemTags) })
}

// flowsOfToken lists the flows that the token names, as tables.DB's Flows does.
func (x *exchange) flowsOfToken(ctx context.Context, page *tables.Page) ([]tables.Flow, error) {
	var rows []tables.Flow
	for _, name := range slices.Compact(slices.Sorted(slices.Values(x.token.Flows))) {
		f, err := x.server.conf.DB.Flow(ctx, name)
		if errors.Is(err, metadata.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		rows = append(rows, f)
	}
	order := func(a, b tables.Flow) int {
		return cmp.Or(cmp.Compare(b.TsEpoch, a.TsEpoch), cmp.Compare(b.FlowID, a.FlowID))
	}
	slices.SortFunc(rows, order)
	if page == nil {
		return rows, nil
	}
	if after := page.After; after != nil {
		last := tables.Flow{TsEpoch: after.TsEpoch, FlowID: after.Name}
		rows = slices.DeleteFunc(rows, func(f tables.Flow) bool { return order(last, f) >= 0 })
	}
	return rows[:min(len(rows), page.Limit+1)], nil
}

// runsOfToken lists the runs of the token's flows and projects, newest first.
func (x *exchange) runsOfToken(q metadata.RunQuery) ([]metadata.Run, error) {
	var all []metadata.Run
	seen := map[[2]string]bool{}
	add := func(q metadata.RunQuery, keep func(metadata.Run) bool) error {
		rows, err := x.server.conf.Store.Runs(x.ctx, q)
		for _, r := range rows {
			if id := [2]string{r.FlowID, r.RunID}; !seen[id] && keep(r) {
				seen[id] = true
				all = append(all, r)
			}
		}
		return err
	}
	for _, flow := range x.token.Flows {
		if q.FlowID != "" && q.FlowID != flow {
			continue
		}
		part := q
		part.FlowID = flow
		if err := add(part, func(metadata.Run) bool { return true }); err != nil {
			return nil, err
		}
	}
	for _, p := range x.token.Projects {
		part := q
		part.Tags = append(slices.Clone(q.Tags), projectTag+p)
		part.Limit = 0 // runs that say so in a user tag would count
		keep := func(r metadata.Run) bool { return slices.Contains(r.SystemTags, projectTag+p) }
		if err := add(part, keep); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b metadata.Run) int { return cmp.Compare(b.TsEpoch, a.TsEpoch) })
	if q.Limit > 0 && len(all) > q.Limit {
		all = all[:q.Limit]
	}
	return all, nil
}
