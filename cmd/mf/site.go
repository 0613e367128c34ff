package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/codepackage"
	"github.com/mf-run/mf/sdk"
)

// The kinds of metadata and datastore that runs made here go to.
const (
	kindAuto    = "auto"
	kindLocal   = "local"
	kindService = "service"
)

// metaStore is where the metadata of runs is.
type metaStore interface {
	metadata.Recorder
	metadata.Reader
}

// site is where the runs of a folder are: here, or in a datastore and a metadata service that a team shares.
type site struct {
	// home is the folder for what is kept here; root is the root of the datastore: an absolute path, or a URL.
	home, root string
	// service is the URL of the metadata service; empty when metadata is kept here.
	service string

	store *datastore.Store
	// meta is opened after store: what only looks for a run makes nothing.
	meta metaStore
	// heart is nil where metadata is kept here.
	heart metadata.Heart
	// reading is set for verbs that somebody waits for: they do not wait out an outage as a run does.
	reading bool
}

// readingPatience is how long a verb that only reads waits for what is away.
const readingPatience = 10 * time.Second

func (p *site) patience(setting time.Duration) time.Duration {
	if p.reading {
		return min(setting, readingPatience)
	}
	return setting
}

// here reports whether the datastore is on this machine.
func (p *site) here() bool { return filepath.IsAbs(p.root) }

// String says where the runs are.
func (p *site) String() string { return p.root }

func (p *site) close() {
	if c, ok := p.meta.(io.Closer); ok {
		c.Close()
	}
}

// site finds out where the runs of a folder are. It opens nothing.
func (c *config) site(dir string) (*site, error) {
	p := &site{}
	var err error
	if p.home, err = c.home(dir); err != nil {
		return nil, err
	}
	if p.root, err = c.sharedRoot(); err != nil {
		return nil, err
	}
	if p.root == "" {
		if p.root, err = c.datastoreRoot(dir); err != nil {
			return nil, err
		}
	}
	p.service, err = c.sharedService()
	return p, err
}

// given reports whether a setting is mf's own: not Metaflow's, where an address alone changes nothing, and no default.
func (c *config) given(key string) bool {
	v := c.values[key]
	return v.Text != "" && !v.metaflow
}

// sharedService is the URL of the metadata service that runs made here are recorded in; empty for none.
func (c *config) sharedService() (string, error) {
	url := c.get("service-url")
	switch c.get("default-metadata") {
	case kindAuto:
		if !c.given("service-url") {
			url = ""
		}
	case kindLocal:
		url = ""
	case kindService:
		if url == "" {
			return "", usagef("setting default-metadata is service, but service-url is not set")
		}
	default:
		return "", c.wrong("default-metadata", "auto, local or service")
	}
	return url, nil
}

// rootSettings are Metaflow's names for the roots of its kinds of datastore.
var rootSettings = map[string]string{
	"s3": "METAFLOW_DATASTORE_SYSROOT_S3", "gs": "METAFLOW_DATASTORE_SYSROOT_GS", "azure": "METAFLOW_DATASTORE_SYSROOT_AZURE",
}

// sharedRoot is the root of the datastore that runs made here go to; empty for the local one.
func (c *config) sharedRoot() (string, error) {
	root, kind := c.get("datastore"), c.get("default-datastore")
	switch kind {
	case kindLocal:
		return "", nil
	case kindAuto:
		if !c.given("datastore") {
			return "", nil
		}
		return root, nil
	}
	name, known := rootSettings[kind]
	if !known {
		return "", c.wrong("default-datastore", "auto, local, s3, gs or azure")
	}
	if c.given("datastore") {
		if !strings.HasPrefix(root, kind+"://") {
			return "", usagef("setting default-datastore is %s, but datastore is %s (from %s)", kind, root, c.values["datastore"].Source)
		}
		return root, nil
	}
	if root = c.env(name); root == "" {
		return "", usagef("setting default-datastore is %s, but neither datastore nor %s is set", kind, name)
	}
	if kind == "azure" && !strings.Contains(root, "://") {
		root = "azure://" + root
	}
	return root, nil
}

// options are those of what is opened in shared mode.
func (a *app) storeOptions(c *config) (stores.Options, error) {
	patience, err := time.ParseDuration(c.get("patience"))
	if err != nil || patience < 0 {
		return stores.Options{}, c.wrong("patience", "a duration such as 90s or 10m")
	}
	patience = max(patience, time.Millisecond) // for zero would be the default
	return stores.Options{Patience: patience, Now: a.now, Notify: func(message string) {
		fmt.Fprintf(a.stderr, "mf: %s\n", message)
	}}, nil
}

