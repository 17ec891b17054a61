package main

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// canned answers each request with a config map of 1 KB as soon as its body is read; below /kept/ with what was put there, headers included.
func canned(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: bench canned ADDRESS CERTIFICATE KEY")
	}
	one := configMap("canned", "canned", nil, 0)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", jsonType)
		_, _ = w.Write(one)
	})
	mux.Handle("/kept/", &kept{})
	server := http.Server{Addr: args[0], Handler: mux}
	return server.ListenAndServeTLS(args[1], args[2])
}

// kept answers with the body that was put last.
type kept struct {
	lock sync.Mutex
	body []byte
	// What it is and how it is compressed.
	header http.Header
}

func (k *kept) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.lock.Lock()
	defer k.lock.Unlock()
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		k.body, k.header = body, http.Header{"Content-Type": r.Header["Content-Type"]}
		if coding := r.Header["Content-Encoding"]; coding != nil {
			k.header["Content-Encoding"] = coding
		}
		return
	}
	for name, values := range k.header {
		w.Header()[name] = values
	}
	_, _ = w.Write(k.body)
}
