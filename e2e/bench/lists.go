package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
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
		"What was changed lies evenly among the rest. Ours keeps pieces of lists that it wrote lately, kube-apiserver writes and compresses each answer anew.")
	r.note("Limit of lists: a server in Go that has the very bytes that ours sends ready, compressed where ours are, for the same client.")
	for _, form := range forms {
		if wanted, err := regexp.MatchString(b.sizes.Form, form.what); err != nil {
			return fmt.Errorf("-form: %w", err)
		} else if !wanted {
			continue
		}
		client := func(s *server) (*rest.RESTClient, error) {
			config := rest.CopyConfig(s.config)
			config.DisableCompression = form.plain
			return coreClient(config, form.contentType)
		}
		query := func(c *rest.RESTClient) *rest.Request {
			return c.Get().Namespace(place).Resource("configmaps").Param("labelSelector", form.selector)
		}
		do := func(s *server, query func(*rest.RESTClient) *rest.Request, before func(n int) error) (run, error) {
			client, err := client(s)
			if err != nil {
				return run{}, err
			}
			defer closeIdle(client)
			list := func(_, _ int) error {
				answer, err := query(client).Do(ctx).Raw()
				if err == nil && len(answer) < b.sizes.Listed*len(payloads[0])/10 {
					err = fmt.Errorf("a list of %d bytes", len(answer))
				}
				return err
			}
			if err := list(0, 0); err != nil {
				return run{}, err
			}
			if before == nil {
				times := b.sizes.Lists
				if form.selector != "" {
					// Processor time is counted in hundredths of a second: such a list takes less than one.
					times *= 10
				}
				return drive(s, 1, times, list)
			}
			var sum run
			for n := range max(b.sizes.Lists/3, 1) {
				if err := before(n); err != nil {
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
		us, them, err := both(s, func(s *server) (run, error) {
			if form.changed == 0 {
				return do(s, query, nil)
			}
			return do(s, query, func(n int) error {
				if err := b.change(ctx, s, place, form.changed, n); err != nil {
					return err
				}
				return quiet(ctx, s)
			})
		})
		if err != nil {
			return fmt.Errorf("%s: %w", form.what, err)
		}
		if err := keep(ctx, &s.ours.server, s.canned, client, query, form.plain); err != nil {
			return fmt.Errorf("%s: %w", form.what, err)
		}
		limit, err := do(s.canned, func(c *rest.RESTClient) *rest.Request { return c.Get().AbsPath(keptURL) }, nil)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("list of %s, %s", number(known(float64(b.sizes.Listed))), form.what)
		r.less(what+", p50", "ms", us.latencies.at(0.5), them.latencies.at(0.5)).wanted("2x").limit(limit.latencies.at(0.5))
		r.less(what+", processor time of the server", "ms", us.perThousand(), them.perThousand()).wanted("5x").limit(limit.perThousand())
	}
	return nil
}

const keptURL = "/kept/list"

// keep gives what ours answers to the server that only sends it.
func keep(ctx context.Context, ours, canned *server, client func(*server) (*rest.RESTClient, error), query func(*rest.RESTClient) *rest.Request, plain bool) error {
	from, err := client(ours)
	if err != nil {
		return err
	}
	defer closeIdle(from)
	request := query(from)
	if !plain {
		// Asked for by the caller, it is not undone.
		request = request.SetHeader("Accept-Encoding", "gzip")
	}
	var contentType string
	answer := request.Do(ctx).ContentType(&contentType)
	body, err := answer.Raw()
	if err != nil {
		return err
	}
	to, err := client(canned)
	if err != nil {
		return err
	}
	defer closeIdle(to)
	put := to.Put().AbsPath(keptURL).SetHeader("Content-Type", contentType).Body(body)
	if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		put = put.SetHeader("Content-Encoding", "gzip")
	}
	return put.Do(ctx).Error()
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
