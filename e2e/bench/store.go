package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	valueBytes = 1024
	keyBytes   = len("default/0123456789abcdef")
	// Connections that etcd's writers share: more is no faster on two cores, one is slower.
	etcdConnections = 8
	// What one put at a time is measured with: so many of them, first among so few records. The embedded store's program does the same.
	fewRecords = 1000
	alonePuts  = 5000
)

// store measures durable puts, memory, processor time, and recovery after kill -9, of the embedded store and of etcd.
func (b *bench) store(ctx context.Context, r *result) error {
	r.Settings = map[string]any{"puts": b.sizes.Puts, "writers": b.sizes.Writers, "value bytes": valueBytes}
	sync, err := syncTime(b.folder, b.sizes.Writers*(valueBytes+keyBytes))
	if err != nil {
		return err
	}
	b.say("%d puts into the embedded store", b.sizes.Puts)
	us, err := b.embeddedPuts(ctx)
	if err != nil {
		return err
	}
	b.clean()
	b.say("%d puts into etcd", b.sizes.Puts)
	etcd, err := b.etcdPuts(ctx)
	if err != nil {
		return err
	}
	held := float64(b.sizes.Puts * (valueBytes + keyBytes))
	r.more("durable puts, random keys, 1 KB values", "puts/s", us.Rate, etcd.Rate).wanted("5x").limit(float64(b.sizes.Writers) / sync.Seconds())
	r.less("a put, median", "ms", us.P50, etcd.P50).limit(sync.Seconds() * 1e3)
	r.less("a put, p99", "ms", us.P99, etcd.P99).wanted("1x")
	r.less("processor time of the server, 1,000 puts", "ms", us.CPU/float64(b.sizes.Puts)*1e6, etcd.CPU/float64(b.sizes.Puts)*1e6)
	r.less("resident memory when all are put, to the bytes held", "x", us.memory/held, etcd.memory/held).wanted("1.6 of ours").limit(1)
	r.less("resident memory when all are put", "MB", us.memory/1e6, etcd.memory/1e6)
	r.less("its highest", "MB", us.peak/1e6, etcd.peak/1e6)
	few, all := number(&us.Few), thousands(int64(b.sizes.Puts))
	r.less("one put at a time among "+few+" records, p50", "ms", us.FewP50, etcd.FewP50)
	r.less("one put at a time among "+all+" records, p50", "ms", us.AllP50, etcd.AllP50)
	r.add("the second to the first", "x", us.AllP50/us.FewP50, etcd.AllP50/etcd.FewP50, none).wanted("1.2 of ours")
	r.less("processor time of the server for 1,000, among "+few, "ms", us.FewCPU/us.Alone*1e6, etcd.FewCPU/etcd.Alone*1e6)
	r.less("processor time of the server for 1,000, among "+all, "ms", us.AllCPU/us.Alone*1e6, etcd.AllCPU/etcd.Alone*1e6)
	r.add("the second to the first", "x", us.AllCPU/us.FewCPU, etcd.AllCPU/etcd.FewCPU, none).wanted("1.2 of ours")
	r.less("kill -9 to the first answer", "s", us.recovery.Seconds(), etcd.recovery.Seconds()).wanted("5 s of ours")
	r.less("resident memory after that", "MB", us.after/1e6, etcd.after/1e6)
	r.note("The embedded store is a library: its writers are in its process and their work is in its processor time. etcd's writers are %d goroutines on %d connections "+
		"of its own Go client; that client used %.1f ms of processor time for 1,000 puts, on the same cores.", b.sizes.Writers, etcdConnections, etcd.client/float64(b.sizes.Puts)*1e6)
	r.note("Limit of the rate: all %d writers wait for one fdatasync of their puts, which takes %.2f ms here (median of 200 over zeros written ahead). "+
		"The embedded store made %.0f puts durable with one.", b.sizes.Writers, sync.Seconds()*1e3, float64(b.sizes.Puts)/us.Fsyncs)
	return nil
}

// puts is what one side's puts cost.
type puts struct {
	Rate, P50, P99, Max, CPU, Fsyncs float64
	// One put at a time, Alone times: among the first Few records, and among all.
	Few, FewP50, FewCPU, AllP50, AllCPU, Alone float64
	memory, peak, after, client                float64
	recovery                                   time.Duration
}

