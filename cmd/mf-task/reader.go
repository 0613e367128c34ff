package main

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/cmd/internal/reader"
)

// readCommand answers the Python client of a step, which ends it by closing its standard input.
func (p *program) readCommand(stdin io.Reader) *cobra.Command {
	return &cobra.Command{
		Use: reader.Command, Hidden: true, Short: "Read runs for the client inside a step", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host := reader.Host{
				In: stdin, Out: p.stdout, Env: p.env, Now: p.now, Warn: func(message string) { p.warn("%s", message) },
			}
			// A signal for the step and all that it has started is the step's to heed.
			return host.Run(context.WithoutCancel(cmd.Context()))
		},
	}
}

// withReader has the client ask this program, in the environment of the step and of the process that loads the flow.
func (w *work) withReader(env map[string]string) map[string]string {
	self, err := os.Executable()
	if err != nil {
		return env // the client says that it reads local metadata only
	}
	place := reader.Place{Command: []string{self, reader.Command}, Datastore: w.set.datastore, Service: w.set.service}
	if w.set.patience != 0 {
		place.Patience = w.set.patience.String()
	}
	env[reader.EnvPlace] = place.String()
	w.environ = append(slices.Clip(w.environ), reader.EnvPlace+"="+place.String())
	if user, ok := env["METAFLOW_USER"]; ok { // whose runs it shows
		w.environ = append(w.environ, "METAFLOW_USER="+user)
	}
	return env
}
