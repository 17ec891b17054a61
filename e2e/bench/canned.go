package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// canned answers each request with a config map of 1 KB as soon as its body is read; below /many/ with as many as were asked for at the start.
func canned(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: bench canned ADDRESS CERTIFICATE KEY COUNT")
	}
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	one := configMap("canned", "canned", nil, 0)
	many := bytes.Repeat(one, count)
	mux := http.NewServeMux()
	answer := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", jsonType)
			_, _ = w.Write(body)
		}
	}
	mux.Handle("/", answer(one))
	mux.Handle("/many/", answer(many))
	server := http.Server{Addr: args[0], Handler: mux}
	return server.ListenAndServeTLS(args[1], args[2])
}
