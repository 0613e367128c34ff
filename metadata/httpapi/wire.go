// Package httpapi is what mf's metadata server and client agree on beyond Metaflow's own routes.
//
// Metaflow's routes register one object at a time, stamp the time of arrival and know nothing of a run's outcome. Under
// Prefix the server has a few more, which a client that finds them (Info) uses in their place: one request records all
// rows of a phase of a task's life.
package httpapi

import "github.com/mf-run/mf/metadata"

// Prefix is where mf's own routes begin.
//
//	GET   /mf/v1/info                                    Info
//	POST  /mf/v1/runs                                    metadata.Run in, metadata.Run out; 409 if the id is taken
//	PUT   /mf/v1/flows/{flow}/runs/{run}                 metadata.Run in (status, finish, failure, heartbeat); 404
//	POST  /mf/v1/record                                  RecordRequest in, {} out; 404 if a parent is missing
//	POST  /mf/v1/flows/{flow}/runs/{run}/steps/{step}/tasks   metadata.Task in, metadata.Task out; 404, 409
//	POST  /mf/v1/heartbeat                               HeartbeatRequest in, HeartbeatResponse out; unknown ids are ignored
//	GET   /mf/v1/runs?flow=&status=&tag=&tag=&limit=     []metadata.Run
//	GET   /mf/v1/flows/{flow}/runs/{run}                 metadata.Run; 404
//	GET   /mf/v1/flows/{flow}/runs/{run}/tasks?step=     []metadata.Task
//	GET   /mf/v1/flows/{flow}/runs/{run}/metadata?step=&task=    []metadata.Metadatum
//	GET   /mf/v1/flows/{flow}/runs/{run}/artifacts?step=&task=   []metadata.Artifact
//
// Path segments are percent-encoded. Bodies are JSON in the form of Go's encoding of these types (field names as in Go);
// a body may be compressed (Content-Encoding: gzip). An error has the body Problem; beside the statuses above every route
// may answer 400, 401, 403, 413, 422 (a bad tag), 500 and 503 (with Retry-After). Tags are changed by Metaflow's own route.
const Prefix = "/mf/v1"

// Version is the version of these routes; a server with a higher one still has them.
const Version = 1

// VersionHeader tells clients of Metaflow which service they talk to.
const VersionHeader = "METADATA_SERVICE_VERSION"

// ServiceVersion is the version of Metaflow's metadata service whose routes are served.
const ServiceVersion = "2.5.1"

// Info describes a server.
type Info struct {
	// API is Version, MF the version of mf.
	API int    `json:"api"`
	MF  string `json:"mf"`
}

// RecordRequest is a batch, written as metadata.Recorder.Record says. Times are the client's.
type RecordRequest struct {
	metadata.Batch
	// Retry is set when an earlier try may have been written without the client hearing of it: metadata rows that are there
	// already, all columns equal, are then not added again.
	Retry bool `json:",omitempty"`
}

// HeartbeatRequest says that a run and some of its tasks are alive.
type HeartbeatRequest struct {
	Flow, Run string
	// Tasks may be empty.
	Tasks []StepTask `json:",omitempty"`
}

// StepTask names a task within a run.
type StepTask struct{ Step, Task string }

// HeartbeatResponse says when to come back.
type HeartbeatResponse struct {
	WaitSeconds int
}

// Problem is the body of an error: Code is one of "not_found", "exists", "invalid", "invalid_tag", "unauthorized",
// "forbidden", "too_large", "conflict", "unavailable" and "internal".
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}
