package main

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/version"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

const (
	nodeName     = "sandbox"
	nodeIP       = "127.0.0.1"
	leaseSeconds = 40
)

// node runs the pods that are bound to it.
type node struct {
	name     string
	options  options
	client   kubernetes.Interface
	recorder record.EventRecorder
	pods     *podSet
	// What pods can reach outside of their network.
	forward map[string]string
}

// podSet are the pods that have, or may have, processes.
type podSet struct {
	mu     sync.Mutex
	byUID  map[types.UID]*pod
	nextIP int
}

func newPodSet() *podSet {
	return &podSet{byUID: map[types.UID]*pod{}}
}

func startNode(ctx context.Context, o options, client kubernetes.Interface, config *rest.Config, server *tlsServer, pods *podSet) (*node, error) {
	api, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	aws, err := url.Parse(o.awsURL)
	if err != nil {
		return nil, err
	}
	n := &node{
		name:     nodeName,
		options:  o,
		client:   client,
		recorder: newRecorder(client),
		pods:     pods,
		forward:  map[string]string{apiServiceIP + ":443": api.Host, aws.Host: aws.Host},
	}
	server.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.serveLogs)
	if err := n.register(ctx, port(server.listener)); err != nil {
		return nil, err
	}
	go lease.NewController(clock.RealClock{}, client, n.name, leaseSeconds, nil,
		leaseSeconds/4*time.Second, n.name, v1.NamespaceNodeLease, nil).Run(ctx)
	return n, n.watch(ctx)
}

func newRecorder(client kubernetes.Interface) record.EventRecorder {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return broadcaster.NewRecorder(legacyscheme.Scheme, v1.EventSource{Component: "kubelet", Host: nodeName})
}

func (n *node) register(ctx context.Context, port int) error {
	capacity := v1.ResourceList{
		v1.ResourceCPU:              resource.MustParse("4"),
		v1.ResourceMemory:           resource.MustParse("16Gi"),
		v1.ResourceEphemeralStorage: resource.MustParse("80Gi"),
		v1.ResourcePods:             resource.MustParse("110"),
	}
	now := metav1.Now()
	condition := func(kind v1.NodeConditionType, status v1.ConditionStatus, reason string) v1.NodeCondition {
		return v1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	_, err := n.client.CoreV1().Nodes().Create(ctx, &v1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: n.name,
			Labels: map[string]string{
				v1.LabelHostname:   n.name,
				v1.LabelOSStable:   runtime.GOOS,
				v1.LabelArchStable: runtime.GOARCH,
			},
		},
		Status: v1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Conditions: []v1.NodeCondition{
				condition(v1.NodeMemoryPressure, v1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(v1.NodeDiskPressure, v1.ConditionFalse, "KubeletHasNoDiskPressure"),
				condition(v1.NodePIDPressure, v1.ConditionFalse, "KubeletHasSufficientPID"),
				condition(v1.NodeReady, v1.ConditionTrue, "KubeletReady"),
			},
			// No host name: the API server would prefer it, and try to resolve it.
			Addresses:       []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: nodeIP}},
			DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: int32(port)}},
			NodeInfo: v1.NodeSystemInfo{
				KubeletVersion:          version.Get().GitVersion,
				ContainerRuntimeVersion: "containerd://2.1.5",
				OperatingSystem:         runtime.GOOS,
				Architecture:            runtime.GOARCH,
			},
		},
	}, metav1.CreateOptions{})
	return err
}

func (n *node) watch(ctx context.Context) error {
	selector := fields.OneTermEqualSelector("spec.nodeName", n.name)
	source := cache.NewListWatchFromClient(n.client.CoreV1().RESTClient(), "pods", v1.NamespaceAll, selector)
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &v1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { n.sync(object.(*v1.Pod)) },
			UpdateFunc: func(_, object any) { n.sync(object.(*v1.Pod)) },
			DeleteFunc: func(object any) {
				if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = last.Obj
				}
				if known := n.pods.get(object.(*v1.Pod).UID); known != nil {
					known.terminate(0)
				}
			},
		},
	})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("pods: %w", ctx.Err())
	}
	return nil
}

// sync starts a new pod, or ends one that is being deleted.
func (n *node) sync(object *v1.Pod) {
	known := n.pods.get(object.UID)
	switch {
	case object.DeletionTimestamp == nil && known == nil:
		if object.Status.Phase == v1.PodPending {
			n.startPod(object.DeepCopy())
		}
	case object.DeletionTimestamp == nil:
	case known != nil:
		known.terminate(time.Duration(ptr.Deref(object.DeletionGracePeriodSeconds, 0)) * time.Second)
	default:
		go n.forget(object)
	}
}

// forget removes the API object of a pod which has no processes any more.
func (n *node) forget(object *v1.Pod) {
	err := n.client.CoreV1().Pods(object.Namespace).Delete(context.Background(), object.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0),
		Preconditions:      metav1.NewUIDPreconditions(string(object.UID)),
	})
	if err != nil {
		klog.V(1).InfoS("Pod not removed", "pod", klog.KObj(object), "err", err)
	}
}

func (s *podSet) get(uid types.UID) *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byUID[uid]
}

// find gives the pod with this name that is newest: a name can be used again
// while the processes of its last pod are ending.
func (s *podSet) find(namespace, name string) (found *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byUID {
		if p.Namespace == namespace && p.Name == name && (found == nil || found.StartTime.Before(&p.StartTime)) {
			found = p
		}
	}
	return found
}

// add keeps the pod, and gives it an address.
func (s *podSet) add(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextIP++
	p.ip = fmt.Sprintf("10.244.%d.%d", s.nextIP/250%256, s.nextIP%250+2)
	s.byUID[p.UID] = p
}

func (s *podSet) remove(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byUID, p.UID)
}

func (s *podSet) all() (pods []*pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byUID {
		pods = append(pods, p)
	}
	return pods
}

// killAll returns when no pod has processes any more.
func (s *podSet) killAll() {
	pods := s.all()
	for _, p := range pods {
		p.terminate(0)
	}
	for _, p := range pods {
		<-p.done
	}
}
