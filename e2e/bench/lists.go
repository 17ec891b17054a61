package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
)

// lists compares lists of many objects: whole and by a label that a tenth of them has, in both formats, compressed as client-go asks by
// default, and not; the same list again and again, and with changes in between.
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
		// One object of so many is changed before each list; none if 0.
		changed int
	}{
		{"JSON", jsonType, "", false, 0},
		{"protobuf", protobufType, "", false, 0},
		{"JSON, not compressed", jsonType, "", true, 0},
		{"protobuf, not compressed", protobufType, "", true, 0},
		{"JSON, a tenth by label", jsonType, "tenth=3", false, 0},
		{"protobuf, a tenth by label", protobufType, "tenth=3", false, 0},
		{"JSON, 1 in 100 changed before", jsonType, "", false, 100},
		{"JSON, 1 in 10 changed before", jsonType, "", false, 10},
		{"JSON, all changed before", jsonType, "", false, 1},
		{"protobuf, all changed before", protobufType, "", false, 1},
	}
	r.note("Lists: the same list again and again, as when many clients list the same things, unless a row says what was changed before each. " +
		"What was changed lies evenly among the rest. Ours keeps what it compressed lately, kube-apiserver compresses each answer anew.")
	for _, form := range forms {
		of := func(s *server, url string) (run, error) {
			config := rest.CopyConfig(s.config)
			config.DisableCompression = form.plain
			client, err := coreClient(config, form.contentType)
			if err != nil {
				return run{}, err
			}
			defer closeIdle(client)
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
			if form.changed == 0 {
				return drive(s, 1, b.sizes.Lists, list)
			}
			var sum run
			for n := range max(b.sizes.Lists/3, 1) {
				if err := b.change(ctx, s, place, form.changed, n); err != nil {
					return run{}, err
				}
				if err := quiet(ctx, s); err != nil {
					return run{}, err
				}
				one, err := drive(s, 1, 1, list)
				if err != nil {
					return run{}, err
				}
				sum.add(one)
			}
			return sum, nil
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
		body := listed(place, i, from+i, 0)
		return clients[w].Post().Namespace(place).Resource("configmaps").Body(body).SetHeader("Content-Type", jsonType).Do(ctx).Error()
	})
	return err
}

// listed is the config map of a number, of which every tenth has the same label.
func listed(place string, i, number, state int) []byte {
	return configMap(place, fmt.Sprintf("object-%d", number), map[string]string{"tenth": fmt.Sprint(i % 10)}, state)
}

// change updates one of so many of the listed config maps; n is which time this is.
func (b *bench) change(ctx context.Context, s *server, place string, of, n int) error {
	clients, err := coreClients(s.config, jsonType, b.sizes.Clients)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	state := int(time.Now().UnixNano())
	return each(len(clients), b.sizes.Listed/of, func(i int) error {
		number := i*of + n%of
		body := listed(place, number, number, state)
		put := clients[i%len(clients)].Put().Namespace(place).Resource("configmaps").Name(fmt.Sprintf("object-%d", number))
		return put.Body(body).SetHeader("Content-Type", jsonType).Do(ctx).Error()
	})
}
