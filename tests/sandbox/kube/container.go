package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const (
	maxBackoffFactor = 30
	// A container that ran for so long starts again without delay.
	backoffForgottenAfter = 10 * time.Minute
)

// container is a container of a pod, with all its restarts.
type container struct {
	*v1.Container
	pod *pod

	// Guarded by the pod's mutex.
	status v1.ContainerStatus
	over   bool // it has ended, and won't start again
}

func newContainer(p *pod, spec *v1.Container) *container {
	c := &container{Container: spec, pod: p}
	c.status = v1.ContainerStatus{
		Name:    spec.Name,
		Image:   spec.Image,
		State:   v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ContainerCreating"}},
		Started: ptr.To(false),
	}
	return c
}

// run starts the container, again and again where its pod wants that.
func (c *container) run() {
	failures := 0
	for restarts := int32(0); ; restarts++ {
		command, ok := c.prepare()
		if !ok {
			return
		}
		began := time.Now()
		code := c.runOnce(restarts, command)
		if c.pod.ended.Err() != nil || !c.restartsAfter(code) {
			c.change(func(*v1.ContainerStatus) { c.over = true })
			return
		}
		if time.Since(began) > backoffForgottenAfter {
			failures = 0
		}
		// As with the kubelet, the first restart is not delayed.
		if failures > 0 {
			c.backOff(c.delay(failures - 1))
		}
		failures++
	}
}

func (c *container) restartsAfter(code int) bool {
	switch c.pod.Spec.RestartPolicy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// prepare pulls the image and reads what the container's configuration refers
// to, until both succeed. It gives up when the pod is deleted.
func (c *container) prepare() (command, bool) {
	for tries := 0; c.pod.ended.Err() == nil; tries++ {
		image, err := findImage(c.pod.node.options.images, c.Image)
		if err != nil {
			c.pullFailed(err, tries)
			continue
		}
		if tries == 0 {
			c.event(v1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.Image)
		}
		prepared, err := c.command(c.pod.ended, image)
		if err == nil {
			return prepared, true
		}
		c.wait("CreateContainerConfigError", err.Error())
		c.event(v1.EventTypeWarning, "Failed", "Error: %v", err)
		sleep(c.pod.ended, c.pod.node.options.backoff)
	}
	return command{}, false
}

func (c *container) pullFailed(err error, tries int) {
	c.event(v1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	c.event(v1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", c.Image, err)
	c.event(v1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	c.wait("ErrImagePull", err.Error())
	sleep(c.pod.ended, time.Second)
	c.event(v1.EventTypeNormal, "BackOff", "Back-off pulling image %q", c.Image)
	c.event(v1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
	c.wait("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %v", c.Image, err))
	sleep(c.pod.ended, c.delay(tries))
}

func (c *container) backOff(delay time.Duration) {
	c.wait("CrashLoopBackOff", fmt.Sprintf("back-off %v restarting failed container=%s pod=%s", delay, c.Name, c.pod.fullName()))
	c.event(v1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", c.Name, c.pod.fullName())
	sleep(c.pod.ended, delay)
}

// delay doubles with each failure.
func (c *container) delay(failures int) time.Duration {
	factor := 1 << min(failures, 10)
	return time.Duration(min(factor, maxBackoffFactor)) * c.pod.node.options.backoff
}

// runOnce starts the process, watches over it until it has ended, and gives its exit code.
func (c *container) runOnce(restarts int32, command command) int {
	log, err := c.createLog(restarts)
	if err != nil {
		klog.ErrorS(err, "Log of container", "pod", klog.KObj(c.pod.Pod), "container", c.Name)
		return c.terminated(restarts, v1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: err.Error()})
	}
	defer log.close()
	id := fmt.Sprintf("containerd://%x", sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", c.pod.UID, c.Name, restarts)))
	c.event(v1.EventTypeNormal, "Created", "Container created")
	stopProbes := func() {}
	process := &process{command: command, container: c, log: log}
	startedAt := metav1.Now()
	exit, err := process.run(func() {
		c.started(id, restarts)
		stopProbes = c.startProbes(process)
	})
	stopProbes()
	ended := v1.ContainerStateTerminated{ContainerID: id, StartedAt: startedAt}
	if err != nil {
		ended.ExitCode, ended.Reason = 128, "StartError"
		ended.Message = "failed to create containerd task: failed to create shim task: OCI runtime create failed: " +
			"runc create failed: unable to start container process: error during container init: " + err.Error()
		c.event(v1.EventTypeWarning, "Failed", "Error: %s", ended.Message)
		return c.terminated(restarts, ended)
	}
	ended.ExitCode, ended.Reason = int32(exit), "Error"
	if exit == 0 {
		ended.Reason = "Completed"
	}
	return c.terminated(restarts, ended)
}

func (c *container) started(id string, restarts int32) {
	c.event(v1.EventTypeNormal, "Started", "Container started")
	c.change(func(s *v1.ContainerStatus) {
		s.LastTerminationState = lastState(s)
		s.State = v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.Now()}}
		s.ContainerID = id
		s.ImageID = fmt.Sprintf("%s@sha256:%x", repository(c.Image), sha256.Sum256([]byte(c.Image)))
		s.RestartCount = restarts
		s.Started = ptr.To(true)
		s.Ready = !c.hasProbe(c.ReadinessProbe)
	})
}

func (c *container) terminated(restarts int32, state v1.ContainerStateTerminated) int {
	state.FinishedAt = metav1.Now()
	c.change(func(s *v1.ContainerStatus) {
		s.LastTerminationState = lastState(s)
		s.State = v1.ContainerState{Terminated: &state}
		s.RestartCount = restarts
		s.Ready, s.Started = false, ptr.To(false)
	})
	return int(state.ExitCode)
}

func (c *container) wait(reason, message string) {
	c.change(func(s *v1.ContainerStatus) {
		s.LastTerminationState = lastState(s)
		s.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason, Message: message}}
		s.Ready, s.Started = false, ptr.To(false)
	})
}

// lastState is what to remember when the state is about to change.
func lastState(s *v1.ContainerStatus) v1.ContainerState {
	if s.State.Terminated != nil {
		return s.State
	}
	return s.LastTerminationState
}

func (c *container) change(change func(*v1.ContainerStatus)) {
	c.pod.mu.Lock()
	change(&c.status)
	c.pod.mu.Unlock()
	c.pod.changed()
}

func (c *container) event(kind, reason, format string, args ...any) {
	c.pod.event(c, kind, reason, format, args...)
}

// createLog makes the log file of one attempt. Those of the attempts before the last are removed.
func (c *container) createLog(restarts int32) (*logFile, error) {
	if restarts > 1 {
		os.Remove(c.logPath(restarts - 2))
	}
	path := c.logPath(restarts)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return createLogFile(path)
}

func (c *container) logPath(restarts int32) string {
	return filepath.Join(c.pod.dir, "logs", c.Name, fmt.Sprintf("%d.log", restarts))
}

// command resolves the container's environment, arguments and user.
func (c *container) command(ctx context.Context, image image) (command, error) {
	user, err := c.user()
	if err != nil {
		return command{}, err
	}
	env, err := c.environment(ctx)
	if err != nil {
		return command{}, err
	}
	arguments := expandAll(append(c.entrypoint(image), c.Args...), env)
	return command{image: image, arguments: arguments, env: env, user: user}, nil
}

func (c *container) entrypoint(image image) []string {
	if len(c.Command) > 0 {
		return append([]string(nil), c.Command...)
	}
	return []string{image.entrypoint()}
}
