package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mf-run/mf/metadata/token"
)

// scope says how the limits of a token bind a route.
type scope int

const (
	// scopeNone: the route tells of no flow.
	scopeNone scope = iota
	// scopeFlow: the route is about the flow in the path and none of its runs.
	scopeFlow
	// scopeRun: the route is about the run in the path, or what is below.
	scopeRun
	// scopeOwnRun is scopeRun for a run that mf's store looks up, not Metaflow's tables.
	scopeOwnRun
	// scopeHandler: the handler looks.
	scopeHandler
)

// route is one method of one path.
type route struct {
	method, pattern string
	// need is the role that a token must have; "" is open to all.
	need  token.Role
	scope scope
	// own marks mf's routes, whose errors have bodies of their own.
	own bool
	// body is set where the request's body counts.
	body bool
	// light routes wait for no place among the requests in flight.
	light bool
	// plain routes answer without the version header, as Metaflow's do.
	plain bool
	serve func(*exchange)

	segments []string
	stats    *routeStats
}

// maxSegments bounds the paths that are looked at.
const maxSegments = 16

// router finds routes by the segments of a path.
type router struct {
	prefix string
	// bySize holds the routes by the number of their segments.
	bySize [maxSegments + 1][]*route
}

func newRouter(prefix string, routes []*route) *router {
	rt := &router{prefix: strings.TrimRight("/"+strings.Trim(prefix, "/"), "/")}
	for _, r := range routes {
		r.segments = strings.Split(strings.TrimPrefix(r.pattern, "/"), "/")
		n := len(r.segments)
		rt.bySize[n] = append(rt.bySize[n], r)
	}
	return rt
}

// matches compares a path's raw segments; names in braces fit anything but nothing.
func (r *route) matches(path []string) bool {
	for i, s := range r.segments {
		if s[0] == '{' {
			if path[i] == "" {
				return false
			}
		} else if s != path[i] {
			return false
		}
	}
	return true
}

// found is what a router says of a request.
type found struct {
	route *route
	// args are the decoded segments that stand for the names in braces, in order.
	args []string
	// status is 0, or why there is no route: 400, 404 or 405; allow are the methods that there would be.
	status int
	allow  string
}

// find looks a request up. args and path are scratch space.
func (rt *router) find(method string, u *url.URL, args, path []string) found {
	text, escaped := u.Path, false
	if u.RawPath != "" {
		text, escaped = u.RawPath, true
	}
	text, ok := strings.CutPrefix(text, rt.prefix)
	if !ok || text == "" || text[0] != '/' {
		return found{status: http.StatusNotFound}
	}
	path = path[:0]
	for text != "" {
		rest := text[1:]
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		if path = append(path, rest[:end]); len(path) > maxSegments {
			return found{status: http.StatusNotFound}
		}
		text = rest[end:]
	}
	var hit *route
	var allow []string
	for _, r := range rt.bySize[len(path)] {
		if r.matches(path) {
			if r.method == method {
				hit = r
				break
			}
			allow = append(allow, r.method)
		}
	}
	switch {
	case hit == nil && allow == nil:
		return found{status: http.StatusNotFound}
	case hit == nil:
		slices.Sort(allow)
		return found{status: http.StatusMethodNotAllowed, allow: strings.Join(allow, ",")}
	}
	args = args[:0]
	for i, s := range hit.segments {
		if s[0] != '{' {
			continue
		}
		arg := path[i]
		if escaped {
			var err error
			if arg, err = url.PathUnescape(arg); err != nil {
				return found{status: http.StatusBadRequest}
			}
		}
		if !utf8.ValidString(arg) || strings.IndexByte(arg, 0) >= 0 {
			return found{status: http.StatusBadRequest}
		}
		args = append(args, arg)
	}
	return found{route: hit, args: args}
}

// The paths of Metaflow's objects.
const (
	flowPath = "/flows/{flow}"
	runPath  = flowPath + "/runs/{run}"
	stepPath = runPath + "/steps/{step}"
	taskPath = stepPath + "/tasks/{task}"
	ownPath  = "/mf/v1"
)

