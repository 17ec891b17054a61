package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

const (
	// Watchers that share a connection, as the informers of one process do.
	watchersEach = 50
	// Writes a second while bookmarks come; the writes before stand for ten minutes of them.
	tickRate = 10
	// How long bookmarks are waited for.
	tickFor = 15 * time.Second
	replays = "reconnecting"
	// A resource of its own, so that no other measurement writes to it.
	replayed = "secrets"
	marker   = "marker"
)

// returned is what it cost that all watchers came back.
type returned struct {
	run
	// Writes that lie behind the watchers' revisions, which the server must look at: all watchers together.
	behind float64
	// Events and listed objects that were sent.
	sent int64
	// Watchers whose revision was no longer held, so that they listed anew.
	relisted int64
	// Requests that were refused or cut off and sent again.
	retries int64
}

// reconnect compares 5,000 watchers that come back at once after kill -9 of the server, with the revision of the last event that they saw
// and with that of their last bookmark. Each watches a selection of its own that was quiet meanwhile, while others wrote.
func (b *bench) reconnect(ctx context.Context, r *result, s sides) error {
	z := b.sizes
	type outcome struct {
		up            time.Duration
		without, with returned
	}
	measure := func(s *server, restart func(context.Context) error) (o outcome, err error) {
		if err := createNamespace(ctx, s.config, replays); err != nil {
			return o, err
		}
		client, err := coreClient(s.config, jsonType)
		if err != nil {
			return o, err
		}
		old, err := listVersion(ctx, client, replays, replayed)
		if err != nil {
			return o, err
		}
		bookmark, writes, err := b.age(ctx, s, client, old)
		if err != nil {
			return o, err
		}
		closeIdle(client)
		began := time.Now()
		if err := restart(ctx); err != nil {
			return o, err
		}
		o.up = time.Since(began)
		// The write that proves that a watcher is up to date: it is behind the revision of all.
		client, err = coreClient(s.config, jsonType)
		if err != nil {
			return o, err
		}
		if err := client.Post().Namespace(replays).Resource(replayed).SetHeader("Content-Type", jsonType).Body(secret(marker, "all", 0)).Do(ctx).Error(); err != nil {
			return o, err
		}
		if err := quiet(ctx, s); err != nil {
			return o, err
		}
		if o.with, err = b.comeBack(ctx, s, bookmark); err != nil {
			return o, fmt.Errorf("with bookmarks: %w", err)
		}
		if err := quiet(ctx, s); err != nil {
			return o, err
		}
		if o.without, err = b.comeBack(ctx, s, old); err != nil {
			return o, fmt.Errorf("without bookmarks: %w", err)
		}
		behind := func(version string) float64 {
			from, _ := strconv.ParseInt(version, 10, 64)
			after := len(writes) - sortedAfter(writes, from)
			return float64((after + 1) * z.Reconnecting)
		}
		o.without.behind, o.with.behind = behind(old), behind(bookmark)
		return o, nil
	}
	them, err := measure(&s.stock.server, s.stock.restart)
	if err != nil {
		return fmt.Errorf("%s: %w", s.stock.name, err)
	}
	us, err := measure(&s.ours.server, s.ours.restart)
	if err != nil {
		return fmt.Errorf("%s: %w", s.ours.name, err)
	}
	watchers := number(known(float64(z.Reconnecting))) + " watchers reconnect "
	r.less("kill -9 of the server to its first answer", "s", us.up.Seconds(), them.up.Seconds())
	r.less(watchers+"with a bookmark's revision: until all are up to date", "s", us.with.seconds, them.with.seconds).wanted("2 s of ours")
	r.less(watchers+"without: until all are up to date", "s", us.without.seconds, them.without.seconds)
	r.less("with: processor time of the server", "s", us.with.serverCPU, them.with.serverCPU)
	r.less("without: processor time of the server", "s", us.without.serverCPU, them.without.serverCPU)
	r.less("with: watchers that must list anew", "", float64(us.with.relisted), float64(them.with.relisted))
	r.less("without: watchers that must list anew", "", float64(us.without.relisted), float64(them.without.relisted))
	r.less("with: events and objects sent", "", float64(us.with.sent), float64(them.with.sent))
	r.less("without: events and objects sent", "", float64(us.without.sent), float64(them.without.sent))
	r.add("with: writes behind the watchers' revisions", "", us.with.behind, them.with.behind, none)
	r.add("without: writes behind the watchers' revisions", "", us.without.behind, them.without.behind, none)
	r.add("writes to replay without bookmarks, to those with", "x", us.without.behind/us.with.behind, them.without.behind/them.with.behind, none).wanted("40 of ours")
	for _, o := range []struct {
		who      string
		returned returned
	}{{s.stock.name + " with bookmarks", them.with}, {s.stock.name + " without", them.without}, {"ours with", us.with}, {"ours without", us.without}} {
		if o.returned.retries > 0 {
			r.note("Reconnecting, %s: %d requests were refused or cut off and sent again.", o.who, o.returned.retries)
		}
	}
	r.note("Reconnecting: %d watchers on each connection, each selects what was quiet for %d writes of others (ten minutes at %d a second), then for %s at that rate while "+
		"bookmarks come. Ours sends one every 10 s, kube-apiserver every minute. After a restart kube-apiserver holds no history, so its watchers list anew.",
		watchersEach, z.Replayed, tickRate, tickFor)
	return nil
}