// openStore opens the datastore, which need not exist yet.
func (a *app) openStore(ctx context.Context, c *config, p *site) error {
	opt, err := a.storeOptions(c)
	if err != nil {
		return err
	}
	opt.Patience = p.patience(opt.Patience)
	backend, err := stores.OpenDatastore(ctx, p.root, c.env, opt)
	if err != nil {
		return fmt.Errorf("opening the datastore: %w", err)
	}
	p.store = datastore.New(backend)
	if err := p.store.CheckFormat(ctx); err != nil {
		return fmt.Errorf("opening the datastore: %w", err)
	}
	return nil
}

// metadataFile is the name of the database of what ran.
const metadataFile = "metadata.db"

// openMeta opens the metadata. What is kept here is made where it is not there yet.
func (a *app) openMeta(ctx context.Context, c *config, p *site) error {
	if p.service != "" {
		opt, err := a.storeOptions(c)
		if err != nil {
			return err
		}
		opt.Patience = p.patience(opt.Patience)
		service, err := stores.OpenService(p.service, c.env, opt)
		if err != nil {
			return fmt.Errorf("opening the metadata service: %w", err)
		}
		p.meta, p.heart = service, service
		return nil
	}
	dirs := []string{p.home}
	if p.here() {
		dirs = append(dirs, p.root)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the folder for runs: %w", err)
		}
	}
	db, err := sqlite.Open(ctx, filepath.Join(p.home, metadataFile), sqlite.Options{Now: a.now})
	if err != nil {
		return err
	}
	p.meta = db
	return nil
}

// taskEnv lets Metaflow's own client, used inside a step, find this run.
func (p *site) taskEnv(c *config, user string) map[string]string {
	env := map[string]string{"METAFLOW_USER": user, "METAFLOW_DEFAULT_METADATA": kindLocal, "METAFLOW_DEFAULT_DATASTORE": kindLocal}
	p.setReader(c, env)
	if p.service != "" {
		env["METAFLOW_DEFAULT_METADATA"], env["METAFLOW_SERVICE_URL"] = kindService, p.service
		if token := cmp.Or(c.get("service-token"), c.env("METAFLOW_SERVICE_AUTH_KEY")); token != "" {
			env["METAFLOW_SERVICE_AUTH_KEY"] = token
		}
	} else {
		env["MF_METADATA_DB"] = filepath.Join(p.home, metadataFile)
	}
	if p.here() {
		env["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = filepath.Dir(p.root)
		return env
	}
	backend := p.store.Backend()
	env["METAFLOW_DEFAULT_DATASTORE"] = backend.Type()
	env[rootSettings[backend.Type()]] = backend.Root()
	return env
}

// publish puts the flow's code into the shared datastore, where the client's Run.code and the tasks of other machines find
// it. A run here alone does not need it: a folder that is too large to travel is a warning then.
func (s *session) publish(ctx context.Context, r *runtime.Run) error {
	if s.here() {
		return nil
	}
	text, err := ir.Marshal(s.flow)
	if err != nil {
		return fmt.Errorf("packaging the code: %w", err)
	}
	published, err := codepackage.Publish(ctx, s.store, s.flow.Name, s.arg.dir(), codepackage.Options{
		Entry: filepath.Base(s.arg.path), IR: text, MFVersion: version, SDKDigest: sdk.Digest(), TempDir: r.TempDir,
		// Nothing that differs from one user or machine to the next: the same code is stored once.
		Info: codepackage.Info{EnvironmentType: "local", MetaflowVersion: runtime.MetaflowVersion},
	})
	var large *codepackage.TooLargeError
	var many *codepackage.TooManyError
	if s.ship == nil && (errors.As(err, &large) || errors.As(err, &many)) {
		fmt.Fprintf(s.app.stderr, "mf: the code is not kept with the run: %v\n", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("packaging the code: %w", err)
	}
	if s.ship != nil {
		s.ship.jobs.SetPackage(published.Code.Sha)
		if !s.app.flags.quiet && !s.flags.json {
			fmt.Fprintf(s.app.stderr, "mf: %s\n", s.describeShipping())
			fmt.Fprintf(s.app.stderr, "mf: code package %s: %s, %s\n", published.Code.Sha[:10],
				plural(len(published.Listing.Files), "file"), plural(int(published.Size), "byte"))
		}
	}
	r.Rows.CodePackage, r.Code = &published.Code, codepackage.TaskCode(published.Code)
	return nil
}