// routes lists everything that is served.
func (s *Server) routes() []*route {
	get := func(pattern string, scope scope, serve func(*exchange)) *route {
		return &route{method: http.MethodGet, pattern: pattern, need: token.Read, scope: scope, serve: serve}
	}
	post := func(pattern string, scope scope, serve func(*exchange)) *route {
		return &route{method: http.MethodPost, pattern: pattern, need: token.Write, scope: scope, serve: serve, body: true}
	}
	noBody := func(r *route) *route { r.body = false; return r }
	plain := func(r *route) *route { r.plain = true; return r }
	open := func(r *route) *route { r.need, r.light = "", true; return r }
	mutate := post(runPath+"/tag/mutate", scopeRun, s.mutateTags)
	mutate.method = http.MethodPatch
	health := open(get("/healthcheck", scopeNone, s.healthcheck))
	list := []*route{
		get("/flows", scopeHandler, s.listFlows),
		get(flowPath, scopeFlow, s.getFlow),
		post(flowPath, scopeFlow, s.createFlow),
		get(flowPath+"/runs", scopeHandler, s.listRuns),
		post(flowPath+"/run", scopeHandler, s.createRun),
		get(runPath, scopeRun, s.getRun),
		noBody(post(runPath+"/heartbeat", scopeRun, s.heartbeatRun)),
		mutate,
		get(runPath+"/steps", scopeRun, s.listSteps),
		get(stepPath, scopeRun, s.getStep),
		post(stepPath+"/step", scopeRun, s.createStep),
		get(stepPath+"/tasks", scopeRun, s.listTasks),
		get(stepPath+"/filtered_tasks", scopeRun, s.filteredTasks),
		get(taskPath, scopeRun, s.getTask),
		post(stepPath+"/task", scopeRun, s.createTask),
		noBody(post(taskPath+"/heartbeat", scopeRun, s.heartbeatTask)),
		get(taskPath+"/metadata", scopeRun, s.taskMetadata),
		get(runPath+"/metadata", scopeRun, s.runMetadata),
		plain(post(taskPath+"/metadata", scopeRun, s.addMetadata)),
		get(taskPath+"/artifacts", scopeRun, s.listArtifacts),
		get(stepPath+"/artifacts", scopeRun, s.listArtifacts),
		get(runPath+"/artifacts", scopeRun, s.listArtifacts),
		get(taskPath+"/artifacts/{name}", scopeRun, s.getArtifact),
		get(taskPath+"/artifacts/{name}/attempt/{attempt}", scopeRun, s.getArtifact),
		plain(get(taskPath+"/attempt/{attempt}/artifacts", scopeRun, s.attemptArtifacts)),
		plain(post(taskPath+"/artifact", scopeRun, s.addArtifacts)),
		open(get("/ping", scopeNone, s.ping)),
		open(plain(get("/version", scopeNone, s.version))),
		health,
		plain(get("/auth/token", scopeNone, s.authToken)),
	}
	return append(list, s.ownRoutes(get, post)...)
}

func (s *Server) ownRoutes(get, post func(string, scope, func(*exchange)) *route) []*route {
	put := post(ownPath+"/flows/{flow}/runs/{run}", scopeOwnRun, s.ownUpdateRun)
	put.method = http.MethodPut
	list := []*route{
		get(ownPath+"/info", scopeNone, s.ownInfo),
		post(ownPath+"/runs", scopeHandler, s.ownCreateRun),
		put,
		post(ownPath+"/record", scopeHandler, s.ownRecord),
		post(ownPath+"/flows/{flow}/runs/{run}/steps/{step}/tasks", scopeOwnRun, s.ownCreateTask),
		post(ownPath+"/heartbeat", scopeHandler, s.ownHeartbeat),
		get(ownPath+"/runs", scopeHandler, s.ownListRuns),
		get(ownPath+"/flows/{flow}/runs/{run}", scopeOwnRun, s.ownGetRun),
		get(ownPath+"/flows/{flow}/runs/{run}/tasks", scopeOwnRun, s.ownListTasks),
		get(ownPath+"/flows/{flow}/runs/{run}/metadata", scopeOwnRun, s.ownListMetadata),
		get(ownPath+"/flows/{flow}/runs/{run}/artifacts", scopeOwnRun, s.ownListArtifacts),
	}
	for _, r := range list {
		r.own = true
	}
	return list
}