// age makes the watchers' revision old: many writes that none of them selects. It gives the revision of the last bookmark and those of all writes.
func (b *bench) age(ctx context.Context, s *server, client *rest.RESTClient, old string) (bookmark string, writes []int64, err error) {
	const objects = 100
	write := func(c *rest.RESTClient, i int) (int64, error) {
		name := fmt.Sprintf("noise-%d", i%objects)
		request := c.Put().Name(name)
		if i < objects {
			request = c.Post()
		}
		answer, err := request.Namespace(replays).Resource(replayed).SetHeader("Content-Type", jsonType).Body(secret(name, "none", i)).Do(ctx).Raw()
		if err != nil {
			return 0, err
		}
		version, err := versionIn(answer)
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(version, 10, 64)
	}
	clients, err := coreClients(s.config, jsonType, b.sizes.Clients)
	if err != nil {
		return "", nil, err
	}
	defer closeAll(clients)
	count := max(b.sizes.Replayed, objects)
	writes = make([]int64, count)
	// The objects first: they are created once.
	for _, span := range [][2]int{{0, objects}, {objects, count}} {
		_, err := drive(s, len(clients), span[1]-span[0], func(w, i int) (err error) {
			writes[span[0]+i], err = write(clients[w], span[0]+i)
			return err
		})
		if err != nil {
			return "", nil, err
		}
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := watchStream(watching, client, replays, replayed, "watcher in (sample,all)", old)
	if err != nil {
		return "", nil, err
	}
	var last atomic.Pointer[string]
	last.Store(&old)
	var reader sync.WaitGroup
	reader.Go(func() { bookmarks(stream, func(version string) { last.Store(&version) }) })
	ticker := time.NewTicker(time.Second / tickRate)
	defer ticker.Stop()
	for end := time.Now().Add(tickFor); time.Now().Before(end); {
		<-ticker.C
		version, err := write(clients[0], len(writes))
		if err != nil {
			return "", nil, err
		}
		writes = append(writes, version)
	}
	bookmark = *last.Load()
	stop()
	_ = stream.Close()
	reader.Wait()
	slices.Sort(writes)
	return bookmark, writes, nil
}

// bookmarks tells the revision of each bookmark of a stream.
func bookmarks(stream interface{ Read([]byte) (int, error) }, tell func(string)) {
	decoder := json.NewDecoder(stream)
	for {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if decoder.Decode(&event) != nil {
			return
		}
		if version, err := versionIn(event.Object); err == nil && event.Type == "BOOKMARK" {
			tell(version)
		}
	}
}

// comeBack opens all watches at once and waits until each has seen the marker.
func (b *bench) comeBack(ctx context.Context, s *server, version string) (result returned, err error) {
	count := b.sizes.Reconnecting
	clients, err := coreClients(s.config, jsonType, (count+watchersEach-1)/watchersEach)
	if err != nil {
		return result, err
	}
	defer closeAll(clients)
	ctx, stop := context.WithTimeout(ctx, 3*time.Minute)
	defer stop()
	var sent, relisted, retries atomic.Int64
	m, err := begin(s)
	if err != nil {
		return result, err
	}
	err = each(len(clients), len(clients), func(c int) error {
		// Requests that find no connection would each begin one: the first of an informer's process makes it.
		if err := insist(ctx, &retries, func() error { return clients[c].Get().AbsPath("/version").Do(ctx).Error() }); err != nil {
			return err
		}
		mine := min(watchersEach, count-c*watchersEach)
		return each(mine, mine, func(i int) error {
			return insist(ctx, &retries, func() error {
				again, events, err := catchUp(ctx, clients[c], fmt.Sprintf("watcher in (w%d,all)", c*watchersEach+i), version)
				sent.Add(events)
				if again {
					relisted.Add(1)
				}
				return err
			})
		})
	})
	if err != nil {
		return result, err
	}
	result.run, err = m.end()
	result.sent, result.relisted, result.retries = sent.Load(), relisted.Load(), retries.Load()
	return result, err
}

// insist tries again after a tenth of a second, as informers do, until it succeeds or the time is over.
func insist(ctx context.Context, retries *atomic.Int64, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
			retries.Add(1)
		}
	}
}

