//go:build linux

// Command datastore compares putting and getting artifacts with Metaflow's own datastore code, on local disk and on an S3
// server that it starts, and with what that server does for a bare HTTP client: one large artifact of random floats, one
// of text, and many small ones. Each measurement is a process of its own; the sides take turns.
//
// The bare client moves the artifact's bytes as they are, neither packed nor split, the large ones as one stream and in
// parts at once; the faster counts. It does so without their SHA-1, which is all that the server can do, and with it,
// taken before a put, as a key that is the digest requires, and during a get: what a store that checks can reach at most.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed metaflow.py
var script string

// cost is what one measurement prints.
type cost struct {
	Wall  float64 `json:"wall"` // seconds
	CPU   float64 `json:"cpu"`  // seconds, its child processes included
	Bytes int64   `json:"bytes"`
	// RSS is the process's peak resident memory, in bytes. The kernel's other measure of it starts at the parent's.
	RSS int64 `json:"rss"`
}

type bench struct {
	dir, python, endpoint string
	env                   []string
	rounds, theirRounds   int
	buckets               int
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	size := flag.String("size", "1GiB", "size of the large artifacts")
	count := flag.Int("count", 10_000, "number of small artifacts, of 1 KiB each")
	memory := flag.String("memory", "4GiB", "size of the artifact whose memory is measured; 0 leaves it out")
	rounds := flag.Int("rounds", 3, "times that mf and the bare client are measured; the median counts")
	theirs := flag.Int("metaflow-rounds", 1, "times that Metaflow is measured; 0 leaves it out")
	python := flag.String("python", ".cache/venv-metaflow/bin/python", "a Python that has Metaflow and boto3")
	server := flag.String("server", ".cache/servers/versitygw", "the S3 server")
	dir := flag.String("dir", "", "folder to work in; empty for the system's")
	flag.Parse()
	if err := run(*size, *memory, *python, *server, *dir, *count, *rounds, *theirs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(size, memory, python, server, parent string, count, rounds, theirs int) error {
	large, err := parseSize(size)
	if err != nil {
		return err
	}
	huge, err := parseSize(memory)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, "mf-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	if python, err = filepath.Abs(python); err != nil {
		return err
	}
	b := &bench{dir: dir, python: python, rounds: rounds, theirRounds: theirs}
	stop, err := b.serve(server)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%d cores, which the S3 server shares; MB are 10^6 bytes of the artifacts\n\n", runtime.NumCPU())
	fmt.Println("faster: than Metaflow, to reach 3x; of server: of what a bare client reaches, to reach 80% on the large ones; checked: of that with SHA-1")
	fmt.Printf("%-28s %27s %28s %7s %13s %13s\n", "", "mf", "Metaflow", "faster", "of server", "checked")
	for _, w := range []struct {
		name  string
		count int
		write func(io.Writer) error
	}{
		{size + " of floats", 1, func(f io.Writer) error { return floats(f, large) }},
		{size + " of text", 1, func(f io.Writer) error { return text(f, large) }},
		{fmt.Sprintf("%d of 1 KiB", count), count, func(f io.Writer) error { return floats(f, int64(count)<<10) }},
	} {
		if err := b.compare(w.name, w.count, w.write); err != nil {
			return err
		}
	}
	if huge > 0 {
		if err := b.memory(memory, huge); err != nil {
			return err
		}
	}
	fmt.Printf("%.0f s in all\n", time.Since(began).Seconds())
	return nil
}

func parseSize(s string) (int64, error) {
	for unit, shift := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "": 0} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 {
				return n << shift, nil
			}
		}
	}
	return 0, fmt.Errorf("invalid size %q: want a number and KiB, MiB or GiB", s)
}

// serve starts the S3 server.
func (b *bench) serve(server string) (stop func(), err error) {
	root := filepath.Join(b.dir, "buckets")
	if err := os.Mkdir(root, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(server, "--port", address, "--access", "bench", "--secret", "bench-secret", "--region", "us-east-1", "--keep-alive", "--quiet", "posix", root)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the S3 server, which scripts/test-setup.sh brings: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			b.endpoint = "http://" + address
			b.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "LANG=C.UTF-8", "TMPDIR=" + b.dir, "METAFLOW_USER=bench",
				"METAFLOW_S3_ENDPOINT_URL=" + b.endpoint, "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench-secret",
				"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1"}
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("the S3 server does not come up: %s", out.String())
}

// root makes a new, empty datastore. One of many files goes at the end: ext4 makes new files slowly for minutes after
// many were deleted.
func (b *bench) root(kind string, count int) (string, func(), error) {
	b.buckets++
	name := fmt.Sprintf("bench%d", b.buckets)
	dir := filepath.Join(b.dir, "buckets", name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", nil, err
	}
	remove := func() {
		if count == 1 {
			os.RemoveAll(dir)
		}
	}
	if kind == "s3" {
		return "s3://" + name + "/root", remove, nil
	}
	return filepath.Join(dir, ".metaflow"), remove, nil
}

// The sides.
const (
	ours     = "mf"
	metaflow = "Metaflow"
	parts    = "parts" // of the bare client
)

// plains are the ways of the bare client.
var plains = map[string]plain{
	parts: {}, "stream": {stream: true}, "parts, checked": {sum: true}, "stream, checked": {stream: true, sum: true},
}

// sides are those that take part, in turns.
func sides(kind string, count int) []string {
	switch {
	case kind == "local":
		return []string{ours, metaflow}
	case count > 1:
		return []string{ours, metaflow, parts}
	}
	return []string{ours, parts, "parts, checked", metaflow, "stream", "stream, checked"}
}

