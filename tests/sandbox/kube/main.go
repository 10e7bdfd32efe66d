// Command kube is a Kubernetes cluster in one process, for tests: etcd, the
// API server, controllers and scheduler, and a node that runs the containers
// of its pods as processes of this machine. It listens on loopback only.
//
// It prints one line of JSON when it is ready, and ends when its stdin does.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
)

type options struct {
	dir          string
	issuer       string
	authWebhook  string
	awsURL       string
	clusterAdmin string
	images       map[string]string
	backoff      time.Duration
}

func init() {
	// Keeps the process's first thread out of other namespaces: see onFreshThread.
	runtime.LockOSThread()
}

func main() {
	// Containers' users have to be able to read what is made for them.
	syscall.Umask(0o022)
	o, err := parseOptions(os.Args[1:])
	if err == nil {
		err = enterNamespaces()
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parseOptions(arguments []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet("kube", pflag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "folder for everything it writes")
	flags.StringVar(&o.issuer, "issuer", "", "issuer of service account tokens")
	flags.StringVar(&o.authWebhook, "auth-webhook", "", "URL that reviews tokens of users")
	flags.StringVar(&o.awsURL, "aws-url", "", "where containers find AWS: http://127.0.0.1:PORT")
	flags.StringVar(&o.clusterAdmin, "cluster-admin", "", "user that gets all rights")
	flags.StringToStringVar(&o.images, "image", nil, "NAME:TAG=PROGRAM, an image that containers can run (repeatable)")
	flags.DurationVar(&o.backoff, "backoff", 2*time.Second, "first delay before a failed container or pull is tried again")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	for _, name := range []string{"dir", "issuer", "auth-webhook", "aws-url", "cluster-admin"} {
		if flags.Lookup(name).Value.String() == "" {
			return o, fmt.Errorf("--%s is missing", name)
		}
	}
	var err error
	o.dir, err = filepath.Abs(o.dir)
	return o, err
}

// run ends with the first failure, signal or end of stdin. What it started are
// goroutines, which the end of the process stops, and pods.
func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	pods := newPodSet()
	failed := make(chan error, 1)
	go func() {
		if err := start(context.Background(), o, pods); err != nil {
			failed <- err
		}
	}()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	pods.killAll()
	return err
}

// start returns when the cluster is ready, and has said so on stdout.
func start(ctx context.Context, o options, pods *podSet) error {
	creds, err := newCredentials(o)
	if err != nil {
		return err
	}
	config, err := startControlPlane(ctx, o, creds)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	server, err := newTLSServer()
	if err != nil {
		return err
	}
	node, err := startNode(ctx, o, client, config, server, pods)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	hook := newWebhook(client, server)
	server.start()
	if err := waitUsable(ctx, client, node.name); err != nil {
		return err
	}
	if err := bindClusterAdmin(ctx, client, o.clusterAdmin); err != nil {
		return err
	}
	if err := hook.enable(ctx); err != nil {
		return err
	}
	wiper, err := newWiper(ctx, config, client, hook, pods)
	if err != nil {
		return err
	}
	proxy, err := startProxy(creds, config)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	control, err := startControl(wiper, hook, proxy)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"server":      "https://" + proxy.address,
		"apiServer":   config.Host,
		"caFile":      creds.caFile,
		"saPublicKey": creds.saPublicKey,
		"adminToken":  creds.adminToken,
		"control":     control,
		"auditLog":    creds.auditLog,
	})
}