var errGone = errors.New("the revision is no longer held")

// catchUp does what an informer does: it watches from its revision; if that is no longer held it lists and watches from there.
func catchUp(ctx context.Context, client *rest.RESTClient, selector, version string) (relisted bool, events int64, err error) {
	// Streams stay open until all are up to date, so that the server holds all of them: they end with the context.
	stream, err := watchStream(ctx, client, replays, replayed, selector, version)
	if err == nil {
		err = eachLine(stream, func(line []byte) (bool, error) {
			events++
			return !bytes.Contains(line, []byte(`"`+marker+`"`)), nil
		})
		if err != nil && bytes.Contains([]byte(err.Error()), []byte(`"code":410`)) {
			_ = stream.Close()
			err = errGone
		}
	} else if status := (apierrors.APIStatus)(nil); errors.As(err, &status) && status.Status().Code == http.StatusGone {
		err = errGone
	}
	if !errors.Is(err, errGone) {
		return false, events, err
	}
	answer, err := client.Get().Namespace(replays).Resource(replayed).Param("labelSelector", selector).Param("resourceVersion", "0").Do(ctx).Raw()
	if err != nil {
		return true, events, err
	}
	var list struct {
		Items []json.RawMessage
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return true, events, err
	}
	events += int64(len(list.Items))
	if len(list.Items) == 0 {
		return true, events, errors.New("the list lacks the marker")
	}
	version, err = versionIn(answer)
	if err != nil {
		return true, events, err
	}
	_, err = watchStream(ctx, client, replays, replayed, selector, version)
	return true, events, err
}

func secret(name, watcher string, number int) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"labels":{"watcher":%q}},"stringData":{"number":"%d","payload":%q}}`,
		name, watcher, number, payload(name))
}

func versionIn(object []byte) (string, error) {
	var with struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(object, &with); err != nil {
		return "", err
	}
	return with.Metadata.ResourceVersion, nil
}

// sortedAfter is the place of the first number that is greater.
func sortedAfter(sorted []int64, than int64) int {
	place, _ := slices.BinarySearch(sorted, than+1)
	return place
}
