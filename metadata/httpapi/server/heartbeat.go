package server

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// heartbeatBody is what every heartbeat is answered with: a JSON text encoded once more.
const heartbeatBody = `"{\"wait_time_in_seconds\": 10}"`

func (s *Server) heartbeatRun(x *exchange) {
	k := x.key()
	beat, err := s.conf.DB.HeartbeatRun(x.ctx, k, s.conf.Now().Unix())
	if err == nil && !beat {
		_, err = s.conf.DB.Run(x.ctx, k)
	}
	x.answerBeat(err)
}

func (s *Server) heartbeatTask(x *exchange) {
	k := x.key()
	beat, err := s.conf.DB.HeartbeatTask(x.ctx, k, s.conf.Now().Unix())
	if err == nil && !beat {
		_, err = s.conf.DB.Task(x.ctx, k)
	}
	x.answerBeat(err)
}

// answerBeat answers a heartbeat: 404 for what does not exist, but 200 for one that is fresh, which Metaflow's service
// calls not found too. Its client would try again and again.
func (x *exchange) answerBeat(err error) {
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		x.reset(http.StatusNotFound)
	case err != nil:
		x.fail(err)
		return
	}
	x.out = append(x.out, heartbeatBody...)
}

const versionTag = "metaflow_version:"

// beats reports whether a client that sends these system tags beats the hearts of what it registers, by the version it
// tells. As with Metaflow's service, no tags at all, and versions that are none, count as yes; a list without a
// version as no.
func beats(system tables.JSON) bool {
	switch kind(system) {
	case '[':
	case '{', '"':
		return false
	default:
		return true
	}
	version, odd := "", false
	eachElement(system, func(v []byte) bool {
		if v[0] != '"' {
			odd = true
			return false
		}
		if text := unquote(v); version == "" && strings.HasPrefix(text, versionTag) {
			version = text
		}
		return true
	})
	switch {
	case odd:
		return true
	case version == "":
		return false
	}
	// As Metaflow's service does it: not the tag is taken off, but every character of it, from the left.
	release := parseRelease(strings.TrimLeftFunc(version, func(r rune) bool { return strings.ContainsRune(versionTag, r) }))
	switch {
	case release == nil:
		return true
	case atLeast(release, 1) && !atLeast(release, 2):
		return atLeast(release, 1, 14)
	}
	return atLeast(release, 2, 2, 12)
}

// parseRelease reads the numbers that a version begins with; nil for none. A number that begins with a zero is zero,
// and the last one if more digits follow.
func parseRelease(text string) (release []uint64) {
	for {
		n := 0
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		if n == 0 {
			return release
		}
		if text[0] == '0' {
			n = 1
		}
		v, _ := strconv.ParseUint(text[:n], 10, 64) // a number beyond is the greatest
		release = append(release, v)
		if text = text[n:]; text == "" || text[0] != '.' {
			return release
		}
		text = text[1:]
	}
}

func atLeast(release []uint64, than ...uint64) bool {
	for i, want := range than {
		var have uint64
		if i < len(release) {
			have = release[i]
		}
		if have != want {
			return have > want
		}
	}
	return true
}
