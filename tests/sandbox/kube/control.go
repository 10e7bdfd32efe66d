package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// startControl serves what tests ask of the cluster, beside its own API.
func startControl(w *wiper, hook *webhook, p *proxy) (url string, err error) {
	listener, err := listenLoopback()
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(response, "ok")
	})
	mux.HandleFunc("POST /wipe", func(response http.ResponseWriter, request *http.Request) {
		p.heal()
		// Not cut short by a client that goes away.
		answer(response, w.wipe(context.WithoutCancel(request.Context())))
	})
	mux.HandleFunc("POST /webhook", func(response http.ResponseWriter, request *http.Request) {
		var body struct{ Enabled *bool }
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil || body.Enabled == nil {
			http.Error(response, `expected {"enabled":true} or {"enabled":false}`, http.StatusBadRequest)
			return
		}
		change := hook.disable
		if *body.Enabled {
			change = hook.enable
		}
		answer(response, change(request.Context()))
	})
	p.faults.serve(mux, p.heal)
	go exitWhenDone("control server", func() error { return http.Serve(listener, mux) })
	return "http://" + listener.Addr().String(), nil
}

func answer(response http.ResponseWriter, err error) {
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(response, "ok")
}