// compare measures one kind of artifacts on both kinds of stores and prints a row for each.
func (b *bench) compare(name string, count int, write func(io.Writer) error) error {
	file := filepath.Join(b.dir, "data")
	if err := writeFile(file, write); err != nil {
		return err
	}
	defer os.Remove(file)
	for _, kind := range []string{"local", "s3"} {
		costs := map[string][]cost{} // by "put mf" and so on
		for round := range max(b.rounds, b.theirRounds) {
			for _, side := range sides(kind, count) {
				rounds := b.rounds
				if side == metaflow {
					rounds = b.theirRounds
				}
				if round >= rounds {
					continue
				}
				if err := b.side(costs, side, kind, file, count); err != nil {
					return err
				}
			}
		}
		for _, what := range []string{"put", "get"} {
			row(what+" "+name+", "+kind, median(costs[what+ours]), median(costs[what+metaflow]), best(costs, what, false), best(costs, what, true))
		}
	}
	return nil
}

func (b *bench) side(costs map[string][]cost, side, kind, file string, count int) error {
	root, remove, err := b.root(kind, count)
	if err != nil {
		return err
	}
	defer remove()
	keys := filepath.Join(b.dir, "keys")
	for _, what := range []string{"put", "get"} {
		c, err := b.measure(side, what, kind, root, keys, file, strconv.Itoa(count))
		if err != nil {
			return fmt.Errorf("%s: %s on %s: %w", side, what, kind, err)
		}
		costs[what+side] = append(costs[what+side], c)
	}
	return nil
}

// measure runs one measurement in a process of its own.
func (b *bench) measure(side string, args ...string) (cost, error) {
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	cmd := exec.Command(self, append([]string{"-child", side}, args...)...)
	if side == metaflow {
		cmd = exec.Command(b.python, append([]string{"-c", script}, args...)...)
	}
	cmd.Env, cmd.Dir = b.env, b.dir
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%w\n%s", err, problems.String())
	}
	var c cost
	if err := json.Unmarshal(bytes.TrimSpace(out.Bytes()), &c); err != nil {
		return cost{}, fmt.Errorf("it printed %q: %w", out.String(), err)
	}
	return c, nil
}

func median(costs []cost) cost {
	if len(costs) == 0 {
		return cost{}
	}
	costs = slices.SortedFunc(slices.Values(costs), func(a, b cost) int { return int(math.Copysign(1, a.Wall-b.Wall)) })
	return costs[len(costs)/2]
}

// best is the median of the bare client's faster way.
func best(costs map[string][]cost, what string, sum bool) (fastest cost) {
	for side, p := range plains {
		if c := median(costs[what+side]); p.sum == sum && c.Wall > 0 && (fastest.Wall == 0 || c.Wall < fastest.Wall) {
			fastest = c
		}
	}
	return fastest
}

// speed is in MB/s, three digits of it.
func speed(c cost) string {
	v := float64(c.Bytes) / c.Wall / 1e6
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func row(name string, ours, theirs, raw, checked cost) {
	text := func(c cost) string {
		if c.Wall == 0 {
			return "-"
		}
		return fmt.Sprintf("%s MB/s %.1f CPU-s %d MiB", speed(c), c.CPU, c.RSS>>20)
	}
	part := func(raw cost) string {
		if raw.Wall == 0 {
			return "-"
		}
		return fmt.Sprintf("%.0f%% of %s", 100*raw.Wall/ours.Wall, speed(raw))
	}
	faster := "-"
	if theirs.Wall > 0 {
		faster = fmt.Sprintf("%.1fx", theirs.Wall/ours.Wall)
	}
	fmt.Printf("%-28s %27s %28s %7s %13s %13s\n", name, text(ours), text(theirs), faster, part(raw), part(checked))
}

// memory moves an artifact of half floats, half text through the S3 server.
func (b *bench) memory(name string, size int64) error {
	file := filepath.Join(b.dir, "data")
	err := writeFile(file, func(f io.Writer) error { return errors.Join(floats(f, size/2), text(f, size/2)) })
	if err != nil {
		return err
	}
	defer os.Remove(file)
	costs := map[string][]cost{}
	if err := b.side(costs, ours, "s3", file, 1); err != nil {
		return err
	}
	put, get := costs["put"+ours][0], costs["get"+ours][0]
	fmt.Printf("\n%s through S3: put in %.1f s with %d MiB of memory, get in %.1f s with %d MiB\n", name, put.Wall, put.RSS>>20, get.Wall, get.RSS>>20)
	return nil
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// floats writes random floats between 0 and 1, as numpy holds them.
func floats(w io.Writer, size int64) error {
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	buf := make([]byte, 0, 1<<20)
	for size > 0 {
		for buf = buf[:0]; len(buf) < cap(buf); {
			buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(rng.Float64()))
		}
		n := min(size, int64(len(buf)))
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// text writes Go's own source, over and over.
func text(w io.Writer, size int64) error {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	var all []byte
	root := os.DirFS(filepath.Join(strings.TrimSpace(string(out)), "src"))
	err = fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || int64(len(all)) > size {
			return err
		}
		data, err := fs.ReadFile(root, path)
		all = append(all, data...)
		return err
	})
	for err == nil && size > 0 {
		n := min(size, int64(len(all)))
		_, err = w.Write(all[:n])
		size -= n
	}
	return err
}
