package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/cmd/internal/reader"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/sqlite"
)

// readCommand answers the Python client of a step, which ends it by closing its standard input.
func (a *app) readCommand() *cobra.Command {
	return &cobra.Command{
		Use: reader.Command, Hidden: true, Short: "Read runs for the client inside a step", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// What Metaflow's file says of datastores and services counts here as it does for the run.
			metaflow, _, err := a.metaflowConfig()
			if err != nil {
				return err
			}
			host := reader.Host{
				In: a.stdin, Out: a.stdout, Now: a.now,
				Env: func(name string) string {
					if text, ok := a.lookupEnv(name); ok {
						return text
					}
					return metaflow[name]
				},
				Warn: func(message string) { fmt.Fprintf(a.stderr, "mf: %s\n", message) },
				Database: func(ctx context.Context, path string) (metadata.Reader, error) {
					return sqlite.Open(ctx, path, sqlite.Options{Now: a.now})
				},
			}
			// A signal for the step and all that it has started is the step's to heed.
			return host.Run(context.WithoutCancel(cmd.Context()))
		},
	}
}

// readerEnv adds to the environment of a flow's process what the client needs while the flow is loaded.
func (s *session) readerEnv(environ []string) []string {
	p, err := s.config.site(s.arg.dir())
	if err != nil {
		return environ // told when the run is about to start
	}
	env := map[string]string{}
	p.setReader(s.config, env)
	place, ok := env[reader.EnvPlace]
	if !ok {
		return environ
	}
	environ = append(environ, reader.EnvPlace+"="+place)
	if place != "" {
		environ = append(environ, "METAFLOW_USER="+s.app.userName(s.config)) // whose runs it shows
	}
	return environ
}

// setReader has the client inside a step ask this program where it cannot read by itself.
func (p *site) setReader(c *config, env map[string]string) {
	if p.service == "" && p.here() {
		if _, inherited := c.lookup(reader.EnvPlace); inherited {
			env[reader.EnvPlace] = "" // that of a run around this one
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		return // the client says that it reads local metadata only
	}
	place := reader.Place{
		Command: []string{self, reader.Command}, Datastore: p.root, Service: p.service, Patience: c.get("patience"),
	}
	if p.service == "" {
		place.Database = filepath.Join(p.home, metadataFile)
	}
	if place.CA = c.get("service-ca"); place.CA != "" {
		if abs, err := filepath.Abs(place.CA); err == nil {
			place.CA = abs
		}
	}
	env[reader.EnvPlace] = place.String()
}
