package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	// maxGathered bounds the lookups that go in one round trip.
	maxGathered = 32
	// patience is how long lookups wait for a round trip that is under way before another one is begun beside it.
	patience = 10 * time.Millisecond
)

// gatherer sends lookups, reads of few rows, that wait at the same moment in one round trip: under load the round trip is
// most of what a lookup costs, here and in the database. One that comes while nothing is under way goes at once, and none
// is answered with what was read before it came.
//
// One for writes has them in one transaction, which is committed before any is done; where one is refused, none is.
type gatherer struct {
	s *Store
	// writes says that the statements change rows.
	writes bool
	// wide is the number of round trips that are begun before lookups wait for each other, most bounds them.
	wide, most int

	mu    sync.Mutex
	under int // round trips under way
	queue []*lookup
	late  *time.Timer
}

// lookup is a read of few rows, or a write of one: one statement, or two.
type lookup struct {
	statements int
	text       [2]string
	// args are strings, int64s, or pointers to them, of which nil is null.
	args [2][]any
	// row takes a row of the i-th statement; what it returns becomes err.
	row func(i int, r *rawRow) error

	err error
	// turn tells the one who waits that the lookup is done, or (true) that it is its turn to send those that wait.
	turn chan bool
}

func newGatherer(s *Store, writes bool, most int) *gatherer {
	g := &gatherer{s: s, writes: writes, wide: max(1, most/10), most: most}
	g.late = time.AfterFunc(time.Hour, g.overtake)
	g.late.Stop()
	return g
}

// do makes a lookup. Its error is as the connection gave it.
func (g *gatherer) do(ctx context.Context, l *lookup) error {
	g.mu.Lock()
	if g.under < g.wide {
		g.under++
		g.mu.Unlock()
		g.lead(ctx, l)
		return l.err
	}
	l.turn = make(chan bool, 1)
	if g.queue = append(g.queue, l); len(g.queue) == 1 {
		g.late.Reset(patience)
	}
	g.mu.Unlock()
	select {
	case lead := <-l.turn:
		if lead {
			g.lead(ctx, l)
		}
		return l.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	if i := slices.Index(g.queue, l); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	g.mu.Unlock()
	select {
	case lead := <-l.turn:
		if lead { // the others still wait
			g.lead(context.WithoutCancel(ctx), l)
		}
	default:
	}
	return ctx.Err()
}

// lead sends a lookup along with what waits, and has the next ones sent.
func (g *gatherer) lead(ctx context.Context, own *lookup) {
	batch := make([]*lookup, 1, maxGathered)
	batch[0] = own
	g.mu.Lock()
	n := min(len(g.queue), maxGathered-1)
	batch = append(batch, g.queue[:n]...)
	g.queue = slices.Delete(g.queue, 0, n)
	g.mu.Unlock()
	if len(batch) > 1 {
		ctx = context.WithoutCancel(ctx) // that one has gone does not matter to the others
	}
	done, err := g.send(ctx, batch)
	for _, l := range batch[done:] {
		l.err = err
	}
	g.mu.Lock()
	if len(g.queue) == 0 {
		g.under--
	} else {
		g.appoint()
	}
	g.mu.Unlock()
	for _, l := range batch[1:] {
		l.turn <- false
	}
}

// appoint has the first of the queue send what waits. g.mu is held, and the round trip counted.
func (g *gatherer) appoint() {
	l := g.queue[0]
	g.queue = slices.Delete(g.queue, 0, 1)
	l.turn <- true
}

// overtake begins another round trip, as those under way take long.
func (g *gatherer) overtake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) > 0 && g.under < g.most {
		g.under++
		g.appoint()
		g.late.Reset(patience)
	}
}

// binary asks for all columns in binary form.
var binary = []int16{pgx.BinaryFormatCode}

// send makes one round trip. The first of the lookups, as many as it returns, are done; the others met the error.
func (g *gatherer) send(ctx context.Context, batch []*lookup) (done int, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.s.timeout)
	defer cancel()
	err = g.s.once(ctx, func(ctx context.Context, c *pgx.Conn) error {
		var b pgconn.Batch
		var space [8][]byte
		for _, l := range batch {
			for i := range l.statements {
				statement, err := c.Prepare(ctx, l.text[i], l.text[i])
				if err != nil {
					return &unsentError{err}
				}
				b.ExecStatement(statement, appendParams(space[:0], l.args[i]), nil, binary)
			}
		}
		results := c.PgConn().ExecBatch(ctx, &b)
		var r rawRow
		for done < len(batch) && readLookup(results, batch[done], &r) {
			done++
		}
		err := results.Close()
		if hasCode(err, "0A000") || hasCode(err, "26000") { // a statement that was prepared before the tables were changed
			_ = c.Close(ctx)
		}
		return err
	})
	if g.writes && err != nil {
		done = 0
	}
	return done, err
}

