package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

const retryVolumes = time.Second

// pod is a pod on its way through this node.
type pod struct {
	*v1.Pod // as it was when it came here
	// The two shadow the API object's: it had neither yet.
	StartTime  metav1.Time
	node       *node
	ip         string
	dir        string
	network    *network
	containers []*container

	// ended asks the containers to end, killed leaves them no choice.
	ended, killed context.Context
	end, kill     context.CancelFunc
	done          chan struct{}

	mu     sync.Mutex // guards what containers say about themselves
	dirty  chan struct{}
	mounts map[string]string // volume's name to folder
}

func (n *node) startPod(object *v1.Pod) {
	p := &pod{
		Pod:       object,
		StartTime: metav1.Now(),
		node:      n,
		dir:       filepath.Join(n.options.dir, "pods", string(object.UID)),
		done:      make(chan struct{}),
		dirty:     make(chan struct{}, 1),
	}
	p.ended, p.end = context.WithCancel(context.Background())
	p.killed, p.kill = context.WithCancel(context.Background())
	for i := range object.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, &object.Spec.Containers[i]))
	}
	n.pods.add(p)
	go p.run()
}

// terminate asks the containers to end, and kills them after the grace period.
// A later call can only make that period shorter.
func (p *pod) terminate(grace time.Duration) {
	p.end()
	if grace <= 0 {
		p.kill()
		return
	}
	time.AfterFunc(grace, p.kill)
}

func (p *pod) run() {
	published := make(chan struct{})
	go p.publishChanges(published)
	p.changed()
	if p.prepare() {
		p.runContainers()
	}
	// Containers that need no restart may all have ended by themselves.
	<-p.ended.Done()
	p.kill()
	<-published
	p.cleanUp()
	p.node.pods.remove(p)
	close(p.done)
	p.node.forget(p.Pod)
}

// prepare makes the pod's network and volumes; it gives up only when the pod is deleted.
func (p *pod) prepare() bool {
	for p.ended.Err() == nil {
		err := p.makeNetwork()
		if err == nil {
			if err = p.makeVolumes(p.ended); err == nil {
				return true
			}
			p.event(nil, v1.EventTypeWarning, "FailedMount", "%v", err)
		} else {
			p.event(nil, v1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
		}
		sleep(p.ended, retryVolumes)
	}
	return false
}

func (p *pod) makeNetwork() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.network != nil {
		return nil
	}
	var err error
	p.network, err = newNetwork([]string{p.ip, apiServiceIP}, p.node.forward)
	return err
}

func (p *pod) runContainers() {
	var all sync.WaitGroup
	for _, c := range p.containers {
		all.Go(c.run)
	}
	all.Wait()
}

func (p *pod) cleanUp() {
	if p.network != nil {
		p.network.close()
	}
	if err := os.RemoveAll(p.dir); err != nil {
		klog.ErrorS(err, "Files of a pod stay", "dir", p.dir)
	}
}

// event records what the kubelet would, on the pod or on one of its containers.
func (p *pod) event(c *container, kind, reason, format string, args ...any) {
	reference := &v1.ObjectReference{
		APIVersion: "v1",
		Kind:       "Pod",
		Namespace:  p.Namespace,
		Name:       p.Name,
		UID:        p.UID,
	}
	if c != nil {
		reference.FieldPath = fmt.Sprintf("spec.containers{%s}", c.Name)
	}
	p.node.recorder.Eventf(reference, kind, reason, format, args...)
}

// fullName is how the kubelet names a pod in messages.
func (p *pod) fullName() string {
	return fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
