package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

// fanned is what a fan-out cost.
type fanned struct {
	run
	// From the sending of a write to its event at a watcher.
	delay latencies
	// Events that came, of those that should have.
	came, due int
	// Bytes of server memory for each idle connection, and for each watch on such a one.
	connection, watch float64
}

// fanout compares how writes reach many watchers of the same objects, each on a connection of its own.
func (b *bench) fanout(ctx context.Context, r *result, s sides) error {
	const place = "watched"
	us, them, err := both(s, func(s *server) (fanned, error) {
		if err := createNamespace(ctx, s.config, place); err != nil {
			return fanned{}, err
		}
		return b.fan(ctx, s, place)
	})
	if err != nil {
		return err
	}
	z := b.sizes
	what := fmt.Sprintf("%s watchers, %d writes/s: ", number(known(float64(z.Watchers))), z.Rate)
	r.more(what+"events that came while it went on", "1/s", float64(us.came)/us.seconds, float64(them.came)/them.seconds).limit(float64(z.Watchers * z.Rate))
	r.less(what+"write to event, p50", "ms", us.delay.at(0.5), them.delay.at(0.5))
	r.less(what+"write to event, p99", "ms", us.delay.at(0.99), them.delay.at(0.99)).wanted("1x")
	r.less(what+"processor time of the server for 1,000 events", "ms", us.serverCPU/float64(us.came)*1e6, them.serverCPU/float64(them.came)*1e6).wanted("5x")
	r.less("memory of the server for a watch, beyond its connection", "KB", us.watch/1e3, them.watch/1e3).wanted("12 of ours")
	r.less("memory of the server for a TLS connection", "KB", us.connection/1e3, them.connection/1e3)
	return nil
}

func (b *bench) fan(ctx context.Context, s *server, place string) (f fanned, err error) {
	z := b.sizes
	client, err := coreClient(s.config, jsonType)
	if err != nil {
		return f, err
	}
	const objects = 10
	name := func(i int) string { return fmt.Sprintf("watched-%d", i%objects) }
	for i := range objects {
		body := configMap(place, name(i), nil, 0)
		if err := client.Post().Namespace(place).Resource("configmaps").SetHeader("Content-Type", jsonType).Body(body).Do(ctx).Error(); err != nil {
			return f, err
		}
	}
	version, err := listVersion(ctx, client, place, "configmaps")
	if err != nil {
		return f, err
	}
	memory0, _, err := s.memory()
	if err != nil {
		return f, err
	}
	clients, err := coreClients(s.config, jsonType, z.Watchers)
	if err != nil {
		return f, err
	}
	defer closeAll(clients)
	// Few at once: a storm of handshakes is not what is measured.
	if err := each(16, len(clients), func(i int) error { return clients[i].Get().AbsPath("/version").Do(ctx).Error() }); err != nil {
		return f, err
	}
	memory1, _, err := s.memory()
	if err != nil {
		return f, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	streams := make([]io.ReadCloser, len(clients))
	err = each(16, len(clients), func(i int) (err error) {
		streams[i], err = watchStream(ctx, clients[i], place, "configmaps", "", version)
		return err
	})
	if err != nil {
		return f, err
	}
	memory2, _, err := s.memory()
	if err != nil {
		return f, err
	}
	f.connection, f.watch = (memory1-memory0)/float64(z.Watchers), (memory2-memory1)/float64(z.Watchers)

	var came atomic.Int64
	delays, errs := make([]latencies, len(streams)), make([]error, len(streams))
	var watching sync.WaitGroup
	for i, stream := range streams {
		watching.Go(func() {
			err := eachLine(stream, func(line []byte) (bool, error) {
				sent, err := sentAt(line)
				if err != nil {
					return false, err
				}
				delays[i].add(time.Since(sent))
				came.Add(1)
				return true, nil
			})
			// Closing the stream in the end is no error.
			if ctx.Err() == nil {
				errs[i] = err
			}
		})
	}
	writes := int(z.Fanout.Seconds() * float64(z.Rate))
	f.due = writes * z.Watchers
	m, err := begin(s)
	if err != nil {
		return f, err
	}
	// Writes go out at their time, whether or not those before are answered: eight clients share them.
	const writers = 8
	began := time.Now()
	writing := make([]error, writers)
	writeClients, err := coreClients(s.config, jsonType, writers)
	if err != nil {
		return f, err
	}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := w; i < writes && writing[w] == nil; i += writers {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(z.Rate))))
				body := bytes.Replace(configMap(place, name(i), nil, 0), []byte(`"number":"0"`), fmt.Appendf(nil, `"sent":"%d"`, time.Now().UnixNano()), 1)
				writing[w] = writeClients[w].Put().Namespace(place).Resource("configmaps").Name(name(i)).SetHeader("Content-Type", jsonType).Body(body).Do(ctx).Error()
			}
		})
	}
	group.Wait()
	// Those that lag have as long again.
	for end := time.Now().Add(z.Fanout); int(came.Load()) < f.due && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	f.run, err = m.end()
	f.came = int(came.Load())
	stop()
	for _, stream := range streams {
		_ = stream.Close()
	}
	watching.Wait()
	closeAll(writeClients)
	f.delay = slices.Concat(delays...)
	return f, first(append(append(writing, errs...), err))
}

// watchStream opens a watch in JSON and gives its body as it comes.
func watchStream(ctx context.Context, client *rest.RESTClient, place, resource, selector, version string) (io.ReadCloser, error) {
	return client.Get().Namespace(place).Resource(resource).Param("watch", "true").Param("resourceVersion", version).Param("labelSelector", selector).
		Param("allowWatchBookmarks", "true").Param("timeoutSeconds", "3600").MaxRetries(20).Stream(ctx)
}

// eachLine gives the lines of a stream until it ends, which is no error, or do says that it is enough.
func eachLine(stream io.Reader, do func(line []byte) (bool, error)) error {
	reader := bufio.NewReaderSize(stream, 8192)
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if bytes.Contains(line[:min(len(line), 40)], []byte(`"BOOKMARK"`)) {
			continue
		}
		if bytes.Contains(line[:min(len(line), 40)], []byte(`"ERROR"`)) {
			return fmt.Errorf("the watch ended with %s", line)
		}
		if more, err := do(line); err != nil || !more {
			return err
		}
	}
}

// sentAt finds when the write was sent that an event tells of.
func sentAt(line []byte) (time.Time, error) {
	_, rest, ok := bytes.Cut(line, []byte(`"sent":"`))
	digits, _, ok2 := bytes.Cut(rest, []byte(`"`))
	nanos, err := strconv.ParseInt(string(digits), 10, 64)
	if !ok || !ok2 || err != nil {
		return time.Time{}, fmt.Errorf("an event that tells no time: %.200s", line)
	}
	return time.Unix(0, nanos), nil
}

// listVersion is the revision of a resource as a list gives it.
func listVersion(ctx context.Context, client *rest.RESTClient, place, resource string) (string, error) {
	answer, err := client.Get().Namespace(place).Resource(resource).Param("limit", "1").Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	return versionIn(answer)
}
