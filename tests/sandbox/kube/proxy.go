package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// proxy is what users know as the API server: it is always in front of it, and
// makes the faults that tests ask for. The cluster's own parts go past it.
type proxy struct {
	faults  faults
	backend *httputil.ReverseProxy
	config  *tls.Config
	address string

	mu     sync.Mutex
	server *http.Server
	// While it is down: what ends that.
	revive context.CancelFunc
}

type endKey struct{}

func startProxy(creds *credentials, api *rest.Config) (*proxy, error) {
	target, err := url.Parse(api.Host)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := rest.TLSConfigFor(api)
	if err != nil {
		return nil, err
	}
	// The API server's own certificate: clients know no other.
	pair, err := tls.LoadX509KeyPair(creds.caFile, filepath.Join(creds.certDir, "apiserver.key"))
	if err != nil {
		return nil, err
	}
	p := &proxy{config: &tls.Config{Certificates: []tls.Certificate{pair}}}
	p.faults.info = request.RequestInfoFactory{
		APIPrefixes:          sets.NewString("api", "apis"),
		GrouplessAPIPrefixes: sets.NewString("api"),
	}
	p.backend = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: 100},
		FlushInterval:  -1,
		ModifyResponse: endStream,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	listener, err := listenAgain("")
	if err != nil {
		return nil, err
	}
	p.address = listener.Addr().String()
	p.listen(listener)
	return p, nil
}

// listenAgain binds an address that was free a moment ago, or any: below the
// ports that the kernel gives to outgoing connections, so that nothing takes
// it while the proxy is down.
func listenAgain(address string) (listener net.Listener, err error) {
	for range 200 {
		wanted := address
		if wanted == "" {
			wanted = fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		}
		if listener, err = net.Listen("tcp4", wanted); err == nil {
			return listener, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, err
}

func (p *proxy) listen(listener net.Listener) {
	server := &http.Server{Handler: p, TLSConfig: p.config.Clone(), ErrorLog: log.New(io.Discard, "", 0)}
	p.server = server
	go func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			exitWhenDone("proxy", func() error { return err })
		}
	}()
}

// fall closes all connections, and refuses new ones for some time.
func (p *proxy) fall(down time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revive != nil {
		return
	}
	p.server.Close()
	over, revive := context.WithTimeout(context.Background(), down)
	p.revive = revive
	go func() {
		<-over.Done()
		if errors.Is(over.Err(), context.DeadlineExceeded) {
			p.rise()
		}
	}()
}

func (p *proxy) rise() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revive == nil {
		return
	}
	p.revive()
	p.revive = nil
	listener, err := listenAgain(p.address)
	if err != nil {
		exitWhenDone("proxy", func() error { return err })
	}
	p.listen(listener)
}

// heal ends all faults; it listens when this returns.
func (p *proxy) heal() {
	p.faults.clear()
	p.rise()
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hit := p.faults.take(r)
	if len(hit) == 0 {
		p.backend.ServeHTTP(w, r)
		return
	}
	// Once it is read, a client that goes away is noticed.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	for _, f := range hit {
		time.Sleep(time.Duration(f.DelayMS) * time.Millisecond)
		if f.EndSeconds > 0 {
			r = r.WithContext(context.WithValue(r.Context(), endKey{}, f))
		}
	}
	cut := slices.ContainsFunc(hit, func(f *fault) bool { return f.Cut && f.EndSeconds == 0 })
	last := slices.IndexFunc(hit, (*fault).ends)
	if last < 0 {
		if cut {
			writeHalf(w, p.perform(r))
		}
		p.backend.ServeHTTP(w, r)
		return
	}
	p.end(w, r, hit[last])
}

// end is for calls that don't get their own answer.
func (p *proxy) end(w http.ResponseWriter, r *http.Request, f *fault) {
	var reply *httptest.ResponseRecorder
	if f.After {
		reply = p.perform(r)
	}
	switch {
	case f.Hold:
		if !p.faults.hold(f, r.Context().Done()) {
			panic(http.ErrAbortHandler)
		}
		if reply == nil {
			reply = p.perform(r)
		}
		write(w, reply, reply.Body.Bytes())
	case f.Error != nil:
		f.Error.answer(w)
	case f.DownSeconds > 0:
		p.fall(seconds(f.DownSeconds))
		fallthrough
	default:
		panic(http.ErrAbortHandler)
	}
}

// perform makes the call, even if its client goes away meanwhile.
func (p *proxy) perform(r *http.Request) *httptest.ResponseRecorder {
	reply := httptest.NewRecorder()
	p.backend.ServeHTTP(reply, r.WithContext(context.WithoutCancel(r.Context())))
	return reply
}

func write(w http.ResponseWriter, reply *httptest.ResponseRecorder, body []byte) {
	for name, values := range reply.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(reply.Body.Len()))
	w.WriteHeader(reply.Code)
	if _, err := w.Write(body); err != nil {
		klog.V(2).InfoS("A client of the proxy went away", "err", err)
	}
}

func writeHalf(w http.ResponseWriter, reply *httptest.ResponseRecorder) {
	write(w, reply, reply.Body.Bytes()[:reply.Body.Len()/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// endStream ends a body some time after it began, or cuts it off.
func endStream(response *http.Response) error {
	if f, ok := response.Request.Context().Value(endKey{}).(*fault); ok {
		reader, writer := io.Pipe()
		body := response.Body
		go func() {
			_, err := io.Copy(writer, body)
			writer.CloseWithError(err)
		}()
		time.AfterFunc(seconds(f.EndSeconds), func() {
			if f.Cut {
				writer.CloseWithError(io.ErrUnexpectedEOF)
			} else {
				writer.Close()
			}
			body.Close()
		})
		response.Body = reader
		response.ContentLength = -1
		response.Header.Del("Content-Length")
	}
	return nil
}
