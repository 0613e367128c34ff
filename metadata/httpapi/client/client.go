// Package client records and reads metadata over a metadata service: mf's own, whose routes take a whole phase of a task's
// life in one request, or Metaflow's, one object at a time.
//
// A Client waits out an outage of the service, so that its callers need not know of one: a call that gets no answer is
// repeated until Options.Patience is over. Only then does it fail, with metadata.ErrUnavailable.
package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
)

// Options say where the service is and how to talk to it.
type Options struct {
	// URL is where the service's routes begin, such as "https://metadata.example.com/prefix". A user and password in it are
	// sent as basic authentication, and never told to anybody else.
	URL string
	// Headers are sent with every request.
	Headers map[string]string
	// Token is sent as a bearer token, APIKey as the x-api-key that Metaflow's clients send. Either may be empty.
	Token, APIKey string
	// CAFile is a file of PEM certificates that are trusted beside the system's; empty for none. Not with HTTP.
	CAFile string
	// Patience is how long a call waits out an outage: 10 minutes when zero; below zero each call is tried once. It counts
	// from the beginning of the outage for all calls together.
	Patience time.Duration
	// HTTP sends the requests; nil is a client tuned for the purpose. Redirects are not followed, whatever it says.
	HTTP *http.Client
	// Now tells the time; time.Now when nil.
	Now func() time.Time
	// Notify is told, in one line without secrets, when an outage begins and when it is over; nil for nobody. It is called
	// from several goroutines, never by two at once, and must not call the client.
	Notify func(string)
}

// DefaultPatience is the Options.Patience of those who do not say.
const DefaultPatience = 10 * time.Minute

// Client is a connection to a metadata service. It is safe for concurrent use. Close is not needed.
//
// Over Metaflow's service it keeps what that service can: a run's status, finish time, failure and origin and the times of
// rows are not recorded there, and a batch is not written as a whole. Tasks whose id is a number are taken to exist, for the
// service mints these itself.
type Client struct {
	// base is the URL without user and trailing slash; it is shown in errors.
	base     string
	headers  http.Header
	host     string // if not empty, sent as Host
	secrets  bool   // whether credentials are sent
	patience time.Duration
	http     *http.Client
	now      func() time.Time
	sleep    func(context.Context, time.Duration) error
	outage   *outage
	// beatTimeout is how long the service has to answer a heartbeat.
	beatTimeout time.Duration

	service service
	// steps are those known to exist, so that Metaflow's service is not asked again.
	steps sync.Map
}

var (
	_ metadata.Recorder   = (*Client)(nil)
	_ metadata.Reader     = (*Client)(nil)
	_ metadata.TaskMinter = (*Client)(nil)
	_ metadata.Heart      = (*Client)(nil)
)

// New returns a client. It sends nothing yet.
func New(o Options) (*Client, error) {
	base, user, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	c := &Client{
		base: base, headers: http.Header{}, patience: o.Patience, now: o.Now, sleep: sleep, beatTimeout: beatTimeout,
		service: service{probing: make(chan struct{}, 1)},
	}
	if c.patience == 0 {
		c.patience = DefaultPatience
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.outage = &outage{base: base, patience: c.patience, notify: o.Notify}
	if c.http, err = httpClient(o.HTTP, o.CAFile); err != nil {
		return nil, err
	}
	return c, c.setHeaders(o, user)
}

// parseURL returns the URL without its user, and the user.
func parseURL(text string) (string, *url.Userinfo, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case text == "":
		return "", nil, errors.New("the metadata service has no URL")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", nil, fmt.Errorf("the metadata service's URL%s must be like https://host:port", shown(text))
	case u.RawQuery != "" || u.Fragment != "":
		return "", nil, fmt.Errorf("the metadata service's URL%s must have no ? and no #", shown(text))
	}
	user := u.User
	u.User = nil
	return strings.TrimRight(u.String(), "/"), user, nil
}

// shown quotes a URL unless it may hold a password.
func shown(text string) string {
	if strings.Contains(text, "@") {
		return ""
	}
	return fmt.Sprintf(" %q", text)
}

func (c *Client) setHeaders(o Options, user *url.Userinfo) error {
	set := func(name, value string) error {
		if !validName(name) || !validValue(value) {
			return fmt.Errorf("the metadata service's header %q has characters that a header cannot have", name)
		}
		c.headers.Set(name, value)
		return nil
	}
	if err := set("User-Agent", "mf"); err != nil {
		return err
	}
	if user != nil {
		password, _ := user.Password()
		c.headers.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	for name, value := range o.Headers {
		if strings.EqualFold(name, "Host") {
			c.host = value
		} else if err := set(name, value); err != nil {
			return err
		}
	}
	if o.APIKey != "" {
		if err := set("X-Api-Key", strings.TrimSpace(o.APIKey)); err != nil {
			return err
		}
	}
	if o.Token != "" {
		if err := set("Authorization", "Bearer "+strings.TrimSpace(o.Token)); err != nil {
			return err
		}
	}
	c.secrets = c.headers.Get("Authorization") != "" || c.headers.Get("X-Api-Key") != ""
	return nil
}

// validName reports whether a text may be a header's name; the transport would refuse it anew at every try.
func validName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) < 0
}

func validValue(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// URL is where the service is, without user and password.
func (c *Client) URL() string { return c.base }

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
