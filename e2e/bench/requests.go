package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const namespace = "bench"

// payloads are 1,000 bytes each, in hexadecimal digits. There are more of them than fit into what a compressor looks back at, so that a list
// of objects with one each compresses as digits do, not as a repetition.
var payloads = func() (all [64]string) {
	for p := range all {
		var text strings.Builder
		for i := 0; text.Len() < 1000; i++ {
			fmt.Fprintf(&text, "%016x", mix(uint64(p*1000+i)))
		}
		all[p] = text.String()[:1000]
	}
	return all
}()

// payload is one of them, the same for the same name.
func payload(name string) string {
	return payloads[crc32.ChecksumIEEE([]byte(name))%uint32(len(payloads))]
}

// configMap is one of 1 KB, as JSON. Its number tells its states apart.
func configMap(namespace, name string, labels map[string]string, number int) []byte {
	text, _ := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": namespace, "name": name, "labels": labels},
		"data":     map[string]string{"payload": payload(name), "number": fmt.Sprint(number)},
	})
	return text
}

// request is a kind of request; i says which object it is about.
type request struct {
	what string
	send func(c *rest.RESTClient, i int) *rest.Request
}

func requestKinds() []request {
	name := func(i int) string { return fmt.Sprintf("object-%d", i) }
	on := func(r *rest.Request, i int) *rest.Request {
		return r.Namespace(namespace).Resource("configmaps").Name(name(i))
	}
	return []request{
		{"create", func(c *rest.RESTClient, i int) *rest.Request {
			return c.Post().Namespace(namespace).Resource("configmaps").SetHeader("Content-Type", jsonType).Body(configMap(namespace, name(i), nil, 0))
		}},
		{"get", func(c *rest.RESTClient, i int) *rest.Request { return on(c.Get(), i) }},
		{"update", func(c *rest.RESTClient, i int) *rest.Request {
			return on(c.Put(), i).SetHeader("Content-Type", jsonType).Body(configMap(namespace, name(i), nil, 1))
		}},
		{"merge patch", func(c *rest.RESTClient, i int) *rest.Request {
			return on(c.Patch(types.MergePatchType), i).Body([]byte(`{"data":{"number":"2"}}`))
		}},
		{"apply", func(c *rest.RESTClient, i int) *rest.Request {
			return on(c.Patch(types.ApplyPatchType), i).Param("fieldManager", "applier").Param("force", "true").Body(configMap(namespace, name(i), nil, 3))
		}},
		{"delete", func(c *rest.RESTClient, i int) *rest.Request { return on(c.Delete(), i) }},
	}
}

// requests compares the verbs on config maps.
func (b *bench) requests(ctx context.Context, r *result, s sides) error {
	if _, _, err := both(s, func(s *server) (any, error) { return nil, createNamespace(ctx, s.config, namespace) }); err != nil {
		return err
	}
	var wire float64
	var reached []string
	for _, kind := range requestKinds() {
		if kind.what == "delete" {
			if err := b.loadedMemory(r, s); err != nil {
				return err
			}
		}
		do := func(s *server) (run, error) { return b.request(ctx, s, kind) }
		us, them, err := both(s, do)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.what, err)
		}
		limit, err := do(s.canned)
		if err != nil {
			return err
		}
		wire = limit.clientCPU / float64(limit.count) * 1e6
		reached = append(reached, fmt.Sprintf("%s %.0f %%", kind.what, us.rate()/limit.rate()*100))
		r.more(kind.what, "requests/s", us.rate(), them.rate()).wanted("3x").limit(limit.rate())
		r.less(kind.what+", p50", "ms", us.latencies.at(0.5), them.latencies.at(0.5)).limit(limit.latencies.at(0.5))
		r.less(kind.what+", p99", "ms", us.latencies.at(0.99), them.latencies.at(0.99)).wanted("1x").limit(limit.latencies.at(0.99))
		r.less(kind.what+", processor time of the server for 1,000", "ms", us.perThousand()*1e3, them.perThousand()*1e3).wanted("4x").limit(limit.perThousand() * 1e3)
	}
	r.note("Of the limit of requests ours reaches: %s.", strings.Join(reached, ", "))
	r.note("Limit of requests: a server in Go that answers all of them with the same 1 KB, for the same client (client-go, answers not decoded, JSON), TLS and loopback. "+
		"The client uses %.0f ms of processor time for 1,000 requests, on the same cores as the servers.", wire)
	return nil
}

func (b *bench) request(ctx context.Context, s *server, kind request) (run, error) {
	clients, err := coreClients(s.config, jsonType, b.sizes.Clients)
	if err != nil {
		return run{}, err
	}
	// The connections are there before anything is measured.
	err = each(len(clients), len(clients), func(i int) error { return clients[i].Get().AbsPath("/version").Do(ctx).Error() })
	if err != nil {
		return run{}, err
	}
	defer closeAll(clients)
	return drive(s, len(clients), b.sizes.Requests, func(w, i int) error {
		_, err := kind.send(clients[w], i).Do(ctx).Raw()
		return err
	})
}

func closeAll(clients []*rest.RESTClient) {
	for _, client := range clients {
		closeIdle(client)
	}
}

// loadedMemory compares memory when both have served and hold the same.
func (b *bench) loadedMemory(r *result, s sides) error {
	us, usPeak, err := s.ours.memory()
	if err != nil {
		return err
	}
	them, themPeak, err := s.stock.memory()
	if err != nil {
		return err
	}
	r.less("resident memory after these requests", "MB", us/1e6, them/1e6).wanted("6x")
	r.less("its highest until then", "MB", usPeak/1e6, themPeak/1e6)
	return nil
}
