package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sides are the two servers that are compared, ours first.
type sides struct {
	ours  *ours
	stock *stock
	// What the machine allows.
	canned *server
}

// both does the same with the one and then with the other.
func both[T any](s sides, do func(*server) (T, error)) (us, them T, err error) {
	if them, err = do(&s.stock.server); err != nil {
		return us, them, fmt.Errorf("%s: %w", s.stock.name, err)
	}
	if us, err = do(&s.ours.server); err != nil {
		return us, them, fmt.Errorf("%s: %w", s.ours.name, err)
	}
	return us, them, nil
}

// api compares what clients of one API see.
func (b *bench) api(ctx context.Context, r *result) (err error) {
	z := b.sizes
	r.Settings = map[string]any{"clients": z.Clients, "requests": z.Requests, "listed": z.Listed, "watchers": z.Watchers, "writes a second": z.Rate,
		"reconnecting": z.Reconnecting, "objects": z.Objects}
	b.say("start etcd, kube-apiserver and tenantry")
	s := sides{}
	if s.stock, err = b.startStock(ctx); err != nil {
		return err
	}
	if s.ours, err = b.startOurs(ctx, s.stock, 1); err != nil {
		return err
	}
	if err := s.ours.virtualCluster(ctx, "bench"); err != nil {
		return err
	}
	if s.canned, err = b.startCanned(ctx, s.stock); err != nil {
		return err
	}
	// What servers do by themselves after their start is over then.
	if err := quiet(ctx, &s.stock.server, &s.ours.server); err != nil {
		return err
	}
	r.note("kube-apiserver serves as the host of our server too and is not stopped while that is measured: it uses some percent of a core then. " +
		"Each form of request is measured on the one and at once on the other.")
	steps := []struct {
		name string
		run  func(context.Context, *result, sides) error
	}{
		{"requests", b.requests}, {"lists", b.lists}, {"fan-out of watches", b.fanout}, {"writes among many objects", b.scale}, {"reconnecting watchers", b.reconnect},
	}
	for _, step := range steps {
		if !strings.Contains(step.name, z.Step) {
			continue
		}
		b.say("%s", step.name)
		if err := step.run(ctx, r, s); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", step.name, err), s.ours.processes[0].failure(), s.stock.api.failure())
		}
	}
	return nil
}

// quiet waits until the servers use less than a seventh of a core for a second, or half a minute is over.
func quiet(ctx context.Context, servers ...*server) error {
	sum := func() (cpu float64, err error) {
		for _, s := range servers {
			c, err := s.cpu()
			if err != nil {
				return 0, err
			}
			cpu += c
		}
		return cpu, nil
	}
	for range 30 {
		before, err := sum()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		after, err := sum()
		if err != nil {
			return err
		}
		if after-before < 0.15 {
			return nil
		}
	}
	return nil
}

// startCanned starts a server that answers everything with the same object: what client, TLS and loopback allow on this machine.
func (b *bench) startCanned(ctx context.Context, s *stock) (*server, error) {
	return b.startSelf(ctx, s, "canned")
}

// startSelf starts this program as another one that serves, with what else it must know.
func (b *bench) startSelf(ctx context.Context, s *stock, name string, more ...string) (*server, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	pki := filepath.Join(s.folder, "pki")
	arguments := append([]string{name, address, filepath.Join(pki, "apiserver.crt"), filepath.Join(pki, "apiserver.key")}, more...)
	p, err := b.processes.start(name, program, arguments...)
	if err != nil {
		return nil, err
	}
	config := *s.config
	config.Host = "https://" + address
	self := &server{name: name, processes: []*process{p}, config: &config}
	client, err := coreClient(self.config, jsonType)
	if err != nil {
		return nil, err
	}
	return self, await("the server "+name, 10*time.Second, self.processes, func() error { return client.Get().AbsPath("/").Do(ctx).Error() })
}
