package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
)

// exchange is one request with its answer, which is complete before its first byte is sent: a handler sets the status
// and appends to out.
type exchange struct {
	server *Server
	r      *http.Request
	ctx    context.Context
	route  *route
	args   []string
	params []param
	body   []byte
	// token is nil where none is configured.
	token *token.Token
	// denied asks for a token.
	denied bool
	// large is set when the body has one of the places for large ones.
	large bool

	status      int
	out         []byte
	contentType []string
	// paged, limit and cursor are the paging headers.
	paged  bool
	limit  int
	cursor string
	// wait is the text of the header Retry-After; closing makes this the connection's last answer.
	wait    []string
	closing bool
	// cause is what stands in the log when the answer tells less.
	cause error

	argSpace, pathSpace [maxSegments + 1]string
}

// Headers that are the same in every answer. net/http does not change them.
var (
	typeText    = []string{"text/plain; charset=utf-8"}
	typeJSON    = []string{"application/json"}
	versionText = []string{httpapi.ServiceVersion}
	closeText   = []string{"close"}
	soonText    = []string{"1"}
	challenge   = []string{`Bearer realm="mf"`}
)

// clientGone is the status, for the log alone, of a request that nobody waits for any longer.
const clientGone = 499

// bigBuffer is the size above which buffers are not kept.
const bigBuffer = 64 << 10

var exchanges = sync.Pool{New: func() any { return &exchange{out: make([]byte, 0, 4096)} }}

func newExchange(s *Server, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange)
	x.server, x.r, x.ctx = s, r, r.Context()
	x.status, x.contentType = http.StatusOK, typeText
	return x
}

// release gives the buffers back; x must not be used afterwards.
func (x *exchange) release() {
	out, body, params := x.out[:0], x.body[:0], x.params[:0]
	if cap(out) > bigBuffer {
		out = nil
	}
	if cap(body) > bigBuffer {
		body = nil
	}
	clear(params[:cap(params)])
	*x = exchange{out: out, body: body, params: params}
	exchanges.Put(x)
}

// send writes the answer.
func (x *exchange) send(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"] = x.contentType
	h["Content-Length"] = []string{strconv.Itoa(len(x.out))}
	if x.route != nil && !x.route.plain {
		h[httpapi.VersionHeader] = versionText
	}
	if x.paged {
		h["X-Limit"] = []string{strconv.Itoa(x.limit)}
		if x.cursor != "" {
			h["X-Next-Cursor"] = []string{x.cursor}
		}
	}
	if x.wait != nil {
		h["Retry-After"] = x.wait
	}
	if x.denied {
		h["Www-Authenticate"] = challenge
	}
	if x.closing {
		h["Connection"] = closeText
	}
	w.WriteHeader(x.status)
	_, _ = w.Write(x.out) // a client that has gone is no one's concern
}

// arg returns the i-th decoded argument of the path.
func (x *exchange) arg(i int) string {
	if i < len(x.args) {
		return x.args[i]
	}
	return ""
}

// key names what the path names.
func (x *exchange) key() tables.Key {
	return tables.Key{Flow: x.arg(0), Run: x.arg(1), Step: x.arg(2), Task: x.arg(3)}
}

// reset forgets what was appended before.
func (x *exchange) reset(status int) {
	x.status, x.out, x.paged = status, x.out[:0], false
}

// message answers with a JSON string.
func (x *exchange) message(status int, text string) {
	x.reset(status)
	x.out = appendString(x.out, text)
}

// page answers with plain text, as Metaflow's service does for errors that its handlers do not see.
func (x *exchange) page(status int, text string) {
	x.reset(status)
	x.out = append(strconv.AppendInt(x.out, int64(status), 10), ": "...)
	x.out = append(x.out, text...)
}

// object answers with {"message": text}.
func (x *exchange) object(status int, text string) {
	x.reset(status)
	x.out = append(appendString(append(x.out, `{"message":`...), text), '}')
}

// problem answers with the object that Metaflow's service makes of an exception.
func (x *exchange) problem(detail string) {
	x.reset(http.StatusInternalServerError)
	x.out = appendString(append(x.out, `{"traceback":"","detail":`...), detail)
	x.out = append(x.out, `,"status":500,"title":"Internal Server Error","type":"about:blank"}`...)
}

