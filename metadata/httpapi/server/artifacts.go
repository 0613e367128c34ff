package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/mf-run/mf/metadata/tables"
)

// maxRows bounds the rows of one request.
const maxRows = 100_000

const noParent = "need to register run_id and task_id first"

func metadatumPlace(m *tables.Metadatum) tables.Cursor {
	return tables.Cursor{TsEpoch: m.TsEpoch, ID: m.ID}
}

func (s *Server) taskMetadata(x *exchange) {
	page, ok := x.pageOf(metadataCursor, false)
	if !ok {
		return
	}
	rows, err := s.conf.DB.TaskMetadata(x.ctx, x.key(), page)
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendList(x.out, cut(x, metadataCursor, page, rows, metadatumPlace), appendMetadatum)
}

func (s *Server) runMetadata(x *exchange) {
	page, ok := x.pageOf(metadataCursor, false)
	if !ok {
		return
	}
	rows, err := s.conf.DB.RunMetadata(x.ctx, x.key(), page)
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendList(x.out, cut(x, metadataCursor, page, rows, metadatumPlace), appendMetadatum)
}

func (s *Server) addMetadata(x *exchange) {
	var rows []tables.Metadatum
	good := x.eachRow(func(row []byte) {
		m := tables.Metadatum{FieldName: " ", Value: " ", Type: " "}
		bad := false
		text := func(v []byte) string {
			t, null, ok := scalar(v)
			bad = bad || null || !ok
			return t
		}
		eachMember(row, func(name string, v []byte) {
			switch name {
			case "field_name":
				m.FieldName = text(v)
			case "value":
				m.Value = text(v)
			case "type":
				m.Type = text(v)
			case "user_name":
				m.UserName = nullable(v, &bad)
			case "tags":
				m.Tags = column(v)
			case "system_tags":
				m.SystemTags = column(v)
			}
		})
		if !bad {
			rows = append(rows, m)
		}
	})
	if x.status != http.StatusOK {
		return
	}
	n, err := s.conf.DB.AddMetadata(x.ctx, x.key(), rows)
	x.answerCount(`{"metadata_created":`, n, good, err)
}

func (s *Server) addArtifacts(x *exchange) {
	var rows []tables.Artifact
	blank := " "
	good := x.eachRow(func(row []byte) {
		a := tables.Artifact{Name: " ", Location: " ", DsType: " ", Sha: &blank, Type: &blank, ContentType: &blank, UserName: &blank}
		bad := false
		text := func(v []byte) string {
			t, null, ok := scalar(v)
			bad = bad || null || !ok
			return t
		}
		eachMember(row, func(name string, v []byte) {
			switch name {
			case "name":
				a.Name = text(v)
			case "location":
				a.Location = text(v)
			case "ds_type":
				a.DsType = text(v)
			case "sha":
				a.Sha = nullable(v, &bad)
			case "type":
				a.Type = nullable(v, &bad)
			case "content_type":
				a.ContentType = nullable(v, &bad)
			case "user_name":
				a.UserName = nullable(v, &bad)
			case "attempt_id":
				n, err := strconv.ParseInt(text(v), 10, 16)
				a.AttemptID, bad = n, bad || err != nil
			case "tags":
				a.Tags = column(v)
			case "system_tags":
				a.SystemTags = column(v)
			}
		})
		if !bad {
			rows = append(rows, a)
		}
	})
	if x.status != http.StatusOK {
		return
	}
	n, err := s.conf.DB.AddArtifacts(x.ctx, x.key(), rows)
	x.answerCount(`{"artifacts_created":`, n, good, err)
}

// nullable reads a text that may be null.
func nullable(v []byte, bad *bool) *string {
	text, null, ok := scalar(v)
	if *bad = *bad || !ok; null {
		return nil
	}
	return &text
}

// eachRow calls f with the objects of the body's array. It returns false when the body is no array of objects, which
// counts only after the parent has been looked up; where the answer is certain x holds it.
func (x *exchange) eachRow(f func(row []byte)) (good bool) {
	if err := checkJSON(x.body); err != nil {
		x.page(http.StatusInternalServerError, err.Error())
		return false
	}
	good = kind(skipSpace(x.body)) == '['
	n := 0
	eachElement(x.body, func(row []byte) bool {
		n++
		if good = row[0] == '{'; good && n <= maxRows {
			f(row)
		}
		return good
	})
	if n > maxRows {
		x.message(http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d rows in one request: send them in parts", maxRows))
	}
	return good
}

// answerCount answers with the number of rows that were added.
func (x *exchange) answerCount(member string, n int, good bool, err error) {
	switch {
	case errors.Is(err, tables.ErrNoParent):
		x.object(http.StatusBadRequest, noParent)
	case err != nil:
		x.fail(err)
	case !good:
		x.page(http.StatusInternalServerError, "the body is no array of JSON objects")
	default:
		x.out = append(strconv.AppendInt(append(x.out, member...), int64(n), 10), '}')
	}
}

func (s *Server) listArtifacts(x *exchange) {
	page, ok := x.pageOf(artifactCursor, false)
	if !ok {
		return
	}
	rows, err := s.conf.DB.Artifacts(x.ctx, x.key(), page)
	if err != nil {
		x.fail(err)
		return
	}
	rows = cut(x, artifactCursor, page, rows, func(a *tables.Artifact) tables.Cursor {
		return tables.Cursor{TsEpoch: a.TsEpoch, ID: a.TaskID, Name: a.Name}
	})
	x.out = appendList(x.out, rows, appendArtifact)
}

// getArtifact serves both the latest attempt and a certain one.
func (s *Server) getArtifact(x *exchange) {
	var attempt *int64
	if len(x.args) > 5 {
		n, err := strconv.ParseInt(x.arg(5), 10, 64)
		if err != nil {
			x.fail(badAttempt(x.arg(5)))
			return
		}
		attempt = &n
	}
	a, err := s.conf.DB.Artifact(x.ctx, x.key(), x.arg(4), attempt)
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendArtifact(x.out, &a)
}

func (s *Server) attemptArtifacts(x *exchange) {
	k := x.key()
	n, err := strconv.ParseInt(x.arg(4), 10, 64)
	if err != nil {
		rows, err := s.conf.DB.Artifacts(x.ctx, k, nil)
		switch {
		case err != nil:
			x.fail(err)
		case len(rows) == 0:
			x.out = append(x.out, "[]"...)
		default:
			x.page(http.StatusInternalServerError, badAttempt(x.arg(4)).Message)
		}
		return
	}
	rows, err := s.conf.DB.ArtifactsOfAttempt(x.ctx, k, n)
	if err != nil {
		x.fail(err)
		return
	}
	x.out = appendList(x.out, rows, appendArtifact)
}

func badAttempt(text string) *tables.Error {
	return &tables.Error{Code: "22P02", Severity: "ERROR", Message: fmt.Sprintf("invalid input syntax for type smallint: %q", text)}
}
