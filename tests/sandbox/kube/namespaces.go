package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enterNamespaces makes sure that this process may make namespaces. Other
// users than root get a user namespace, in which the program runs again; then
// this doesn't return.
func enterNamespaces() error {
	if os.Geteuid() != 0 {
		return runInUserNamespace()
	}
	err := onFreshThread(func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET) })
	if err != nil {
		return fmt.Errorf("containers are processes in namespaces, and this root may not make any: %w", err)
	}
	return nil
}

func runInUserNamespace() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("this needs root, or user namespaces for other users: %w", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}

// mayChangeUser tells whether processes can have another user than this one:
// in a user namespace of our own there is only root.
func mayChangeUser() bool {
	uids, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(uids))
	return err == nil && len(fields) >= 3 && fields[2] != "1"
}

// onFreshThread runs f on an operating system thread which ends afterwards, so
// that f can change the thread's namespaces. Processes that f starts inherit
// them. With Pdeathsig such a process lives as long as f runs, at most.
func onFreshThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: that is what ends the thread.
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}
