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
)

// scale compares the cost of one write among few objects and among many.
func (b *bench) scale(ctx context.Context, r *result, s sides) error {
	const place = "many"
	type cost struct{ few, many, fewGone, manyGone run }
	us, them, err := both(s, func(s *server) (c cost, err error) {
		if err := createNamespace(ctx, s.config, place); err != nil {
			return c, err
		}
		if err := b.fill(ctx, s, place, 0, fewObjects); err != nil {
			return c, err
		}
		if c.few, err = oneWrite(ctx, s, place, fewObjects); err != nil {
			return c, err
		}
		if c.fewGone, err = b.oneDelete(ctx, s, place); err != nil {
			return c, err
		}
		if err := b.fill(ctx, s, place, fewObjects, b.sizes.Objects); err != nil {
			return c, err
		}
		if err := quiet(ctx, s); err != nil {
			return c, err
		}
		if c.many, err = oneWrite(ctx, s, place, b.sizes.Objects); err != nil {
			return c, err
		}
		c.manyGone, err = b.oneDelete(ctx, s, place)
		return c, err
	})
	if err != nil {
		return err
	}
	few, many := number(known(fewObjects)), number(known(float64(b.sizes.Objects)))
	compare := func(what string, us, usMany, them, themMany run) {
		r.less("one "+what+" at a time among "+few+" objects, p50", "ms", us.latencies.at(0.5), them.latencies.at(0.5))
		r.less("one "+what+" at a time among "+many+" objects, p50", "ms", usMany.latencies.at(0.5), themMany.latencies.at(0.5))
		r.add("the second to the first", "x", usMany.latencies.at(0.5)/us.latencies.at(0.5), themMany.latencies.at(0.5)/them.latencies.at(0.5), none).wanted("1.2 of ours")
		r.less("processor time of the server for 1,000, among "+few, "ms", us.perThousand()*1e3, them.perThousand()*1e3)
		r.less("processor time of the server for 1,000, among "+many, "ms", usMany.perThousand()*1e3, themMany.perThousand()*1e3)
		r.add("the second to the first", "x", usMany.perThousand()/us.perThousand(), themMany.perThousand()/them.perThousand(), none).wanted("1.2 of ours")
	}
	compare("write", us.few, us.many, them.few, them.many)
	compare("deletion", us.fewGone, us.manyGone, them.fewGone, them.manyGone)
	return nil
}

// oneWrite is one client that patches objects, one after the other.
func oneWrite(ctx context.Context, s *server, place string, objects int) (run, error) {
	client, err := coreClient(s.config, jsonType)
	if err != nil {
		return run{}, err
	}
	defer client.Client.CloseIdleConnections()
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
	defer client.Client.CloseIdleConnections()
	deleted, err := drive(s, 1, soloDeletes, func(_, i int) error {
		return client.Delete().Namespace(place).Resource("configmaps").Name(fmt.Sprintf("object-%d", i)).Do(ctx).Error()
	})
	if err != nil {
		return run{}, err
	}
	return deleted, b.fill(ctx, s, place, 0, soloDeletes)
}