// embeddedPuts runs the program that has the embedded store inside.
func (b *bench) embeddedPuts(ctx context.Context) (p puts, err error) {
	folder := filepath.Join(b.folder, "embedded")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return p, err
	}
	run := func(into any, args ...string) (*process, error) {
		cmd := exec.Command(b.puts, args...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
		// Having answered it holds the store until it is killed.
		process, err := b.processes.run("puts", cmd)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
		defer stop()
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err != nil {
			<-process.done
			return nil, process.failure()
		}
		return process, json.Unmarshal(line, into)
	}
	writing, err := run(&p, "write", fmt.Sprint(b.sizes.Puts), folder)
	if err != nil {
		return p, err
	}
	if p.memory, p.peak, err = writing.memory(); err != nil {
		return p, err
	}
	writing.kill()
	var opened struct{ Seconds float64 }
	began := time.Now()
	reading, err := run(&opened, "read", folder, fmt.Sprint(b.sizes.Puts))
	if err != nil {
		return p, err
	}
	p.recovery = time.Since(began)
	p.after, _, err = reading.memory()
	reading.kill()
	return p, err
}

// etcdPuts writes through etcd's own client.
func (b *bench) etcdPuts(ctx context.Context) (p puts, err error) {
	ports, err := freePorts(2)
	if err != nil {
		return p, err
	}
	folder := filepath.Join(b.folder, "etcd")
	etcd, err := b.startEtcd(folder, ports[0], ports[1])
	if err != nil {
		return p, err
	}
	clients := make([]*clientv3.Client, etcdConnections)
	for i := range clients {
		clients[i], err = clientv3.New(clientv3.Config{Endpoints: []string{fmt.Sprintf("127.0.0.1:%d", ports[0])}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			return p, err
		}
		defer clients[i].Close()
	}
	answers := func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := clients[0].Get(ctx, "x")
		return err
	}
	if err := await("etcd", time.Minute, []*process{etcd}, answers); err != nil {
		return p, err
	}
	put := func(writers, count, keys int) (run, error) {
		return drive(&server{processes: []*process{etcd}}, writers, count, func(_, i int) error {
			_, err := clients[i%etcdConnections].Put(ctx, fmt.Sprintf("default/%016x", mix(uint64(i%keys))), randomValue(uint64(i)))
			return err
		})
	}
	records := min(fewRecords, b.sizes.Puts)
	if _, err := put(b.sizes.Writers, records, records); err != nil {
		return p, err
	}
	few, err := put(1, alonePuts, records)
	if err != nil {
		return p, err
	}
	run, err := put(b.sizes.Writers, b.sizes.Puts, b.sizes.Puts)
	if err != nil {
		return p, err
	}
	all, err := put(1, alonePuts, b.sizes.Puts)
	if err != nil {
		return p, err
	}
	p = puts{Rate: run.rate(), P50: run.latencies.at(0.5), P99: run.latencies.at(0.99), CPU: run.serverCPU, client: run.clientCPU,
		FewP50: few.latencies.at(0.5), FewCPU: few.serverCPU, AllP50: all.latencies.at(0.5), AllCPU: all.serverCPU, Alone: alonePuts}
	if p.memory, p.peak, err = etcd.memory(); err != nil {
		return p, err
	}
	etcd.kill()
	began := time.Now()
	if etcd, err = b.startEtcd(folder, ports[0], ports[1]); err != nil {
		return p, err
	}
	if err := await("etcd after kill -9", 5*time.Minute, []*process{etcd}, answers); err != nil {
		return p, err
	}
	p.recovery = time.Since(began)
	found, err := clients[0].Get(ctx, "default/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return p, err
	}
	if found.Count != int64(b.sizes.Puts) {
		return p, fmt.Errorf("etcd has %d records, %d were acknowledged", found.Count, b.sizes.Puts)
	}
	p.after, _, err = etcd.memory()
	etcd.stop()
	return p, err
}

// mix spreads numbers so that each stays distinct.
func mix(n uint64) uint64 {
	n = (n + 1) * 0x9e3779b97f4a7c15
	n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9
	return n ^ (n >> 31)
}

// randomValue does not compress.
func randomValue(seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 1))
	value := make([]byte, 0, valueBytes)
	for len(value) < valueBytes {
		n := random.Uint64()
		value = append(value, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32), byte(n>>40), byte(n>>48), byte(n>>56))
	}
	return string(value)
}

// syncTime is the median time in which so many bytes, written over zeros, become durable.
func syncTime(folder string, bytes int) (time.Duration, error) {
	const times = 200
	file, err := os.CreateTemp(folder, "sync")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	block := make([]byte, bytes)
	for i := range times {
		if _, err := file.WriteAt(block, int64(i*bytes)); err != nil {
			return 0, err
		}
	}
	if err := file.Sync(); err != nil {
		return 0, err
	}
	copy(block, randomValue(1))
	var all latencies
	for i := range times {
		began := time.Now()
		if _, err := file.WriteAt(block, int64(i*bytes)); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return 0, err
		}
		all.add(time.Since(began))
	}
	return time.Duration(all.at(0.5) * float64(time.Millisecond)), nil
}
