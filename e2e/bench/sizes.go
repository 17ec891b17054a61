package main

import (
	"flag"
	"time"
)

// sizes are how much is measured. The defaults end in a quarter of an hour on two cores.
type sizes struct {
	quick bool

	Puts    int
	Writers int

	Clients  int
	Requests int
	Listed   int
	Lists    int
	Form     string

	Watchers int
	Rate     int
	Fanout   time.Duration

	Reconnecting int
	Replayed     int

	Objects int
	Step    string

	Clusters int
	Arriving int
	Idle     time.Duration
}

func (s *sizes) flags() {
	flag.BoolVar(&s.quick, "quick", false, "all sizes that are not given: a twentieth, to see that it works")
	flag.IntVar(&s.Puts, "puts", 1_000_000, "store: durable puts")
	flag.IntVar(&s.Writers, "writers", 256, "store: writers at once on etcd (the embedded store's are always 256)")
	flag.IntVar(&s.Clients, "clients", 32, "api: clients, each with a connection of its own")
	flag.IntVar(&s.Requests, "requests", 8_000, "api: requests of each verb")
	flag.IntVar(&s.Listed, "listed", 5_000, "api: objects that are listed")
	flag.IntVar(&s.Lists, "lists", 15, "api: lists of each form")
	flag.StringVar(&s.Form, "form", "", "api: only the forms of lists whose names this regular expression matches (^JSON$, not compressed, by label, changed)")
	flag.IntVar(&s.Watchers, "watchers", 1_000, "api: watchers of the same objects")
	flag.IntVar(&s.Rate, "rate", 100, "api: writes a second while they watch")
	flag.DurationVar(&s.Fanout, "fanout", 10*time.Second, "api: how long they watch")
	flag.IntVar(&s.Reconnecting, "reconnecting", 5_000, "api: watchers that reconnect")
	flag.IntVar(&s.Replayed, "replayed", 6_000, "api: writes behind the revision of a watcher without bookmarks")
	flag.IntVar(&s.Objects, "objects", 20_000, "api: objects among which a write is measured, beside 1,000 (up to 1000000: 10 GB of memory; the stock server is left out above 100000)")
	flag.StringVar(&s.Step, "step", "", "api: only the steps whose names hold this (requests, lists, fan-out, writes, reconnecting)")
	flag.IntVar(&s.Clusters, "clusters", 1_000, "density: virtual clusters (up to 5000)")
	flag.IntVar(&s.Arriving, "arriving", 1_000, "density: virtual clusters that are asked for at 16.7 a second, beside those")
	flag.DurationVar(&s.Idle, "idle", time.Minute, "density: how long they are watched idle")
}

// settle makes what was not given small if that is wanted.
func (s *sizes) settle() {
	if !s.quick {
		return
	}
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	small := func(name string, value *int, least int) {
		if !given[name] {
			*value = max(*value/20, least)
		}
	}
	small("puts", &s.Puts, 1)
	small("requests", &s.Requests, 320)
	small("listed", &s.Listed, 1)
	small("lists", &s.Lists, 2)
	small("watchers", &s.Watchers, 1)
	small("rate", &s.Rate, 10)
	small("reconnecting", &s.Reconnecting, 1)
	small("replayed", &s.Replayed, 1)
	small("objects", &s.Objects, 1_500)
	small("clusters", &s.Clusters, 10)
	small("arriving", &s.Arriving, 10)
	if !given["idle"] {
		s.Idle = 5 * time.Second
	}
	if !given["fanout"] {
		s.Fanout = 3 * time.Second
	}
}
