//go:build linux

// Command stack brings a real Kubernetes with Argo Workflows up and takes it usage: stack build|up|down again; see e2e/README.md.
//
//	stack build                           build what is missing of it, and start nothing
//	stack up [-crds full] [-max-pods N]   bring it up, and leave it up
//	stack down                            take it down, and remove all that it wrote
//	stack status                          whether one is up
//	stack load FILE.tar...                hand it images
//	stack image NAME ROOT.tar             make an image of a root file system, and hand it that
//	stack namespace NAME                  make a namespace in which flows can run
//	stack restart PART                    end a part the hard way and start it again, such as workflow-controller
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/mf-run/mf/e2e/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

const usage = "usage: stack up|down|status|load FILE...|image NAME ROOT.tar|namespace NAME|restart PART"

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	opt := cluster.Options{Log: stderr}
	flags.StringVar(&opt.CRDs, "crds", cluster.Minimal, "Argo's definitions: minimal or full")
	flags.IntVar(&opt.MaxPods, "max-pods", 0, "pods that run at once (default 16)")
	flags.StringVar(&opt.Repo, "repo", "", "the clone's folder (default: the present one)")
	if len(args) == 0 {
		return errors.New(usage)
	}
	verb := args[0]
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var err error
	if opt.Repo == "" {
		opt.Repo = "."
	}
	if opt.Repo, err = filepath.Abs(opt.Repo); err != nil {
		return err
	}
	switch verb {
	case "up":
		return up(ctx, opt, stdout, stderr)
	case "build":
		return cluster.Build(ctx, opt)
	case "serve":
		return cluster.Serve(ctx, opt, nil)
	case "down":
		was, err := cluster.Down(ctx, opt.Repo)
		if err == nil && !was {
			fmt.Fprintln(stderr, "no cluster is up")
		}
		return err
	}
	c, err := cluster.Attach(opt.Repo)
	if err != nil {
		return err
	}
	return use(ctx, c, verb, flags.Args(), stdout)
}

// up starts a process that owns the cluster and stays, and waits until the cluster is of use.
func up(ctx context.Context, opt cluster.Options, stdout, stderr io.Writer) error {
	if c, err := cluster.Attach(opt.Repo); err == nil {
		fmt.Fprintln(stderr, "a cluster is up already")
		tell(c, stdout)
		return nil
	} else if !errors.Is(err, cluster.ErrNotUp) {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	owner := exec.Command(program, "serve", "-repo", opt.Repo, "-crds", opt.CRDs, "-max-pods", fmt.Sprint(opt.MaxPods))
	log, err := os.Create(filepath.Join(opt.Repo, ".cache", "e2e", "up.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	owner.Stdout, owner.Stderr = log, log
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := owner.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = owner.Wait()
		close(done)
	}()
	follow, stop := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		copyGrowing(follow, stderr, log.Name())
		close(followed)
	}()
	c, err := cluster.Started(ctx, opt.Repo, done)
	stop()
	<-followed
	if err != nil {
		_ = owner.Process.Signal(syscall.SIGTERM)
		<-done
		return err
	}
	tell(c, stdout)
	return nil
}

// tell prints what a shell needs to use the cluster.
func tell(c *cluster.Cluster, stdout io.Writer) {
	fmt.Fprintf(stdout, "export KUBECONFIG=%s\n# down: make e2e-down\n", c.KubeConfig)
}

func use(ctx context.Context, c *cluster.Cluster, verb string, args []string, stdout io.Writer) error {
	switch {
	case verb == "status" && len(args) == 0:
		tell(c, stdout)
		return nil
	case verb == "load" && len(args) > 0:
		for _, file := range args {
			if err := c.LoadImage(ctx, file); err != nil {
				return err
			}
		}
		return nil
	case verb == "image" && len(args) == 2:
		return c.MakeImage(ctx, args[0], cluster.Spec{Root: args[1], Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}})
	case verb == "namespace" && len(args) == 1:
		return c.Namespace(ctx, args[0])
	case verb == "restart" && len(args) == 1:
		if err := c.Kill(ctx, args[0]); err != nil {
			return err
		}
		return c.Start(ctx, args[0])
	}
	return errors.New(usage)
}
