package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crilogs "k8s.io/cri-client/pkg/logs"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// logFile holds the output of one process in CRI's format, which the kubelet's reader knows.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	all  []*logStream
}

// logStream is one of a process's outputs.
type logStream struct {
	log     *logFile
	name    string
	partial []byte // a line that has not ended yet
}

func createLogFile(path string) (*logFile, error) {
	file, err := os.Create(path)
	return &logFile{file: file}, err
}

func (l *logFile) stream(name string) io.Writer {
	s := &logStream{log: l, name: name}
	l.all = append(l.all, s)
	return s
}

func (s *logStream) Write(data []byte) (int, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.partial = append(s.partial, data...)
	for {
		end := bytes.IndexByte(s.partial, '\n')
		if end < 0 {
			return len(data), nil
		}
		if err := s.line(s.partial[:end]); err != nil {
			return 0, err
		}
		s.partial = s.partial[end+1:]
	}
}

func (s *logStream) line(text []byte) error {
	_, err := fmt.Fprintf(s.log.file, "%s %s F %s\n", time.Now().UTC().Format(time.RFC3339Nano), s.name, text)
	return err
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if len(s.partial) > 0 {
			s.line(s.partial)
		}
	}
	l.file.Close()
}

// serveLogs is the kubelet's endpoint for logs.
func (n *node) serveLogs(w http.ResponseWriter, r *http.Request) {
	options := &v1.PodLogOptions{}
	if err := legacyscheme.ParameterCodec.DecodeParameters(r.URL.Query(), v1.SchemeGroupVersion, options); err != nil {
		fail(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := r.PathValue("container")
	p := n.pods.find(r.PathValue("namespace"), r.PathValue("pod"))
	if p == nil {
		fail(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	c := p.container(name)
	if c == nil {
		fail(w, fmt.Sprintf("container %q not found in pod %q", name, p.Name), http.StatusNotFound)
		return
	}
	path, err := c.logToRead(options.Previous)
	if err != nil {
		fail(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &flushingWriter{w, http.NewResponseController(w)}
	out.rc.Flush()
	if err := crilogs.ReadLogs(r.Context(), path, path, logOptions(options), runtimeStub{c: c}, out, out); err != nil {
		fmt.Fprintln(out, err)
	}
}

// fail is http.Error without the line break: the API server hands the text on as it is.
func fail(w http.ResponseWriter, text string, code int) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(code)
	io.WriteString(w, text)
}

func (p *pod) container(name string) *container {
	for _, c := range p.containers {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// logToRead is the file of the last attempt that was started, or of the one
// before. Its errors are the kubelet's.
func (c *container) logToRead(previous bool) (string, error) {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	state, last := c.status.State, c.status.LastTerminationState.Terminated
	started := c.status.RestartCount
	switch {
	case previous && state.Terminated == nil && last == nil,
		previous && state.Terminated != nil && last == nil && started == 0:
		return "", fmt.Errorf("previous terminated container %q in pod %q not found", c.Name, c.pod.Name)
	case previous && state.Waiting == nil:
		return c.logPath(started - 1), nil
	case state.Waiting == nil || last != nil:
		return c.logPath(started), nil
	}
	reason := state.Waiting.Reason
	switch reason {
	case "ErrImagePull":
		reason = "image can't be pulled"
	case "ImagePullBackOff":
		reason = "trying and failing to pull image"
	}
	return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", c.Name, c.pod.Name, reason)
}

func logOptions(o *v1.PodLogOptions) *crilogs.LogOptions {
	options := &crilogs.LogOptions{
		TailLines:  o.TailLines,
		LimitBytes: o.LimitBytes,
		Follow:     o.Follow,
		Timestamp:  o.Timestamps,
	}
	if o.SinceSeconds != nil {
		options.Since = time.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second)
	}
	if o.SinceTime != nil {
		options.Since = o.SinceTime.Time
	}
	return options
}

// flushingWriter sends each line at once.
type flushingWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (w *flushingWriter) Write(data []byte) (int, error) {
	n, err := w.ResponseWriter.Write(data)
	if err == nil {
		err = w.rc.Flush()
	}
	return n, err
}

// runtimeStub tells the reader whether following makes sense: all that it asks for.
type runtimeStub struct {
	internalapi.RuntimeService
	c *container
}

func (s runtimeStub) ContainerStatus(_ context.Context, path string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	s.c.pod.mu.Lock()
	defer s.c.pod.mu.Unlock()
	state := runtimeapi.ContainerState_CONTAINER_EXITED
	if s.c.status.State.Running != nil && s.c.logPath(s.c.status.RestartCount) == path {
		state = runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{State: state}}, nil
}