// unsentError came up before the statements were sent.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// alone reports whether a lookup that failed may do better on its own: a connection broke, or another one's statement was
// refused.
func alone(err error) bool {
	e, ok := pgError(err)
	return ok && e.Code != "57014" || !ok && gone(err)
}

// writeAlone is alone for a write: certain is that it was not done.
func writeAlone(err error) bool {
	var unsent *unsentError
	if errors.As(err, &unsent) {
		return alone(err)
	}
	e, ok := pgError(err)
	return ok && e.Code != "57014" && !gone(err) || untouched(err)
}

// readLookup reads the results of one lookup; false if it was not answered.
func readLookup(results *pgconn.MultiResultReader, l *lookup, r *rawRow) bool {
	for i := range l.statements {
		if !results.NextResult() {
			return false
		}
		rows := results.ResultReader()
		r.fields = rows.FieldDescriptions()
		for rows.NextRow() {
			if r.values = rows.Values(); l.err == nil {
				l.err = l.row(i, r)
			}
		}
		if _, err := rows.Close(); err != nil {
			l.err = nil // err is what is told
			return false
		}
	}
	return true
}

// appendParams puts arguments in the form of texts.
func appendParams(to [][]byte, args []any) [][]byte {
	for _, arg := range args {
		var text []byte
		switch arg := arg.(type) {
		case string:
			text = append(make([]byte, 0, len(arg)), arg...)
		case int64:
			text = strconv.AppendInt(nil, arg, 10)
		case *string:
			if arg != nil {
				text = append(make([]byte, 0, len(*arg)), *arg...)
			}
		case *int64:
			if arg != nil {
				text = strconv.AppendInt(nil, *arg, 10)
			}
		}
		to = append(to, text)
	}
	return to
}

// rawRow is a row in binary form, as a pgx.Row.
type rawRow struct {
	fields []pgconn.FieldDescription
	values [][]byte
	buffer []byte
}

var _ pgx.Row = (*rawRow)(nil)

// Scan implements pgx.Row for texts, whole numbers and JSON. The texts of a row share their memory.
func (r *rawRow) Scan(into ...any) error {
	if len(into) != len(r.values) {
		return &scanError{"the number of columns"}
	}
	r.buffer = r.buffer[:0]
	optional := 0
	for i, v := range r.values {
		switch into[i].(type) { //nolint:gosec // as many as there are values
		case *string:
			r.buffer = append(r.buffer, v...)
		case **string:
			r.buffer = append(r.buffer, v...)
			optional++
		}
	}
	texts := string(r.buffer)
	pointers := make([]string, 0, optional)
	at := 0
	for i, v := range r.values {
		switch into := into[i].(type) { //nolint:gosec // as many as there are values
		case *string:
			if v == nil {
				return &scanError{r.fields[i].Name}
			}
			*into = texts[at : at+len(v)]
			at += len(v)
		case **string:
			if *into = nil; v != nil {
				pointers = append(pointers, texts[at:at+len(v)])
				*into = &pointers[len(pointers)-1]
				at += len(v)
			}
		case *int64:
			n, ok := wholeNumber(v)
			if !ok {
				return &scanError{r.fields[i].Name}
			}
			*into = n
		case **int64:
			if *into = nil; v != nil {
				n, ok := wholeNumber(v)
				if !ok {
					return &scanError{r.fields[i].Name}
				}
				*into = &n
			}
		case *[]byte:
			if r.fields[i].DataTypeOID == pgtype.JSONBOID && len(v) > 0 {
				v = v[1:] // after the version
			}
			*into = append([]byte(nil), v...)
		default:
			return &scanError{r.fields[i].Name}
		}
	}
	return nil
}

// wholeNumber reads a number of 16, 32 or 64 bits.
func wholeNumber(v []byte) (n int64, ok bool) {
	for _, b := range v {
		n = n<<8 | int64(b)
	}
	switch len(v) {
	case 2:
		return int64(int16(n)), true
	case 4:
		return int64(int32(n)), true
	}
	return n, len(v) == 8
}

// scanError: a column is not what was asked for.
type scanError struct{ column string }

func (e *scanError) Error() string { return "the database returned an unexpected value in " + e.column }
