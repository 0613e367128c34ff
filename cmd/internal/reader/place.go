// Package reader answers the questions of the Python client, used inside a step, about runs that a team shares.
//
// The client's process starts the program once, with a hidden command, and talks to it over stdin and stdout (Serve).
// What the client knows of metadata services and object stores is how to ask: all that reaches them is Go.
package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
)

// Command is the name of the hidden command that serves.
const Command = "__read"

// EnvPlace tells a step's process where the runs are and how to read them: a Place as JSON.
const EnvPlace = "MF_READER"

// Place is where runs are. It holds no secrets: these are in the environment already.
type Place struct {
	// Command is the program that reads, with its arguments.
	Command []string `json:"command"`
	// Datastore is the root of the datastore: a URL, or an absolute path.
	Datastore string `json:"datastore"`
	// Service is the URL of the metadata service, Database the path of a SQLite database in its place; both are empty
	// where nothing but the datastore says what ran.
	Service  string `json:"service,omitempty"`
	Database string `json:"database,omitempty"`
	// Patience is how long outages are waited out, such as "10m0s"; empty for the default.
	Patience string `json:"patience,omitempty"`
	// CA is a file of certificates to trust for the service; empty for what the environment says.
	CA string `json:"ca,omitempty"`
}

// String returns the place as the value of EnvPlace.
func (p Place) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic("bug in mf: a place cannot be written: " + err.Error())
	}
	return string(text)
}

// ParsePlace reads what String wrote.
func ParsePlace(text string) (Place, error) {
	if text == "" {
		return Place{}, fmt.Errorf("%s is not set; mf sets it for the steps of a run", EnvPlace)
	}
	var p Place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Place{}, fmt.Errorf("%s is not what mf made it: %w", EnvPlace, err)
	}
	if p.Datastore == "" {
		return Place{}, fmt.Errorf("%s names no datastore", EnvPlace)
	}
	return p, nil
}

// Host is the program around a reader.
type Host struct {
	In  io.Reader
	Out io.Writer
	// Env reads an environment variable; empty means unset.
	Env func(name string) string
	// Warn prints a line for the user.
	Warn func(message string)
	Now  func() time.Time
	// Database opens a SQLite database; nil in a program that has none.
	Database func(ctx context.Context, path string) (metadata.Reader, error)
}

// Run serves the place that the environment names, until the client goes away. Why a place cannot be read is told to the
// client.
func (h Host) Run(ctx context.Context) error {
	p, err := ParsePlace(h.Env(EnvPlace))
	if err != nil {
		return err
	}
	s, err := h.open(ctx, p)
	if err != nil {
		return refuse(h.In, h.Out, fmt.Errorf("runs cannot be read: %w", err))
	}
	if c, ok := s.meta.(io.Closer); ok {
		defer c.Close()
	}
	return Serve(ctx, h.In, h.Out, s.store, s.meta, s.opt)
}

// open opens a place.
func (h Host) open(ctx context.Context, p Place) (*server, error) {
	env := func(name string) string {
		if name == stores.EnvServiceCA && p.CA != "" {
			return p.CA
		}
		return h.Env(name)
	}
	opt := stores.Options{Now: h.Now, Notify: h.Warn}
	if p.Patience != "" {
		var err error
		if opt.Patience, err = time.ParseDuration(p.Patience); err != nil {
			return nil, fmt.Errorf("%s: patience: %w", EnvPlace, err)
		}
	}
	open := func(ctx context.Context, root string) (*datastore.Store, error) {
		backend, err := stores.OpenDatastore(ctx, root, env, opt)
		if err != nil {
			return nil, fmt.Errorf("opening the datastore: %w", err)
		}
		return datastore.New(backend), nil
	}
	store, err := open(ctx, p.Datastore)
	if err != nil {
		return nil, err
	}
	meta, err := h.metadata(ctx, p, env, opt)
	if err != nil {
		return nil, err
	}
	return &server{store: store, meta: meta, opt: Options{Open: open}}, nil
}

func (h Host) metadata(ctx context.Context, p Place, env func(string) string, opt stores.Options) (metadata.Reader, error) {
	switch {
	case p.Service != "":
		service, err := stores.OpenService(p.Service, env, opt)
		if err != nil {
			return nil, fmt.Errorf("opening the metadata service: %w", err)
		}
		return service, nil
	case p.Database != "" && h.Database != nil:
		return h.Database(ctx, p.Database)
	}
	return nil, errors.New("no metadata service is known; MF_SERVICE_URL names it")
}
