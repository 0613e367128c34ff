// Package server serves metadata over HTTP: Metaflow's own metadata API, compatible on the wire with version
// httpapi.ServiceVersion of its service, and mf's routes under httpapi.Prefix.
//
// A Server keeps nothing that its database does not have, but for tokens (five seconds), so that any number of
// instances may serve one database.
//
// # Tokens
//
// With a token.Store every route but /ping, /version and /healthcheck wants a token, as "Authorization: Bearer mf_…" or
// as "x-api-key: mf_…", which Metaflow's client sends. Reading wants the role read, anything else write. A token may be
// limited to flows, to projects, or to both, of which either then suffices; a run is of a project when its system tags
// hold "project:<name>", which nobody changes after its creation. What a limited token can do:
//
//   - A route below a run works when the token has the flow, or a project of the run. Other runs answer 403; for a token
//     limited to projects a run that does not exist answers 404 on every route.
//   - A new run needs the flow, or a project of the token's among the system tags of the request. A batch needs that of
//     each of its rows' runs; else nothing of it is written.
//   - A flow itself is read and registered by a token that has it, and by any token with projects: it tells its
//     name and who made it, and the first run of a project needs it.
//   - The list of flows holds those that the token names; lists of runs those of its flows and projects. Asking for the
//     runs of one flow that the token does not have, without any project, is answered by 403.
package server
