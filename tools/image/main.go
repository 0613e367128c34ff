// Command image makes container images from files, without a container engine, and pushes them.
//
//	image build -ref NAME -o OUT [-o OUT…] [flags]   write the image; OUT is an archive if it ends in .tar, else a layout folder
//	image push -from LAYOUT [-insecure] NAME         push a layout to a registry
//
// An archive is taken by "ctr images import", "skopeo copy oci-archive:…" and "docker load"; a layout by "crane push" and
// "skopeo copy oci:…". Both commands print what they made, by digest. Flags of build:
//
//	-platform linux/amd64[,linux/arm64]   one image each, in an index if there are several; this machine's on Linux by default
//	-root FILE.tar                        a first layer: a root file system, plain or gzipped
//	-file SOURCE:TARGET[:MODE]            a file; "{arch}" in SOURCE (and in -root) stands for the platform's; mode 755
//	-dir TARGET[:MODE]                    an empty folder; mode 755
//	-entrypoint WORD, -cmd WORD, -env NAME=VALUE, -label NAME=VALUE   each may be given several times
//	-user UID[:GID], -workdir DIR
//
// Two builds from the same files give the same bytes; SOURCE_DATE_EPOCH (seconds since 1970) is the time that the image
// carries, 0 by default. Credentials for a registry are those that docker login stored. To make a test's image with Python and
// a program, from the top of the repository:
//
//	go -C tools/image run . build -ref mf-test/python:1 -o /tmp/python.tar -root $PWD/.cache/roots/python.tar \
//	    -file $PWD/bin/mf-task:/usr/local/bin/mf-task -env PATH=/usr/local/bin:/usr/bin:/bin
//	ctr -n k8s.io images import /tmp/python.tar
//
// It is a module of its own: the product needs none of what this needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/mf-run/mf/tools/image/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// errUsage is a wrong command line, which has been told already.
var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, epoch string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "build" {
		return build(args[1:], epoch, stdout, stderr)
	}
	if len(args) > 0 && args[0] == "push" {
		return push(ctx, args[1:], stdout, stderr)
	}
	fmt.Fprintln(stderr, "usage: image build -ref NAME -o OUT [flags]\n       image push -from LAYOUT NAME")
	return errUsage
}

// list is a flag that may be given several times.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, " ") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

func build(args []string, epoch string, stdout, stderr io.Writer) error {
	var s image.Spec
	var outs, files, dirs, labels list
	flags := flag.NewFlagSet("image build", flag.ContinueOnError)
	flags.SetOutput(stderr)
	ref := flags.String("ref", "", "the image's `name`, with its tag")
	platforms := flags.String("platform", "linux/"+goruntime.GOARCH, "the platforms, separated by commas")
	flags.Var(&outs, "o", "where to write it: `FILE.tar` or a folder (repeatable)")
	flags.StringVar(&s.Root, "root", "", "a `tar` that is the first layer")
	flags.Var(&files, "file", "`SOURCE:TARGET[:MODE]` (repeatable)")
	flags.Var(&dirs, "dir", "`TARGET[:MODE]` (repeatable)")
	flags.Var((*list)(&s.Entrypoint), "entrypoint", "a `word` of the entrypoint (repeatable)")
	flags.Var((*list)(&s.Cmd), "cmd", "a `word` of the default command (repeatable)")
	flags.Var((*list)(&s.Env), "env", "`NAME=VALUE` (repeatable)")
	flags.Var(&labels, "label", "`NAME=VALUE` (repeatable)")
	flags.StringVar(&s.User, "user", "", "`UID[:GID]` of the processes")
	flags.StringVar(&s.WorkDir, "workdir", "", "the working `folder`")
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	if *ref == "" || len(outs) == 0 || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "image build needs -ref and -o, and takes no other arguments than flags")
		return errUsage
	}
	s.Platforms = strings.Split(*platforms, ",")
	var err error
	if s.Created, err = parseEpoch(epoch); err != nil {
		return err
	}
	if s.Files, err = parseFiles(files, dirs); err != nil {
		return err
	}
	if s.Labels, err = parseLabels(labels); err != nil {
		return err
	}
	index, err := image.Build(s)
	if err != nil {
		return err
	}
	for _, out := range outs {
		write := image.WriteLayout
		if strings.HasSuffix(out, ".tar") {
			write = image.WriteArchive
		}
		if err := write(out, *ref, index); err != nil {
			return err
		}
	}
	digest, err := image.Digest(index)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s %s\n", digest, *ref)
	return nil
}

func parseEpoch(text string) (time.Time, error) {
	if text == "" {
		return time.Unix(0, 0), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number of seconds", text)
	}
	return time.Unix(n, 0), nil
}

func parseFiles(files, dirs list) ([]image.File, error) {
	var all []image.File
	for _, text := range files {
		source, rest, ok := strings.Cut(text, ":")
		f, err := parseTarget(rest)
		if !ok || source == "" || err != nil {
			return nil, fmt.Errorf("-file %s is not SOURCE:TARGET or SOURCE:TARGET:MODE", text)
		}
		f.Source = source
		all = append(all, f)
	}
	for _, text := range dirs {
		f, err := parseTarget(text)
		if err != nil {
			return nil, fmt.Errorf("-dir %s is not TARGET or TARGET:MODE", text)
		}
		all = append(all, f)
	}
	return all, nil
}

// parseTarget reads "TARGET[:MODE]", the mode being octal.
func parseTarget(text string) (image.File, error) {
	target, mode, given := strings.Cut(text, ":")
	f := image.File{Target: target, Mode: 0o755}
	if given {
		n, err := strconv.ParseInt(mode, 8, 64)
		if err != nil || n < 0 || n > 0o7777 {
			return f, fmt.Errorf("%q is not a mode such as 755", mode)
		}
		f.Mode = n
	}
	return f, nil
}

func parseLabels(texts list) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("-label %s is not NAME=VALUE", text)
		}
		labels[key] = value
	}
	return labels, nil
}

func push(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image push", flag.ContinueOnError)
	flags.SetOutput(stderr)
	from := flags.String("from", "", "the layout's `folder`")
	insecure := flags.Bool("insecure", false, "speak plain HTTP")
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	if *from == "" || flags.NArg() != 1 {
		fmt.Fprintln(stderr, "image push needs -from and one name")
		return errUsage
	}
	index, err := image.ReadLayout(*from)
	if err != nil {
		return err
	}
	digest, err := image.Push(ctx, flags.Arg(0), index, image.PushOptions{Insecure: *insecure, Keychain: authn.DefaultKeychain})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, digest)
	return nil
}
