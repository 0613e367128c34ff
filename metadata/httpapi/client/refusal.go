package client

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/mf-run/mf/metadata"
)

// refusal is the service's answer that it will not do something.
type refusal struct {
	base string
	// status is the HTTP status, code that of an httpapi.Problem or empty; message is in one line, and may be empty.
	status        int
	code, message string
	// secrets is whether credentials were sent, location where a redirect leads, size that of the request's body in bytes.
	secrets  bool
	location string
	size     int64
}

// Error implements error.
func (r *refusal) Error() string {
	switch {
	case r.status < 400:
		return fmt.Sprintf("the metadata service %s redirects to %s: set its URL to where the service is", r.base, r.location)
	case r.status == http.StatusUnauthorized && r.secrets:
		return fmt.Sprintf("the metadata service %s does not accept the token%s: set another as service-token "+
			"(MF_SERVICE_TOKEN) or as METAFLOW_SERVICE_AUTH_KEY", r.base, inBrackets(r.message))
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden && !r.secrets:
		return fmt.Sprintf("the metadata service %s wants a token%s: set one as service-token (MF_SERVICE_TOKEN), "+
			"or a key as METAFLOW_SERVICE_AUTH_KEY", r.base, inBrackets(r.message))
	case r.status == http.StatusForbidden:
		return fmt.Sprintf("the metadata service %s does not let this token do that%s: set one with more rights as "+
			"service-token (MF_SERVICE_TOKEN) or as METAFLOW_SERVICE_AUTH_KEY", r.base, inBrackets(r.message))
	case r.status == http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("the metadata service %s, or a proxy before it, does not take a request of %d bytes%s", r.base,
			r.size, inBrackets(r.message))
	case r.code == "not_found", r.code == "exists", r.code == "invalid", r.code == "invalid_tag":
		return r.message
	}
	return "the metadata service " + r.base + " answers " + r.text()
}

// text returns status and message.
func (r *refusal) text() string {
	text := fmt.Sprintf("HTTP %d", r.status)
	if name := http.StatusText(r.status); name != "" {
		text += " " + name
	}
	if r.message != "" {
		text += ": " + r.message
	}
	return text
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// Unwrap returns the error that the refusal is an instance of.
func (r *refusal) Unwrap() error {
	switch {
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden:
		return metadata.ErrDenied
	case r.status == http.StatusNotFound:
		return metadata.ErrNotFound
	case r.code == "invalid_tag", r.status == http.StatusUnprocessableEntity:
		return metadata.ErrInvalidTag
	case r.status == http.StatusConflict && r.code != "conflict":
		return metadata.ErrExists
	}
	return nil
}

// counts reports whether the answer shows that the service is well. Metaflow's service answers 400 and 500 to requests that
// it could not look into.
func (r *refusal) counts() bool {
	return r.status != http.StatusBadRequest && r.status < http.StatusInternalServerError
}

// refusedAs returns the refusal behind an error that has one of these statuses; nil if there is none.
func refusedAs(err error, statuses ...int) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		for _, s := range statuses {
			if r.status == s {
				return r
			}
		}
	}
	return nil
}
