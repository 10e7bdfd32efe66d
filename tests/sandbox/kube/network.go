package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// network is the network namespace of a pod. Nothing outside is reachable but
// the addresses that it forwards.
type network struct {
	namespace *os.File
	listeners []net.Listener
}

// newNetwork makes a namespace with addresses of its own, in which listeners
// at the keys of forward lead to the values, outside.
func newNetwork(addresses []string, forward map[string]string) (*network, error) {
	n := &network{}
	err := onFreshThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if n.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if err := configureLoopback(addresses); err != nil {
			return err
		}
		for inside, outside := range forward {
			listener, err := net.Listen("tcp4", inside)
			if err != nil {
				return err
			}
			n.listeners = append(n.listeners, listener)
			go forwardAll(listener, outside)
		}
		return nil
	})
	if err != nil {
		n.close()
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return n, nil
}

func (n *network) close() {
	for _, listener := range n.listeners {
		listener.Close()
	}
	if n.namespace != nil {
		n.namespace.Close()
	}
}

// enter moves the calling thread, which has to be a fresh one.
func (n *network) enter() error {
	return unix.Setns(int(n.namespace.Fd()), unix.CLONE_NEWNET)
}

// dial connects from inside. The address has to be an IP address: looking up
// names would happen on other threads.
func (n *network) dial(ctx context.Context, protocol, address string) (conn net.Conn, err error) {
	err = onFreshThread(func() (err error) {
		if err := n.enter(); err != nil {
			return err
		}
		conn, err = (&net.Dialer{}).DialContext(ctx, protocol, address)
		return err
	})
	return conn, err
}

// configureLoopback starts the thread's interface lo, the only one there is.
func configureLoopback(addresses []string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	for i, address := range addresses {
		if err := addAddress(socket, fmt.Sprintf("lo:%d", i+1), address); err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
	}
	return nil
}

func addAddress(socket int, alias, address string) error {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(alias)
	if err != nil {
		return err
	}
	if err := request.SetInet4Addr(ip.AsSlice()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, request); err != nil {
		return err
	}
	if err := request.SetInet4Addr([]byte{255, 255, 255, 255}); err != nil {
		return err
	}
	return unix.IoctlIfreq(socket, unix.SIOCSIFNETMASK, request)
}

func forwardAll(listener net.Listener, outside string) {
	for {
		inside, err := listener.Accept()
		if err != nil {
			return
		}
		go forward(inside, outside)
	}
}

func forward(inside net.Conn, outside string) {
	defer inside.Close()
	out, err := net.Dial("tcp4", outside)
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		io.Copy(out, inside)
		out.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(inside, out)
}
