package main

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/cmd/internal/tokens"
)

// tokenFlags are the flags about the production token.
type tokenFlags struct {
	authorize, newToken string
	generate            bool
}

func (f *tokenFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.authorize, "authorize", "", "production token of what is deployed, where somebody else deployed it")
	fs.StringVar(&f.newToken, "new-token", "", "production token to deploy with from now on")
	fs.BoolVar(&f.generate, "generate-new-token", false, "deploy with a new production token")
}

// tokenStore is where production tokens are kept on this machine, and what those of the flow start with.
func (d *deploying) tokenStore() (store tokens.Store, prefix string, ofProject bool) {
	store.Dir = tokens.Home(d.app.env)
	project, _ := backends.ProjectOf(d.flow, d.opt)
	if project != nil {
		return store, tokens.ProjectPrefix(project.Name, project.Branch), true
	}
	if d.opt.Name != "" {
		return store, tokens.Prefix(d.opt.Name), false
	}
	return store, tokens.Prefix(d.flow.Name), false
}

// decideToken settles the production token, which the files carry, and compares with what is on the engine. The error is
// tokens.ErrNotOurs where that is somebody else's.
func (d *deploying) decideToken(ctx context.Context, flags tokenFlags) error {
	store, prefix, ofProject := d.tokenStore()
	stored := ""
	if store.Dir != "" {
		var err error
		if stored, err = store.Load(prefix); err != nil {
			return err
		}
	}
	d.opt.Token = stored
	if err := d.compare(ctx); err != nil {
		return err
	}
	decision, err := tokens.Decide(tokens.Request{
		Name: d.name, Prefix: prefix, Project: ofProject, Live: d.plan.Token, Owner: d.plan.Owner, User: d.opt.User, Stored: stored,
		Authorize: flags.authorize, Given: flags.newToken, Generate: flags.generate,
	})
	if errors.Is(err, tokens.ErrUsage) {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return err
	}
	d.messages = decision.Messages
	if !decision.Fresh {
		d.messages = nil
	}
	if decision.Token == d.opt.Token {
		return nil
	}
	d.opt.Token = decision.Token
	return d.compare(ctx)
}

// keepToken remembers the token that a deploy was done with.
func (d *deploying) keepToken() error {
	store, prefix, _ := d.tokenStore()
	if store.Dir == "" {
		return nil
	}
	return store.Save(prefix, d.opt.Token)
}
