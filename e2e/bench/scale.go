package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// What a write is measured among at first.
	fewObjects = 1_000
	// Writes of which the cost is taken.
	soloWrites = 2_000
	// Deletions likewise.
	soloDeletes = 500
	// More objects than these the stock server is not given: a million take it more than twenty minutes.
	stockObjects = 100_000
)

// scale compares the cost of one write among few objects and among many.
func (b *bench) scale(ctx context.Context, r *result, s sides) error {
	const place = "many"
	type cost struct {
		few, many, fewGone, manyGone run
		memory                       float64
	}
	us, them, err := both(s, func(server *server) (c cost, err error) {
		if err := createNamespace(ctx, server.config, place); err != nil {
			return c, err
		}
		if err := b.fill(ctx, server, place, 0, fewObjects); err != nil {
			return c, err
		}
		if c.few, err = oneWrite(ctx, server, place, fewObjects); err != nil {
			return c, err
		}
		if c.fewGone, err = b.oneDelete(ctx, server, place); err != nil {
			return c, err
		}
		c.memory = none
		if server == &s.stock.server && b.sizes.Objects > stockObjects {
			return c, nil
		}
		before, _, err := server.memory()
		if err != nil {
			return c, err
		}
		if err := b.fill(ctx, server, place, fewObjects, b.sizes.Objects); err != nil {
			return c, err
		}
		if err := quiet(ctx, server); err != nil {
			return c, err
		}
		if c.many, err = oneWrite(ctx, server, place, b.sizes.Objects); err != nil {
			return c, err
		}
		if c.manyGone, err = b.oneDelete(ctx, server, place); err != nil {
			return c, err
		}
		after, _, err := server.memory()
		c.memory = (after - before) / float64(b.sizes.Objects-fewObjects)
		return c, err
	})
	if err != nil {
		return err
	}
	few, many := number(known(fewObjects)), number(known(float64(b.sizes.Objects)))
	p50 := func(r run) float64 {
		if r.count == 0 {
			return none
		}
		return r.latencies.at(0.5)
	}
	compare := func(what string, us, usMany, them, themMany run) {
		r.less("one "+what+" at a time among "+few+" objects, p50", "ms", p50(us), p50(them))
		r.less("one "+what+" at a time among "+many+" objects, p50", "ms", p50(usMany), p50(themMany))
		r.add("the second to the first", "x", p50(usMany)/p50(us), p50(themMany)/p50(them), none).wanted("1.2 of ours")
		r.less("processor time of the server for 1,000, among "+few, "ms", us.perThousand()*1e3, them.perThousand()*1e3)
		r.less("processor time of the server for 1,000, among "+many, "ms", usMany.perThousand()*1e3, themMany.perThousand()*1e3)
		r.add("the second to the first", "x", usMany.perThousand()/us.perThousand(), themMany.perThousand()/them.perThousand(), none).wanted("1.2 of ours")
	}
	compare("write", us.few, us.many, them.few, them.many)
	compare("deletion", us.fewGone, us.manyGone, them.fewGone, them.manyGone)
	r.less("memory of the server for each object beyond the first "+few+", history included", "KB", us.memory/1e3, them.memory/1e3)
	return nil
}

// oneWrite is one client that patches objects, one after the other.
func oneWrite(ctx context.Context, s *server, place string, objects int) (run, error) {
	client, err := coreClient(s.config, jsonType)
	if err != nil {
		return run{}, err
	}
	defer closeIdle(client)
	state := time.Now().UnixNano()
	return drive(s, 1, soloWrites, func(_, i int) error {
		name := fmt.Sprintf("object-%d", mix(uint64(i))%uint64(objects))
		body := fmt.Appendf(nil, `{"data":{"number":"%d"}}`, state+int64(i))
		return client.Patch(types.MergePatchType).Namespace(place).Resource("configmaps").Name(name).Body(body).Do(ctx).Error()
	})
}

// oneDelete is one client that deletes objects, one after the other. They are there again afterwards.
func (b *bench) oneDelete(ctx context.Context, s *server, place string) (run, error) {
	client, err := coreClient(s.config, jsonType)
	if err != nil {
		return run{}, err
	}
	defer closeIdle(client)
	deleted, err := drive(s, 1, soloDeletes, func(_, i int) error {
		return client.Delete().Namespace(place).Resource("configmaps").Name(fmt.Sprintf("object-%d", i)).Do(ctx).Error()
	})
	if err != nil {
		return run{}, err
	}
	return deleted, b.fill(ctx, s, place, 0, soloDeletes)
}
