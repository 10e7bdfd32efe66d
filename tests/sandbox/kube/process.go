package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const programDir = "/ko-app"

// command is what a container runs, resolved.
type command struct {
	image     image
	arguments []string // the program first
	env       map[string]string
	user      *syscall.Credential
}

// process is one attempt of a container.
type process struct {
	command
	container *container
	log       *logFile
	cmd       *exec.Cmd
}

// run starts the process in namespaces of its own, calls started, and gives
// the exit code when it has ended. It is ended with its pod.
func (p *process) run(started func()) (code int, err error) {
	err = onFreshThread(func() error {
		if err := p.start(); err != nil {
			return err
		}
		started()
		watched, stop := context.WithCancel(context.Background())
		defer stop()
		go p.endWithPod(watched)
		// Its error tells no more than the state does.
		p.cmd.Wait()
		return nil
	})
	if err != nil {
		return 0, err
	}
	state := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if state.Signaled() {
		return 128 + int(state.Signal()), nil
	}
	return state.ExitStatus(), nil
}

// start has to be called on a fresh thread: it changes the thread's namespaces.
func (p *process) start() error {
	program, err := p.lookUp()
	if err != nil {
		return err
	}
	if err := p.container.pod.network.enter(); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	root, err := p.container.mountRoot(p.image)
	if err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	p.cmd = &exec.Cmd{
		Path:   program,
		Args:   p.arguments,
		Env:    p.container.processEnvironment(p.env),
		Dir:    workingDir(p.container.WorkingDir),
		Stdout: p.log.stream("stdout"),
		Stderr: p.log.stream("stderr"),
		SysProcAttr: &syscall.SysProcAttr{
			Chroot:     root,
			Credential: p.user,
			// What the process starts ends with it.
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
			Setsid:     true,
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("exec: %q: %w", p.arguments[0], errors.Unwrap(err))
	}
	return nil
}

// lookUp finds the only program that an image has.
func (p *process) lookUp() (string, error) {
	first := p.arguments[0]
	if strings.Contains(first, "/") {
		return first, nil
	}
	if first == p.image.name {
		return p.image.entrypoint(), nil
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", first)
}

func workingDir(dir string) string {
	return path.Join("/", dir)
}

// dropCapabilities leaves none to programs that the thread starts, root's included.
func dropCapabilities() error {
	for capability := 0; capability <= unix.CAP_LAST_CAP; capability++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0)
		// An older kernel doesn't know the last ones.
		if err != nil && err != unix.EINVAL {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func (p *process) endWithPod(watched context.Context) {
	select {
	case <-watched.Done():
		return
	case <-p.container.pod.ended.Done():
	}
	p.container.event(v1.EventTypeNormal, "Killing", "Stopping container %s", p.container.Name)
	p.signal(syscall.SIGTERM)
	select {
	case <-watched.Done():
	case <-p.container.pod.killed.Done():
		p.signal(syscall.SIGKILL)
	}
}

// restart ends the process, as its liveness probe wants; its pod goes on.
func (p *process) restart() {
	p.container.event(v1.EventTypeNormal, "Killing", "Container %s failed liveness probe, will be restarted", p.container.Name)
	p.signal(syscall.SIGTERM)
	grace := time.Duration(ptr.Deref(p.container.pod.Spec.TerminationGracePeriodSeconds, 30)) * time.Second
	time.AfterFunc(grace, func() { p.signal(syscall.SIGKILL) })
}

// signal does nothing to a process that has ended.
func (p *process) signal(signal syscall.Signal) {
	p.cmd.Process.Signal(signal)
}

// user is who the container runs as: with ko's images root, if the pod doesn't say otherwise.
func (c *container) user() (*syscall.Credential, error) {
	context := ptr.Deref(c.SecurityContext, v1.SecurityContext{})
	of := ptr.Deref(c.pod.Spec.SecurityContext, v1.PodSecurityContext{})
	user := firstOf(context.RunAsUser, of.RunAsUser)
	if firstOf(context.RunAsNonRoot, of.RunAsNonRoot) && user == 0 {
		return nil, fmt.Errorf("container has runAsNonRoot and image will run as root (pod: \"%s\", container: %s)", c.pod.fullName(), c.Name)
	}
	if !mayChangeUser() {
		return nil, nil
	}
	credential := &syscall.Credential{Uid: uint32(user), Gid: uint32(firstOf(context.RunAsGroup, of.RunAsGroup))}
	for _, group := range append(of.SupplementalGroups, ptr.Deref(of.FSGroup, 0)) {
		if group != 0 {
			credential.Groups = append(credential.Groups, uint32(group))
		}
	}
	return credential, nil
}

// firstOf gives the container's setting, or else the pod's.
func firstOf[T any](container, pod *T) T {
	if container != nil {
		return *container
	}
	var none T
	return ptr.Deref(pod, none)
}
