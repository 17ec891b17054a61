package main

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
)

// lists compares lists of many objects: whole and by a label that a tenth of them has, in both formats, compressed as client-go asks by
// default, and not.
func (b *bench) lists(ctx context.Context, r *result, s sides) error {
	const place = "listed"
	_, _, err := both(s, func(s *server) (any, error) {
		if err := createNamespace(ctx, s.config, place); err != nil {
			return nil, err
		}
		return nil, b.fill(ctx, s, place, 0, b.sizes.Listed)
	})
	if err != nil {
		return err
	}
	forms := []struct {
		what, contentType, selector string
		plain                       bool
	}{
		{"JSON", jsonType, "", false},
		{"protobuf", protobufType, "", false},
		{"JSON, not compressed", jsonType, "", true},
		{"protobuf, not compressed", protobufType, "", true},
		{"JSON, a tenth by label", jsonType, "tenth=3", false},
		{"protobuf, a tenth by label", protobufType, "tenth=3", false},
	}
	for _, form := range forms {
		of := func(s *server, url string) (run, error) {
			config := rest.CopyConfig(s.config)
			config.DisableCompression = form.plain
			client, err := coreClient(config, form.contentType)
			if err != nil {
				return run{}, err
			}
			defer client.Client.CloseIdleConnections()
			list := func(_, _ int) error {
				request := client.Get().Namespace(place).Resource("configmaps").Param("labelSelector", form.selector)
				if url != "" {
					request = client.Get().AbsPath(url)
				}
				answer, err := request.Do(ctx).Raw()
				if err == nil && len(answer) < b.sizes.Listed*len(payloads[0])/10 {
					err = fmt.Errorf("a list of %d bytes", len(answer))
				}
				return err
			}
			if err := list(0, 0); err != nil {
				return run{}, err
			}
			return drive(s, 1, b.sizes.Lists, list)
		}
		us, them, err := both(s, func(s *server) (run, error) { return of(s, "") })
		if err != nil {
			return fmt.Errorf("%s: %w", form.what, err)
		}
		var limit run
		if form.plain && form.contentType == jsonType {
			if limit, err = of(s.canned, "/many/"); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("list of %s, %s", number(known(float64(b.sizes.Listed))), form.what)
		p50 := r.less(what+", p50", "ms", us.latencies.at(0.5), them.latencies.at(0.5)).wanted("2x")
		if limit.count > 0 {
			p50.limit(limit.latencies.at(0.5))
		}
		r.less(what+", processor time of the server", "ms", us.perThousand(), them.perThousand()).wanted("5x")
	}
	return nil
}

// fill makes the config maps numbered `from` up to `to` in a namespace.
func (b *bench) fill(ctx context.Context, s *server, place string, from, to int) error {
	clients, err := coreClients(s.config, jsonType, b.sizes.Clients)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	_, err = drive(s, len(clients), to-from, func(w, i int) error {
		labels := map[string]string{"tenth": fmt.Sprint(i % 10)}
		body := configMap(place, fmt.Sprintf("object-%d", from+i), labels, 0)
		return clients[w].Post().Namespace(place).Resource("configmaps").Body(body).SetHeader("Content-Type", jsonType).Do(ctx).Error()
	})
	return err
}