// fault answers mf's own routes.
func (x *exchange) fault(status int, code, text string) {
	x.reset(status)
	x.contentType = typeJSON
	x.out = appendString(append(x.out, `{"code":`...), code)
	x.out = append(appendString(append(x.out, `,"message":`...), text), '}')
}

// refuse answers a request that no handler sees, in the form of its route.
func (x *exchange) refuse(status int, code, text string) {
	if x.route != nil && x.route.own {
		x.fault(status, code, text)
		return
	}
	x.message(status, text)
}

// unavailable answers while the database is away: clients come again.
func (x *exchange) unavailable(err error) {
	const text = "the database is not available at the moment; try again"
	x.cause, x.wait = err, soonText
	if x.route != nil && x.route.own {
		x.fault(http.StatusServiceUnavailable, "unavailable", text)
		return
	}
	x.reset(http.StatusServiceUnavailable)
	x.out = appendTwice(x.out, append(appendString([]byte(`{"err_msg": `), text), '}'))
}

// fail answers with what Metaflow's service makes of an error of the database.
func (x *exchange) fail(err error) {
	var db *tables.Error
	switch {
	case away(err):
		x.server.stats.dbErrors.WithLabelValues("unavailable").Inc()
		x.unavailable(err)
	case errors.Is(err, metadata.ErrNotFound):
		x.reset(http.StatusNotFound)
		x.out = append(x.out, "{}"...)
	case errors.As(err, &db):
		x.databaseError(db)
	case errors.Is(err, tables.ErrNoParent):
		x.problem("'run_number'")
	case errors.Is(err, context.Canceled):
		x.page(clientGone, "the client has gone")
	default:
		x.server.stats.dbErrors.WithLabelValues("other").Inc()
		x.cause = err
		x.reset(http.StatusInternalServerError)
		x.out = appendTwice(x.out, []byte(`{"err_msg": "internal error"}`))
	}
}

// away reports whether an error says that the database cannot be reached, or not in time.
func away(err error) bool {
	return errors.Is(err, metadata.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// badValues is the class of SQLSTATEs that say that a value of the request is bad.
const badValues = "22"

// databaseError answers with a refusal of the database, encoded twice.
func (x *exchange) databaseError(e *tables.Error) {
	switch e.Code {
	case tables.UniqueViolation:
		x.reset(http.StatusConflict)
	case tables.ForeignKeyViolation:
		x.reset(http.StatusNotFound)
	default:
		if !strings.HasPrefix(e.Code, badValues) {
			x.cause = e
		}
		x.server.stats.dbErrors.WithLabelValues(e.Code).Inc()
		x.reset(http.StatusInternalServerError)
	}
	b := appendString([]byte(`{"err_msg": {"pgerror": `), e.Severity+":  "+e.Message+"\n")
	b = appendString(append(b, `, "pgcode": `...), e.Code)
	b = appendString(append(b, `, "diag": {"message_primary": `...), e.Message)
	b = append(appendString(append(b, `, "severity": `...), e.Severity), "}}}"...)
	x.out = appendTwice(x.out, b)
}

// log writes one line for a request: errors and slow ones always, the others on demand. Neither headers nor bodies nor
// the query are told.
func (x *exchange) log(took time.Duration) {
	level := slog.LevelDebug
	switch {
	case x.status == http.StatusInternalServerError && x.cause != nil:
		level = slog.LevelError
	case x.status > http.StatusInternalServerError:
		level = slog.LevelWarn
	case x.status == http.StatusInternalServerError, took >= x.server.conf.Slow:
		level = slog.LevelInfo
	}
	logger := x.server.conf.Logger
	if !logger.Enabled(x.ctx, level) {
		return
	}
	fields := []slog.Attr{
		slog.String("method", x.r.Method),
		slog.String("path", x.r.URL.Path),
		slog.Int("status", x.status),
		slog.Duration("took", took),
		slog.Int("bytes", len(x.out)),
		slog.String("from", x.r.RemoteAddr),
	}
	if x.token != nil {
		fields = append(fields, slog.String("token", x.token.ID))
	}
	if x.cause != nil {
		fields = append(fields, slog.String("error", x.cause.Error()))
	}
	logger.LogAttrs(x.ctx, level, "request", fields...)
}
