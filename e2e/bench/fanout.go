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
	// Events that came, of those that should have, and how long the last one was.
	came, due, size int
	// Writes of the server, to sockets mostly.
	writes float64
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
	// An event of ours is padded to be as long in what does the least.
	bare := len(fmt.Sprintf(`{"type":"MODIFIED","object":%s}`+"\n", watchedMap(place, 0)))
	teller, err := b.startSelf(ctx, s.stock, "teller", fmt.Sprint(max(0, us.size-bare)))
	if err != nil {
		return err
	}
	least, err := b.fan(ctx, teller, place)
	if err != nil {
		return fmt.Errorf("%s: %w", teller.name, err)
	}
	teller.processes[0].stop()
	z := b.sizes
	what := fmt.Sprintf("%s watchers, %d writes/s: ", number(known(float64(z.Watchers))), z.Rate)
	thousand := func(f fanned, count float64) float64 { return count / float64(f.came) * 1e3 }
	cpu := func(f fanned) float64 { return thousand(f, f.serverCPU*1e3) }
	r.more(what+"events that came while it went on", "1/s", float64(us.came)/us.seconds, float64(them.came)/them.seconds).limit(float64(z.Watchers * z.Rate))
	r.less(what+"write to event, p50", "ms", us.delay.at(0.5), them.delay.at(0.5))
	r.less(what+"write to event, p99", "ms", us.delay.at(0.99), them.delay.at(0.99)).wanted("1x")
	r.less(what+"processor time of the server for 1,000 events", "ms", cpu(us), cpu(them)).wanted("5x").limit(cpu(least))
	r.less(what+"writes of the server for 1,000 events", "", thousand(us, us.writes), thousand(them, them.writes)).limit(thousand(least, least.writes))
	r.less("memory of the server for a watch, beyond its connection", "KB", us.watch/1e3, them.watch/1e3).wanted("12 of ours")
	r.less("memory of the server for a TLS connection", "KB", us.connection/1e3, them.connection/1e3)
	r.note("Limit of processor time for events: a server in Go that has no objects and tells each of %d watchers of each of %d puts a second in %s bytes, with one frame, one TLS record and one "+
		"write, and reads nothing of what they send back; of its events %s a second came, p50 %s ms. Several events in one write cost less than that.",
		z.Watchers, z.Rate, number(known(float64(us.size))), number(known(float64(least.came)/least.seconds)), number(known(least.delay.at(0.5))))
	return nil
}

func (b *bench) fan(ctx context.Context, s *server, place string) (f fanned, err error) {
	z := b.sizes
	client, err := coreClient(s.config, jsonType)
	if err != nil {
		return f, err
	}
	for i := range watchedObjects {
		body := configMap(place, watchedName(i), nil, 0)
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
	delays, sizes, errs := make([]latencies, len(streams)), make([]int, len(streams)), make([]error, len(streams))
	var watching sync.WaitGroup
	for i, stream := range streams {
		watching.Go(func() {
			err := eachLine(stream, func(line []byte) (bool, error) {
				sent, err := sentAt(line)
				if err != nil {
					return false, err
				}
				delays[i].add(time.Since(sent))
				sizes[i] = len(line)
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
	writes0, err := s.writes()
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
				writing[w] = writeClients[w].Put().Namespace(place).Resource("configmaps").Name(watchedName(i)).SetHeader("Content-Type", jsonType).Body(watchedMap(place, i)).Do(ctx).Error()
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
	writes1, err1 := s.writes()
	f.writes, err = writes1-writes0, errors.Join(err, err1)
	stop()
	for _, stream := range streams {
		_ = stream.Close()
	}
	watching.Wait()
	closeAll(writeClients)
	f.delay, f.size = slices.Concat(delays...), slices.Max(sizes)
	return f, first(append(append(writing, errs...), err))
}

// What is watched: so many objects, each of which is written in turn with the time at which that is sent.
const watchedObjects = 10

func watchedName(i int) string { return fmt.Sprintf("watched-%d", i%watchedObjects) }

func watchedMap(place string, i int) []byte {
	sent := fmt.Appendf(nil, `"sent":"%d"`, time.Now().UnixNano())
	return bytes.Replace(configMap(place, watchedName(i), nil, 0), []byte(`"number":"0"`), sent, 1)
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
