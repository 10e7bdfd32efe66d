package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// fault is a rule: which calls it is for, and what happens to them.
type fault struct {
	// Verb is an HTTP method or a verb of Kubernetes, as in RBAC; Path a glob; UserAgent a part of the header.
	Verb      string `json:"verb,omitempty"`
	Path      string `json:"path,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
	DryRun    *bool  `json:"dryRun,omitempty"`
	// Of those calls: not the first Skip, at most Times, each with the probability Every.
	Skip  int      `json:"skip,omitempty"`
	Times *int     `json:"times,omitempty"`
	Every *float64 `json:"every,omitempty"`
	Seed  uint64   `json:"seed,omitempty"`

	// DelayMS comes first; the call is held until its client goes away, or the rule.
	DelayMS int64 `json:"delay_ms,omitempty"`
	Hold    bool  `json:"hold,omitempty"`
	// Drop closes the connection, DownSeconds those of all clients, and refuses new ones for this long.
	Drop        bool         `json:"drop,omitempty"`
	DownSeconds float64      `json:"down_seconds,omitempty"`
	Error       *faultAnswer `json:"error,omitempty"`
	// After: the call has its effect before it is held, dropped or answered by an error.
	After bool `json:"after,omitempty"`
	// Cut ends a reply in its middle, EndSeconds a stream after this time.
	Cut        bool    `json:"cut,omitempty"`
	EndSeconds float64 `json:"end_seconds,omitempty"`

	// Hits counts the calls, Held those that are held now.
	Hits int `json:"hits"`
	Held int `json:"held"`

	path   *regexp.Regexp
	random *rand.Rand
	seen   int
	gone   chan struct{}
}

// faultAnswer is an error of the API; with Plain, without the document that says what it is.
type faultAnswer struct {
	Status     int                 `json:"status"`
	Reason     metav1.StatusReason `json:"reason,omitempty"`
	Message    string              `json:"message,omitempty"`
	RetryAfter int32               `json:"retryAfter,omitempty"`
	Plain      bool                `json:"plain,omitempty"`
}

var usualReasons = map[int]metav1.StatusReason{
	http.StatusForbidden:           metav1.StatusReasonForbidden,
	http.StatusNotFound:            metav1.StatusReasonNotFound,
	http.StatusConflict:            metav1.StatusReasonConflict,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
	http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
}

func (f *fault) prepare() error {
	if !f.ends() && f.DelayMS == 0 && !f.Cut && f.EndSeconds == 0 {
		return errors.New("a rule needs one of delay_ms, hold, drop, down_seconds, error, cut, end_seconds")
	}
	glob := f.Path
	if glob == "" {
		glob = "*"
	}
	var err error
	f.path, err = regexp.Compile("^" + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, ".*") + "$")
	f.random = rand.New(rand.NewPCG(f.Seed, 0))
	f.gone = make(chan struct{})
	f.Hits, f.Held = 0, 0
	return err
}

// ends tells of rules that decide how a call ends.
func (f *fault) ends() bool {
	return f.Hold || f.Drop || f.DownSeconds > 0 || f.Error != nil
}

func (f *fault) matches(r *http.Request, verb string) bool {
	dry := r.URL.Query().Has("dryRun")
	return (f.Verb == "" || strings.EqualFold(f.Verb, r.Method) || f.Verb == verb) &&
		f.path.MatchString(r.URL.Path) &&
		strings.Contains(r.UserAgent(), f.UserAgent) &&
		(f.DryRun == nil || *f.DryRun == dry)
}

// take tells whether this call is one that the rule hits; counts.
func (f *fault) take(r *http.Request, verb string) bool {
	if !f.matches(r, verb) {
		return false
	}
	f.seen++
	if f.seen <= f.Skip || f.Times != nil && f.Hits >= *f.Times || f.Every != nil && f.random.Float64() >= *f.Every {
		return false
	}
	f.Hits++
	return true
}

// answer writes the error as the API server would.
func (a *faultAnswer) answer(w http.ResponseWriter) {
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(a.RetryAfter))
	}
	if a.Plain {
		http.Error(w, a.Message, a.Status)
		return
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure,
		Code:     int32(a.Status),
		Reason:   a.Reason,
		Message:  a.Message,
	}
	if status.Reason == "" {
		status.Reason = usualReasons[a.Status]
	}
	if a.RetryAfter > 0 {
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: a.RetryAfter}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	json.NewEncoder(w).Encode(status)
}

// faults are the rules in force.
type faults struct {
	info request.RequestInfoFactory
	mu   sync.Mutex
	list []*fault
}

// take gives the rules that hit this call.
func (s *faults) take(r *http.Request) []*fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return nil
	}
	verb := ""
	if info, err := s.info.NewRequestInfo(r); err == nil {
		verb = info.Verb
	}
	var hit []*fault
	for _, f := range s.list {
		if f.take(r, verb) {
			hit = append(hit, f)
		}
	}
	return hit
}

// hold returns when the rule is gone, with true, or the client.
func (s *faults) hold(f *fault, client <-chan struct{}) bool {
	s.count(f, 1)
	defer s.count(f, -1)
	select {
	case <-f.gone:
		return true
	case <-client:
		return false
	}
}

func (s *faults) count(f *fault, held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Held += held
}

func (s *faults) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		close(f.gone)
	}
	s.list = nil
}

// add takes a rule, or a list of rules.
func (s *faults) add(body io.Reader) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if text = bytes.TrimSpace(text); !bytes.HasPrefix(text, []byte("[")) {
		text = append(append([]byte("["), text...), ']')
	}
	var list []*fault
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&list); err != nil {
		return err
	}
	for _, f := range list {
		if err := f.prepare(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, list...)
	return nil
}

func (s *faults) serve(mux *http.ServeMux, healed func()) {
	mux.HandleFunc("GET /faults", func(response http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		response.Header().Set("Content-Type", "application/json")
		json.NewEncoder(response).Encode(append([]*fault{}, s.list...))
	})
	mux.HandleFunc("POST /faults", func(response http.ResponseWriter, request *http.Request) {
		if err := s.add(request.Body); err != nil {
			http.Error(response, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(response, "ok")
	})
	mux.HandleFunc("DELETE /faults", func(response http.ResponseWriter, _ *http.Request) {
		healed()
		fmt.Fprintln(response, "ok")
	})
}

func seconds(n float64) time.Duration {
	return time.Duration(n * float64(time.Second))
}
