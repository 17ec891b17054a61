package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"k8s.io/client-go/rest"
)

// Virtual clusters that are made at once when speed counts.
const makers = 16

// How long one that comes on its own comes after the one before it: 1,000 in a minute.
const apart = time.Minute / 1000

// idle is what a server uses that nobody asks anything of.
type idle struct {
	memory float64
	// Part of one core.
	cpu float64
}

// density measures what virtual clusters cost that nobody uses, and how soon they are there.
func (b *bench) density(ctx context.Context, r *result) error {
	z := b.sizes
	r.Settings = map[string]any{"clusters": z.Clusters, "idle seconds": z.Idle.Seconds(), "made at once": makers, "arriving": z.Arriving}
	b.say("start etcd, kube-apiserver and kube-controller-manager: what one cluster costs otherwise")
	host, err := b.startStock(ctx)
	if err != nil {
		return err
	}
	one, err := b.plane(ctx, host)
	if err != nil {
		return err
	}
	o, err := b.startOurs(ctx, host, z.Clusters+z.Arriving)
	if err != nil {
		return err
	}
	var names []string
	for i := range z.Clusters + z.Arriving {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	made, err := newClusters(ctx, host.config, names)
	if err != nil {
		return err
	}
	defer made.stop()
	explain := func(err error) error {
		return errors.Join(err, o.processes[0].failure(), host.api.failure())
	}

	b.say("1 virtual cluster")
	first, err := made.create(ctx, names[0])
	if err != nil {
		return explain(err)
	}
	o.config = first.config
	least, err := atRest(ctx, &o.server, 5*time.Second)
	if err != nil {
		return explain(err)
	}
	alone, err := tenantWrites(ctx, o)
	if err != nil {
		return explain(err)
	}

	some := min(100, max(2, z.Clusters/10))
	b.say("%d virtual clusters, one after the other", some)
	var took latencies
	configs := []*rest.Config{first.config}
	for _, name := range names[1:some] {
		c, err := made.create(ctx, name)
		if err != nil {
			return explain(err)
		}
		took.add(c.took)
		configs = append(configs, c.config)
	}
	more, err := atRest(ctx, &o.server, 5*time.Second)
	if err != nil {
		return explain(err)
	}

	b.say("%d virtual clusters, %d at once", z.Clusters, makers)
	others, arriving := names[some:z.Clusters], names[z.Clusters:]
	m, err := begin(&o.server)
	if err != nil {
		return err
	}
	hostCPU, err := host.cpu()
	if err != nil {
		return err
	}
	crowd := make(latencies, len(others))
	var last cluster
	err = each(makers, len(others), func(i int) error {
		c, err := made.create(ctx, others[i])
		crowd[i] = c.took
		if i == len(others)-1 {
			last = c
		}
		return err
	})
	if err != nil {
		return explain(err)
	}
	answering := time.Since(m.began).Seconds()
	if err := made.complete(ctx, z.Clusters); err != nil {
		return explain(err)
	}
	making, err := m.end()
	if err != nil {
		return err
	}
	hostAfter, err := host.cpu()
	if err != nil {
		return err
	}
	b.say("idle for %s", z.Idle)
	all, err := atRest(ctx, &o.server, z.Idle)
	if err != nil {
		return explain(err)
	}
	b.say("one write at a time among them")
	among, err := tenantWrites(ctx, o)
	if err != nil {
		return explain(err)
	}
	var back [2]float64
	if last.config != nil {
		b.say("restart")
		if back, err = comeBack(ctx, o, first.config, last.config); err != nil {
			return explain(err)
		}
	}
	var open latencies
	arrivals := 1 / apart.Seconds()
	if len(arriving) > 0 {
		if err := quiet(ctx, &o.server); err != nil {
			return explain(err)
		}
		b.say("%d virtual clusters more, %.1f a second", len(arriving), arrivals)
		if open, err = made.arrive(ctx, arriving, apart); err != nil {
			return explain(err)
		}
		if err := made.complete(ctx, len(names)); err != nil {
			return explain(err)
		}
	}

	b.say("all at rest")
	asleep, err := o.rest(ctx, z.Clusters, configs)
	if err != nil {
		return explain(err)
	}

	clusters := func(n int) string { return number(known(float64(n))) + " idle virtual clusters" }
	r.less("1 idle virtual cluster: resident memory", "MB", least.memory/1e6, one.memory/1e6)
	r.less(clusters(some)+": resident memory (stock: of one, times their number)", "MB", more.memory/1e6, one.memory*float64(some)/1e6)
	r.less(clusters(z.Clusters)+": resident memory (stock: so)", "MB", all.memory/1e6, one.memory*float64(z.Clusters)/1e6).wanted("300 of ours")
	r.less("each beyond the first", "MB", (all.memory-least.memory)/float64(z.Clusters-1)/1e6, one.memory/1e6).wanted("0.25 of ours")
	r.less(clusters(z.Clusters)+": processor time (stock: of one)", "% of a core", all.cpu*100, one.cpu*100).wanted("2 of ours")
	r.less("VirtualCluster accepted to first authenticated answer, p50 (stock: start of its processes)", "ms", took.at(0.5), one.startup.Seconds()*1e3).wanted("100 of ours")
	r.less("the same, p99", "ms", took.at(0.99), one.startup.Seconds()*1e3).wanted("500 of ours")
	if len(others) > 0 {
		rate := float64(len(others)) / answering
		// What the host's own work for them leaves, were ours and the client's free.
		most := float64(runtime.NumCPU()*len(others)) / (hostAfter - hostCPU)
		r.more(fmt.Sprintf("made each second, %d at once", makers), "1/s", rate, none).wanted("16.7").limit(most)
		r.less("the same: accepted to first answer, p50", "ms", crowd.at(0.5), none)
		r.less("the same: accepted to first answer, p99", "ms", crowd.at(0.99), none)
		r.more("the same: complete (Ready) each second", "1/s", float64(len(others))/making.seconds, none).wanted("16.7").limit(most)
		r.less("processor time to make one: of the server", "ms", making.serverCPU/float64(len(others))*1e3, none)
		r.less("processor time to make one: of the host's kube-apiserver and etcd", "ms", (hostAfter-hostCPU)/float64(len(others))*1e3, none)
	}
	if len(open) > 0 {
		what := fmt.Sprintf("%s more at %.1f a second: accepted to first answer", number(known(float64(len(open)))), arrivals)
		r.less(what+", p50", "ms", open.at(0.5), none).wanted("100")
		r.less(what+", p99", "ms", open.at(0.99), none).wanted("500")
	}
	if last.config != nil {
		r.less("kill -9 of the server to the first answer of the first, "+clusters(z.Clusters), "s", back[0], none)
		r.less("to the first answer of the last", "s", back[1], none)
	}
	r.less("one write at a time, 1 virtual cluster, p50", "ms", alone.latencies.at(0.5), none)
	r.less("one write at a time, "+clusters(z.Clusters)+", p50", "ms", among.latencies.at(0.5), none)
	r.less("the second to the first", "x", among.latencies.at(0.5)/alone.latencies.at(0.5), none).wanted("1.2")
	r.less("processor time for 1,000 such writes, 1 virtual cluster", "ms", alone.perThousand()*1e3, none)
	r.less("processor time for 1,000 such writes, "+clusters(z.Clusters), "ms", among.perThousand()*1e3, none)
	r.less("the second to the first", "x", among.perThousand()/alone.perThousand(), none).wanted("1.2")
	r.less(number(known(float64(z.Clusters)))+" virtual clusters at rest: resident memory (stock: so)", "MB", asleep.memory/1e6, one.memory*float64(z.Clusters)/1e6)
	r.less("each beyond the first", "MB", (asleep.memory-least.memory)/float64(z.Clusters-1)/1e6, one.memory/1e6).wanted("0.02 of ours")
	r.less("from the start of the server until all have left memory: its processor time for each", "ms", asleep.cpu/float64(z.Clusters)*1e3, none)
	r.less("the same: its highest resident memory", "MB", asleep.peak/1e6, none)
	r.less("one at rest: first request, with its handshake, to its answer, p50", "ms", asleep.first.at(0.5), none).wanted("50")
	r.less("the same, p99", "ms", asleep.first.at(0.99), none).wanted("50")
	r.less("the second request, with a handshake too, p50", "ms", asleep.second.at(0.5), none)
	r.note("At rest: after kill -9 and a start with restSeconds of %d s, %.0f s after all have left memory. Resident memory then also has what recovery and the first scans of all of them had needed "+
		"and the allocator has not given back to the system. The allocator's count for each is in tenantry/tests/memory.rs.", restSeconds, givingBack.Seconds())
	r.note("A virtual cluster here has its bootstrap objects, controllers, syncer, DNS and API ports, kubeconfig, and a host namespace with Service and EndpointSlice, and no connection of a client. The host is " +
		"etcd and kube-apiserver on the same cores and disk, without nodes. Stock: one idle etcd, kube-apiserver and kube-controller-manager.")
	if len(others) > 0 {
		r.note("Limit of those made each second: the host's processor time for one, on all cores.")
		r.note("The last %d of %s answered within %.0f s and were complete (Ready: with what pods need on the host) within %.0f s.", len(others), number(known(float64(z.Clusters))), answering, making.seconds)
	}
	return nil
}

// plane measures one stock control plane, idle, and stops its controller manager again.
func (b *bench) plane(ctx context.Context, host *stock) (p struct {
	idle
	startup time.Duration
}, err error) {
	pki := filepath.Join(host.folder, "pki")
	manager, err := b.processes.start("kube-controller-manager", b.program("kube-controller-manager"), "--kubeconfig="+filepath.Join(pki, "controller-manager.kubeconfig"),
		"--root-ca-file="+filepath.Join(pki, "ca.crt"), "--service-account-private-key-file="+filepath.Join(pki, "sa.key"), "--use-service-account-credentials",
		"--bind-address=127.0.0.1", "--secure-port=0", "--leader-elect=false")
	if err != nil {
		return p, err
	}
	client, err := coreClient(host.config, jsonType)
	if err != nil {
		return p, err
	}
	err = await("kube-controller-manager", time.Minute, []*process{manager}, func() error {
		return client.Get().Namespace("default").Resource("serviceaccounts").Name("default").Do(ctx).Error()
	})
	if err != nil {
		return p, err
	}
	whole := server{processes: append(append([]*process{}, host.processes...), manager)}
	p.idle, err = atRest(ctx, &whole, 10*time.Second)
	p.startup = host.startup
	manager.stop()
	return p, err
}

// comeBack kills the server, starts it again and tells after how many seconds each of these virtual clusters answers.
func comeBack(ctx context.Context, o *ours, configs ...*rest.Config) (seconds [2]float64, err error) {
	began := time.Now()
	if err := o.restart(ctx); err != nil {
		return seconds, err
	}
	for i, config := range configs {
		client, err := coreClient(config, jsonType)
		if err != nil {
			return seconds, err
		}
		err = await("the virtual cluster", time.Minute, o.processes, func() error { return client.Get().Resource("namespaces").Do(ctx).Error() })
		if err != nil {
			return seconds, err
		}
		closeIdle(client)
		seconds[i] = time.Since(began).Seconds()
	}
	return seconds, nil
}

// atRest waits until a server is quiet, then watches it for a while.
func atRest(ctx context.Context, s *server, span time.Duration) (i idle, err error) {
	if err := quiet(ctx, s); err != nil {
		return i, err
	}
	before, err := s.cpu()
	if err != nil {
		return i, err
	}
	select {
	case <-ctx.Done():
		return i, ctx.Err()
	case <-time.After(span):
	}
	after, err := s.cpu()
	if err != nil {
		return i, err
	}
	i.cpu = (after - before) / span.Seconds()
	i.memory, _, err = s.memory()
	return i, err
}

// tenantWrites measures writes of one tenant, in a namespace that is made when it is not there.
func tenantWrites(ctx context.Context, o *ours) (run, error) {
	const place = "writes"
	client, err := coreClient(o.config, jsonType)
	if err != nil {
		return run{}, err
	}
	if client.Get().Resource("namespaces").Name(place).Do(ctx).Error() != nil {
		if err := createNamespace(ctx, o.config, place); err != nil {
			return run{}, err
		}
		if err := (&bench{sizes: sizes{Clients: 8}}).fill(ctx, &o.server, place, 0, 100); err != nil {
			return run{}, err
		}
		if err := quiet(ctx, &o.server); err != nil {
			return run{}, err
		}
	}
	return oneWrite(ctx, &o.server, place, 100)
}
