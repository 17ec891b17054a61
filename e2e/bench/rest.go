package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// After how long a virtual cluster leaves memory where that is measured; ten minutes are what it takes otherwise.
const restSeconds = 10

// How long after that their memory is looked at: the allocator keeps for five seconds what is free.
const givingBack = 15 * time.Second

// resting is what virtual clusters cost that are out of memory, and how soon they are back.
type resting struct {
	memory float64
	// Processor time in seconds from the start of the server until all had left memory, and its highest memory until then.
	cpu, peak float64
	// From the first request of each, on a connection of its own, to its answer; and of the second request, on another one.
	first, second latencies
}

// rest restarts the server with a short age, waits until all of these have left memory, and asks some of them something.
func (o *ours) rest(ctx context.Context, clusters int, asked []*rest.Config) (r resting, err error) {
	path := filepath.Join(o.folder, "config.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	short := fmt.Sprintf("store: {historySeconds: 10, restSeconds: %d, path:", restSeconds)
	if err := os.WriteFile(path, []byte(strings.Replace(string(config), "store: {path:", short, 1)), 0o600); err != nil {
		return r, err
	}
	o.processes[0].kill()
	if err := o.start(ctx); err != nil {
		return r, err
	}
	err = await("all virtual clusters to leave memory", 10*time.Minute, o.processes, func() error {
		n, err := o.metric(ctx, "tenantry_store_tenants_at_rest")
		if err == nil && n < clusters {
			err = fmt.Errorf("%d of %d have left memory", n, clusters)
		}
		return err
	})
	if err != nil {
		return r, err
	}
	if r.cpu, err = o.server.cpu(); err != nil {
		return r, err
	}
	if _, r.peak, err = o.server.memory(); err != nil {
		return r, err
	}
	// What was needed until now was freed just now, and goes back to the system some seconds later.
	after, err := atRest(ctx, &o.server, givingBack)
	if err != nil {
		return r, err
	}
	r.memory = after.memory
	for _, config := range asked {
		for _, took := range []*latencies{&r.first, &r.second} {
			client, err := coreClient(config, jsonType)
			if err != nil {
				return r, err
			}
			began := time.Now()
			if err := client.Get().Namespace("default").Resource("configmaps").Do(ctx).Error(); err != nil {
				return r, err
			}
			took.add(time.Since(began))
			closeIdle(client)
		}
	}
	back, err := o.metric(ctx, "tenantry_store_returns_total")
	if err == nil && back < len(asked) {
		err = fmt.Errorf("%d virtual clusters were asked and %d came back", len(asked), back)
	}
	return r, err
}

// metric reads a number that the server counts.
func (o *ours) metric(ctx context.Context, name string) (int, error) {
	client, err := rest.UnversionedRESTClientFor(unlimited(&rest.Config{Host: "http://" + o.ops, ContentConfig: jsonContent()}))
	if err != nil {
		return 0, err
	}
	text, err := client.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("the server does not count %s", name)
	}
	return strconv.Atoi(string(found[1]))
}
