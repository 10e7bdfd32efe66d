package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const (
	wipeWithin = 20 * time.Second
	wipeAtOnce = 16
)

// wiper brings the cluster back to what it was when the wiper was made.
type wiper struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	webhook *webhook
	pods    *podSet
	mu      sync.Mutex
	start   snapshot
}

func newWiper(ctx context.Context, config *rest.Config, client kubernetes.Interface, hook *webhook, pods *podSet) (*wiper, error) {
	dynamic, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	w := &wiper{client: client, dynamic: dynamic, webhook: hook, pods: pods}
	w.start, err = w.snapshot(ctx)
	return w, err
}

// wipe returns when everything is as it was. Controllers create things anew
// while others are deleted, and API server and caches lag: so it compares and
// repairs until there is no difference.
func (w *wiper) wipe(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, wipeWithin)
	defer cancel()
	var last []string
	err := eventually(ctx, wipeWithin, func(ctx context.Context) bool {
		now, err := w.snapshot(ctx)
		if err != nil {
			last = []string{err.Error()}
			return false
		}
		last = w.repair(ctx, now)
		return len(last) == 0
	})
	if err != nil {
		return fmt.Errorf("%w; still different: %q", err, last)
	}
	if err := w.webhook.settle(ctx, true); err != nil {
		return err
	}
	return w.podsGone(ctx)
}

func (w *wiper) podsGone(ctx context.Context) error {
	for _, p := range w.pods.all() {
		p.terminate(0)
		select {
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, ctx.Err())
		}
	}
	return nil
}

// repair undoes every difference that it finds, and says which there were.
func (w *wiper) repair(ctx context.Context, now snapshot) (differences []string) {
	var first, then []func() error
	note := func(o *object, what string, f func() error) {
		differences = append(differences, what+" "+o.String())
		// Webhooks and policies might forbid the rest.
		if o.resource.Group == "admissionregistration.k8s.io" {
			first = append(first, f)
		} else {
			then = append(then, f)
		}
	}
	for key, o := range now {
		before := w.start[key]
		switch {
		case before == nil:
			note(o, "new", func() error { return w.delete(ctx, o, now) })
		case !o.same(before):
			note(o, "changed", func() error { return w.restore(ctx, before, o) })
		}
	}
	for key, o := range w.start {
		if now[key] == nil {
			note(o, "deleted", func() error { return w.create(ctx, o) })
		}
	}
	if err := errors.Join(inParallel(first), inParallel(then)); err != nil {
		klog.V(2).InfoS("Wipe will try again", "err", err)
	}
	return differences
}

func (w *wiper) delete(ctx context.Context, o *object, now snapshot) error {
	switch o.resource.Resource {
	case "namespaces":
		return w.deleteNamespace(ctx, o, now)
	case "customresourcedefinitions":
		return w.deleteDefinition(ctx, o, now)
	}
	if err := w.dropFinalizers(ctx, o); err != nil {
		return err
	}
	return w.resource(o).Delete(ctx, o.GetName(), metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0),
		PropagationPolicy:  ptr.To(metav1.DeletePropagationBackground),
	})
}

func (w *wiper) dropFinalizers(ctx context.Context, o *object) error {
	if len(o.GetFinalizers()) == 0 {
		return nil
	}
	patch := []byte(`{"metadata":{"finalizers":null}}`)
	_, err := w.resource(o).Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// deleteNamespace does the namespace controller's work: that takes ten seconds, and more.
func (w *wiper) deleteNamespace(ctx context.Context, o *object, now snapshot) error {
	if err := w.dropFinalizers(ctx, o); err != nil {
		return err
	}
	if o.GetDeletionTimestamp() == nil {
		return w.client.CoreV1().Namespaces().Delete(ctx, o.GetName(), metav1.DeleteOptions{})
	}
	// As nothing can be created in it any more, what was seen is all there is.
	if now.hasContent(o.GetName()) {
		return nil
	}
	namespace, err := w.client.CoreV1().Namespaces().Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	namespace.Spec.Finalizers = nil
	_, err = w.client.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{})
	return err
}

// deleteDefinition waits for the custom resources to be gone: the API server
// looks for remaining ones every five seconds only.
func (w *wiper) deleteDefinition(ctx context.Context, o *object, now snapshot) error {
	for _, other := range now {
		if other.resource.GroupResource().String() == o.GetName() {
			return nil
		}
	}
	return w.resource(o).Delete(ctx, o.GetName(), metav1.DeleteOptions{})
}

func (w *wiper) restore(ctx context.Context, before, now *object) error {
	wanted := before.DeepCopy()
	wanted.SetResourceVersion(now.GetResourceVersion())
	wanted.SetUID(now.GetUID())
	_, err := w.resource(before).Update(ctx, wanted, metav1.UpdateOptions{})
	if apierrors.IsInvalid(err) {
		// Something that cannot be changed is different: made anew in the next round.
		return w.resource(before).Delete(ctx, before.GetName(), metav1.DeleteOptions{})
	}
	return err
}

func (w *wiper) create(ctx context.Context, before *object) error {
	wanted := before.DeepCopy()
	wanted.SetResourceVersion("")
	wanted.SetUID("")
	_, err := w.resource(before).Create(ctx, wanted, metav1.CreateOptions{})
	return err
}

func (w *wiper) resource(o *object) dynamic.ResourceInterface {
	return w.dynamic.Resource(o.resource).Namespace(o.GetNamespace())
}

// inParallel runs all, whatever fails.
func inParallel(work []func() error) error {
	errs := make([]error, len(work))
	var all sync.WaitGroup
	free := make(chan struct{}, wipeAtOnce)
	for i, f := range work {
		free <- struct{}{}
		all.Go(func() {
			errs[i] = f()
			<-free
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
