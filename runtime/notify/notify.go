// Package notify tells people and other systems of a run: Slack, PagerDuty, a webhook of one's own, and Argo Events'.
//
// What comes in is what is to be said and where; what goes out are small JSON objects over HTTP. Addresses and keys are
// secrets: they reach no error and no message.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Poster posts JSON. The zero value is usable; it may be used concurrently.
type Poster struct {
	// Client makes the requests; nil for one of its own, that gives up a request after 20 seconds.
	Client *http.Client
	// Tries is how often what may pass is tried; 0 for 5.
	Tries int
	// Pause is how long to wait before the second try, and twice as long before each further one; 0 for a second.
	Pause time.Duration
}

const (
	defaultTries   = 5
	defaultPause   = time.Second
	requestTimeout = 20 * time.Second
	// maxAnswer is what is read of an answer, so that the connection can be used again.
	maxAnswer = 64 << 10
)

// StatusError is an answer that is no success.
type StatusError struct{ Code int }

// Error says so without the address.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.Code, http.StatusText(e.Code))
}

// passes reports whether trying again is of use.
func (e *StatusError) passes() bool {
	return e.Code == http.StatusRequestTimeout || e.Code == http.StatusTooManyRequests || e.Code >= 500
}

// Post posts the body as JSON and tries again what may pass. The error names no part of the address.
func (p *Poster) Post(ctx context.Context, address string, headers map[string]string, body any) error {
	if _, err := url.Parse(address); err != nil {
		return errors.New("the address is not a URL") // the error would show it
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	tries, pause := p.Tries, p.Pause
	if tries == 0 {
		tries = defaultTries
	}
	if pause == 0 {
		pause = defaultPause
	}
	for n := 1; ; n++ {
		err = p.once(ctx, address, headers, data)
		var status *StatusError
		if err == nil || ctx.Err() != nil || errors.As(err, &status) && !status.passes() {
			return err
		}
		if n == tries {
			return fmt.Errorf("%w (tried %d times)", err, n)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			pause *= 2
		}
	}
}

func (p *Poster) once(ctx context.Context, address string, headers map[string]string, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		return errors.New("the address is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mf-task")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	client := p.Client
	if client == nil {
		client = &http.Client{Timeout: requestTimeout}
	}
	answer, err := client.Do(req)
	if err != nil {
		return withoutAddress(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // what it says is not of interest
	if answer.StatusCode/100 != 2 {
		return &StatusError{answer.StatusCode}
	}
	return nil
}

// withoutAddress is the error less the URL that net/http puts around it.
func withoutAddress(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return errors.New("the server did not answer in time")
		}
		return u.Err
	}
	return err
}
