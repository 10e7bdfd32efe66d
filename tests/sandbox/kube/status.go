package main

import (
	"context"
	"encoding/json"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// changed has the status published, soon.
func (p *pod) changed() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// publishChanges ends when the pod has, with its last status.
func (p *pod) publishChanges(done chan<- struct{}) {
	defer close(done)
	var before v1.PodStatus
	for {
		select {
		case <-p.dirty:
		case <-p.killed.Done():
			p.publish(&before)
			return
		}
		if !p.publish(&before) {
			sleep(p.killed, 200*time.Millisecond)
			p.changed()
		}
	}
}

func (p *pod) publish(before *v1.PodStatus) (ok bool) {
	status := p.status(before)
	// Of lists, a merge patch replaces all; the UID makes it fail for a later pod of this name.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
	if err != nil {
		klog.ErrorS(err, "Status of pod", "pod", klog.KObj(p.Pod))
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = p.node.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		klog.ErrorS(err, "Status of pod", "pod", klog.KObj(p.Pod))
		return false
	}
	*before = status
	return true
}

func (p *pod) status(before *v1.PodStatus) v1.PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := v1.PodStatus{
		ObservedGeneration: p.Generation,
		StartTime:          &p.StartTime,
		HostIP:             nodeIP,
		HostIPs:            []v1.HostIP{{IP: nodeIP}},
	}
	if p.network != nil {
		status.PodIP = p.ip
		status.PodIPs = []v1.PodIP{{IP: p.ip}}
	}
	for _, c := range p.containers {
		status.ContainerStatuses = append(status.ContainerStatuses, *c.status.DeepCopy())
	}
	status.Phase = phase(p.containers)
	status.Conditions = p.conditions(status.Phase, before.Conditions)
	return status
}

func phase(containers []*container) v1.PodPhase {
	var waiting, running, failed bool
	for _, c := range containers {
		switch s := c.status; {
		case c.over:
			failed = failed || s.State.Terminated.ExitCode != 0
		case s.State.Running != nil, s.State.Terminated != nil, s.LastTerminationState.Terminated != nil:
			running = true
		default:
			waiting = true
		}
	}
	switch {
	case waiting:
		return v1.PodPending
	case running:
		return v1.PodRunning
	case failed:
		return v1.PodFailed
	}
	return v1.PodSucceeded
}

func (p *pod) conditions(phase v1.PodPhase, before []v1.PodCondition) []v1.PodCondition {
	ready, reason, message := v1.ConditionTrue, "", ""
	for _, c := range p.containers {
		if !c.status.Ready {
			ready, reason = v1.ConditionFalse, "ContainersNotReady"
			message += " " + c.Name
		}
	}
	if message != "" {
		message = "containers with unready status: [" + message[1:] + "]"
	}
	if phase == v1.PodSucceeded {
		reason, message = "PodCompleted", ""
	}
	sandbox := v1.ConditionFalse
	if p.network != nil && phase != v1.PodSucceeded && phase != v1.PodFailed {
		sandbox = v1.ConditionTrue
	}
	conditions := []v1.PodCondition{
		{Type: v1.PodReadyToStartContainers, Status: sandbox},
		{Type: v1.PodInitialized, Status: v1.ConditionTrue},
		{Type: v1.PodReady, Status: ready, Reason: reason, Message: message},
		{Type: v1.ContainersReady, Status: ready, Reason: reason, Message: message},
		{Type: v1.PodScheduled, Status: v1.ConditionTrue},
	}
	for i := range conditions {
		conditions[i].ObservedGeneration = p.Generation
		conditions[i].LastTransitionTime = lastTransition(conditions[i], before)
	}
	return conditions
}

func lastTransition(condition v1.PodCondition, before []v1.PodCondition) metav1.Time {
	for _, b := range before {
		if b.Type == condition.Type && b.Status == condition.Status {
			return b.LastTransitionTime
		}
	}
	return metav1.Now()
}
