package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/klog/v2"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

const (
	serviceRange = "10.0.0.0/24"
	// apiServiceIP is the first of serviceRange: Service kubernetes in default.
	apiServiceIP = "10.0.0.1"
	// advertisedIP is of a range that is never routed; loopback is not allowed here.
	advertisedIP = "192.0.2.1"

	enabledControllers = "deployment-controller,replicaset-controller,serviceaccount-controller," +
		"serviceaccount-token-controller,namespace-controller,garbage-collector-controller," +
		"root-ca-certificate-publisher-controller,node-lifecycle-controller"
)

// startControlPlane gives the address of an API server that is ready, with all
// its controllers running.
//
// The components' packages are called below their cobra commands: each command
// installs a signal handler, and a process can have one only.
func startControlPlane(ctx context.Context, o options, creds *credentials) (*rest.Config, error) {
	etcd, err := startEtcd(filepath.Join(o.dir, "etcd"))
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	listener, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	config := creds.clientConfig("https://" + listener.Addr().String())
	if err := creds.writeKubeconfig(config); err != nil {
		return nil, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	go exitWhenDone("kube-apiserver", func() error { return runAPIServer(ctx, o, creds, listener, etcd) })
	if err := waitReady(ctx, config); err != nil {
		return nil, fmt.Errorf("kube-apiserver: %w", err)
	}
	go exitWhenDone("kube-controller-manager", func() error { return runControllers(ctx, creds) })
	go exitWhenDone("kube-scheduler", func() error { return runScheduler(ctx, creds) })
	return config, nil
}

func startEtcd(dir string) (address string, err error) {
	any := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{"stderr"}
	cfg.UnsafeNoFsync = true
	cfg.EnableGRPCGateway = false
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = any, any
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = any, any
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", err
	}
	select {
	case <-server.Server.ReadyNotify():
		return "http://" + server.Clients[0].Addr().String(), nil
	case err := <-server.Err():
		return "", err
	}
}

func runAPIServer(ctx context.Context, o options, creds *credentials, listener net.Listener, etcd string) error {
	s := apiserveroptions.NewServerRunOptions()
	s.SecureServing.Listener = listener
	err := parse(s.Flags(), []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		// Found by itself, this address needs a machine with a default route. Nobody connects to it.
		"--advertise-address=" + advertisedIP,
		"--secure-port=" + strconv.Itoa(port(listener)),
		"--cert-dir=" + creds.certDir,
		"--authorization-mode=RBAC",
		"--token-auth-file=" + creds.tokenFile,
		"--authentication-token-webhook-config-file=" + creds.authWebhookFile,
		"--authentication-token-webhook-version=v1",
		"--authentication-token-webhook-cache-ttl=0s",
		"--service-account-issuer=" + o.issuer,
		"--service-account-key-file=" + creds.saPublicKey,
		"--service-account-signing-key-file=" + creds.saPrivateKey,
		"--api-audiences=https://kubernetes.default.svc",
		"--service-cluster-ip-range=" + serviceRange,
		"--audit-policy-file=" + creds.auditPolicyFile,
		"--audit-log-path=" + creds.auditLog,
		"--audit-log-mode=blocking",
		"--audit-log-format=json",
	})
	if err != nil {
		return err
	}
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := s.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return errs[0]
	}
	return apiserver.Run(ctx, completed)
}

func runControllers(ctx context.Context, creds *credentials) error {
	s, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, disabled, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()
	flags := s.Flags(known, disabled, aliases)
	s.ParsedFlags = &flags
	err = parse(flags, []string{
		"--kubeconfig=" + creds.kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--root-ca-file=" + creds.caFile,
		"--service-account-private-key-file=" + creds.saPrivateKey,
		"--node-monitor-period=1s",
		"--kube-api-qps=-1",
		"--controllers=" + enabledControllers,
	})
	if err != nil {
		return err
	}
	c, err := s.Config(ctx, known, disabled, aliases)
	if err != nil {
		return err
	}
	return controllers.Run(ctx, c.Complete())
}

func runScheduler(ctx context.Context, creds *credentials) error {
	s := scheduleroptions.NewOptions()
	err := parse(*s.Flags, []string{
		"--kubeconfig=" + creds.kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
	})
	if err != nil {
		return err
	}
	c, sched, err := scheduler.Setup(ctx, s)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, c, sched)
}

func parse(named cliflag.NamedFlagSets, arguments []string) error {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	return flags.Parse(arguments)
}

func waitReady(ctx context.Context, config *rest.Config) error {
	return wait.PollUntilContextTimeout(ctx, 30*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		// The client reads the certificate, which the server writes as it starts.
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return false, nil
		}
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
}

// exitWhenDone runs a component that should never return.
func exitWhenDone(name string, run func() error) {
	err := run()
	klog.ErrorS(err, "Component ended", "component", name)
	klog.FlushAndExit(klog.ExitFlushTimeout, 1)
}

// listenLoopback binds a free port. The listener itself is handed on, so that
// nobody else can take the port meanwhile.
func listenLoopback() (net.Listener, error) {
	return net.Listen("tcp4", "127.0.0.1:0")
}

func port(listener net.Listener) int {
	return listener.Addr().(*net.TCPAddr).Port
}
