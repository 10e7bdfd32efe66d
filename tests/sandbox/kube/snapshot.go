package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

const nodeNamespace = "kube-node-lease"

// snapshot is every object that a wipe looks after, by resource and name.
type snapshot map[string]*object

type object struct {
	*unstructured.Unstructured
	resource schema.GroupVersionResource
}

func (o *object) String() string {
	return fmt.Sprintf("%s/%s/%s", o.resource.GroupResource(), o.GetNamespace(), o.GetName())
}

// same compares what a user can set.
func (o *object) same(other *object) bool {
	return string(o.essence()) == string(other.essence()) && o.GetDeletionTimestamp() == nil
}

func (o *object) essence() []byte {
	fields := map[string]any{
		"labels":      o.GetLabels(),
		"annotations": o.GetAnnotations(),
		"finalizers":  o.GetFinalizers(),
		"owners":      o.GetOwnerReferences(),
	}
	for name, value := range o.Object {
		if name != "metadata" && name != "status" {
			fields[name] = value
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return text
}

func (s snapshot) hasContent(namespace string) bool {
	for _, o := range s {
		if o.GetNamespace() == namespace {
			return true
		}
	}
	return false
}

func (w *wiper) snapshot(ctx context.Context) (snapshot, error) {
	resources, err := w.resources()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	all := snapshot{}
	var work []func() error
	for _, resource := range resources {
		work = append(work, func() error {
			list, err := w.dynamic.Resource(resource).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) {
				return nil // a custom resource whose definition has just gone
			}
			if err != nil {
				return fmt.Errorf("%s: %w", resource.Resource, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range list.Items {
				o := &object{&list.Items[i], resource}
				if !o.isAutomatic() {
					all[o.String()] = o
				}
			}
			return nil
		})
	}
	return all, inParallel(work)
}

// isAutomatic tells of objects that the control plane and the node keep as they have to be.
func (o *object) isAutomatic() bool {
	switch o.resource.Resource {
	case "apiservices":
		_, automanaged := o.GetLabels()["kube-aggregator.kubernetes.io/automanaged"]
		return automanaged
	case "leases":
		return slices.Contains([]string{nodeNamespace, "kube-system"}, o.GetNamespace())
	}
	return false
}

// resources are all kinds of objects there are now, each in one version.
func (w *wiper) resources() ([]schema.GroupVersionResource, error) {
	lists, err := w.client.Discovery().ServerPreferredResources()
	// A group of an APIService without a server is missing; so are its objects.
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, err
	}
	var resources []schema.GroupVersionResource
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			// The same events are in two groups.
			if version.Group != "events.k8s.io" && slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") {
				resources = append(resources, version.WithResource(r.Name))
			}
		}
	}
	return resources, nil
}
