package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// latencies of requests; each worker has its own and they are joined in the end.
type latencies []time.Duration

func (l *latencies) add(d time.Duration) { *l = append(*l, d) }

// at gives the milliseconds below which this part of all stayed. Sorts.
func (l latencies) at(part float64) float64 {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return float64(l[int(float64(len(l)-1)*part)]) / float64(time.Millisecond)
}

// run is what a number of requests cost.
type run struct {
	count   int
	seconds float64
	// Processor time of the server's processes, and of this one.
	serverCPU, clientCPU float64
	latencies            latencies
}

func (r run) rate() float64 { return float64(r.count) / r.seconds }

// add takes another run into this one.
func (r *run) add(other run) {
	r.count += other.count
	r.seconds += other.seconds
	r.serverCPU += other.serverCPU
	r.clientCPU += other.clientCPU
	r.latencies = append(r.latencies, other.latencies...)
}

// perThousand is the server's processor time for a thousand requests.
func (r run) perThousand() float64 { return r.serverCPU / float64(r.count) * 1000 }

// meter counts what happens between its making and end.
type meter struct {
	server      *server
	began       time.Time
	server0, us float64
}

func begin(s *server) (meter, error) {
	cpu, err := s.cpu()
	return meter{server: s, began: time.Now(), server0: cpu, us: ownCPU()}, err
}

func (m meter) end() (run, error) {
	seconds := time.Since(m.began).Seconds()
	cpu, err := m.server.cpu()
	return run{seconds: seconds, serverCPU: cpu - m.server0, clientCPU: ownCPU() - m.us}, err
}

// drive lets workers do `count` requests together, each of them one after the other. do gets the worker and the number of the request
// among all. The first error ends it.
func drive(s *server, workers, count int, do func(worker, i int) error) (run, error) {
	m, err := begin(s)
	if err != nil {
		return run{}, err
	}
	each, errs := make([]latencies, workers), make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < count; i += workers {
				start := time.Now()
				if errs[w] = do(w, i); errs[w] != nil {
					return
				}
				each[w].add(time.Since(start))
			}
		})
	}
	group.Wait()
	result, err := m.end()
	if err := first(append(errs, err)); err != nil {
		return run{}, err
	}
	result.latencies = slices.Concat(each...)
	result.count = len(result.latencies)
	return result, nil
}

// each does `count` things, at most `workers` at once, and gives the first error.
func each(workers, count int, do func(i int) error) error {
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < count && errs[w] == nil; i += workers {
				errs[w] = do(i)
			}
		})
	}
	group.Wait()
	return first(errs)
}

// first is one error for all: workers mostly fail together and say the same.
func first(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	default:
		return fmt.Errorf("%w (and %d more errors)", errs[0], len(errs)-1)
	}
}
