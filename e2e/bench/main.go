// Command bench measures Tenantry beside the stock servers, in the same run, on the same machine, with the same client.
//
// Nothing is asserted about time: a figure is a figure, and an answer that is wrong is an error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// bench is one run.
type bench struct {
	// The checkout, its .run, and the folder of this program's data and logs in that.
	top, run, folder string
	// The server, and the program that drives the store alone.
	tenantry, puts string
	sizes          sizes
	processes      *processes
	versions       map[string]string
}

// part is what can be run alone.
type part struct {
	name string
	what string
	run  func(*bench, context.Context, *result) error
}

var parts = []part{
	{"store", "durable puts and recovery, beside etcd", (*bench).store},
	{"api", "requests, lists, watches, beside kube-apiserver and etcd", (*bench).api},
	{"density", "idle virtual clusters, beside control planes of their own", (*bench).density},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "canned" {
		exitOn(canned(os.Args[2:]))
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "teller" {
		exitOn(tell(os.Args[2:]))
		return
	}
	b := &bench{}
	flag.StringVar(&b.top, "top", ".", "the checkout")
	flag.StringVar(&b.run, "run", ".run", "folder of programs (bin) and of what is measured (bench)")
	flag.StringVar(&b.tenantry, "tenantry", "target/release/tenantry", "the server")
	flag.StringVar(&b.puts, "puts-program", "target/release/examples/puts", "what drives the store alone")
	only := flag.String("only", "", "comma-separated parts; all if empty: "+partNames())
	page := flag.String("page", "", "page whose sections are written anew; none if empty")
	b.sizes.flags()
	flag.Parse()
	b.sizes.settle()
	klog.SetOutput(os.Stderr)
	exitOn(b.main(*only, *page))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func partNames() string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ",")
}

func (b *bench) main(only, page string) error {
	chosen := parts
	if only != "" {
		names := strings.Split(only, ",")
		for _, name := range names {
			if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
				return fmt.Errorf("ONLY=%s: there is no part %q, only %s", only, name, partNames())
			}
		}
		chosen = slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !slices.Contains(names, p.name) })
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.versions = b.readVersions()
	folder := filepath.Join(b.run, "bench")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var failed []error
	for _, p := range chosen {
		r, err := b.part(ctx, p, folder)
		if err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		fmt.Printf("\n%s: %s\n\n%s\n", p.name, p.what, r.table())
		for _, note := range r.Notes {
			fmt.Printf("- %s\n", note)
		}
		if err := r.write(folder); err != nil {
			return err
		}
		if page != "" {
			if err := r.publish(page); err != nil {
				return err
			}
		}
	}
	return errors.Join(failed...)
}

// part runs one part in a folder of its own, and leaves nothing but logs there.
func (b *bench) part(ctx context.Context, p part, folder string) (*result, error) {
	b.folder = filepath.Join(folder, p.name)
	if err := os.RemoveAll(b.folder); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		return nil, err
	}
	began := time.Now()
	r := newResult(b, p.name)
	b.processes = &processes{folder: b.folder}
	defer b.clean()
	defer b.processes.stopAll()
	b.say("%s: %s", p.name, p.what)
	if err := p.run(b, ctx, r); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(began).Seconds()
	debug.FreeOSMemory()
	return r, nil
}

// clean removes data and keys; logs stay for whoever wants to know why.
func (b *bench) clean() {
	entries, _ := os.ReadDir(b.folder)
	for _, entry := range entries {
		if entry.IsDir() {
			_ = os.RemoveAll(filepath.Join(b.folder, entry.Name()))
		}
	}
}

var start = time.Now()

func (b *bench) say(format string, args ...any) {
	fmt.Printf("[%4.0fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
}
