package main

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"os"

	certutil "k8s.io/client-go/util/cert"
)

// tlsServer is what the API server calls: for logs of pods, and as webhook.
type tlsServer struct {
	mux      *http.ServeMux
	listener net.Listener
	caBundle []byte
	config   *tls.Config
}

func newTLSServer() (*tlsServer, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	listener, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	return &tlsServer{mux: http.NewServeMux(), listener: listener, caBundle: cert, config: config}, nil
}

func (s *tlsServer) start() {
	server := &http.Server{Handler: s.mux, TLSConfig: s.config, ErrorLog: log.New(os.Stderr, "node: ", log.LstdFlags)}
	go exitWhenDone("node server", func() error { return server.ServeTLS(s.listener, "", "") })
}
