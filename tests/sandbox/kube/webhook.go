package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const (
	webhookName = "pod-identity-webhook"
	// A pod of this name is never created: it shows whether the webhook is called.
	webhookProbe = "sandbox-webhook-probe"
)

// webhook is EKS's pod identity webhook.
type webhook struct {
	client   kubernetes.Interface
	url      string
	caBundle []byte
	probed   atomic.Int64
}

func newWebhook(client kubernetes.Interface, server *tlsServer) *webhook {
	w := &webhook{
		client:   client,
		url:      fmt.Sprintf("https://%s/mutate", server.listener.Addr()),
		caBundle: server.caBundle,
	}
	server.mux.HandleFunc("POST /mutate", w.serve)
	return w
}

// enable returns when the API server calls the webhook.
func (w *webhook) enable(ctx context.Context) error {
	_, err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, w.configuration(), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return w.settle(ctx, true)
}

// disable returns when the API server doesn't call the webhook any more.
func (w *webhook) disable(ctx context.Context) error {
	err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, webhookName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return w.settle(ctx, false)
}

func (w *webhook) configuration() *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: webhookName},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:         "iam-for-pods.amazonaws.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &w.url, CABundle: w.caBundle},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			FailurePolicy:      ptr.To(admissionregistrationv1.Ignore),
			ReinvocationPolicy: ptr.To(admissionregistrationv1.IfNeededReinvocationPolicy),
			SideEffects:        ptr.To(admissionregistrationv1.SideEffectClassNone),
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: annotationPrefix + "skip-pod-identity-webhook", Operator: metav1.LabelSelectorOpDoesNotExist,
			}}},
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// settle waits until the API server has noticed a change of the configuration.
func (w *webhook) settle(ctx context.Context, enabled bool) error {
	probe := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: webhookProbe},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "probe", Image: "probe"}}},
	}
	var last error
	err := eventually(ctx, 10*time.Second, func(ctx context.Context) bool {
		before := w.probed.Load()
		_, last = w.client.CoreV1().Pods("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return last == nil && (w.probed.Load() > before) == enabled
	})
	if err != nil {
		return fmt.Errorf("pod identity webhook, enabled=%v: %w (last try: %v)", enabled, err, last)
	}
	return nil
}

func (w *webhook) serve(response http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(response, "not an AdmissionReview", http.StatusBadRequest)
		return
	}
	answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	patch, err := w.patch(request.Context(), review.Request)
	if err != nil {
		// As in EKS: the pod starts all the same, without a role.
		klog.ErrorS(err, "Pod identity webhook", "namespace", review.Request.Namespace)
	} else if patch != nil {
		answer.Patch = patch
		answer.PatchType = ptr.To(admissionv1.PatchTypeJSONPatch)
	}
	response.Header().Set("Content-Type", "application/json")
	json.NewEncoder(response).Encode(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: answer})
}

func (w *webhook) patch(ctx context.Context, request *admissionv1.AdmissionRequest) ([]byte, error) {
	var pod v1.Pod
	if err := json.Unmarshal(request.Object.Raw, &pod); err != nil {
		return nil, err
	}
	if pod.Name == webhookProbe {
		w.probed.Add(1)
		return nil, nil
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	object, err := w.client.CoreV1().ServiceAccounts(request.Namespace).Get(ctx, account, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	identity, ok := identityOf(object, &pod)
	if !ok {
		return nil, nil
	}
	identity.inject(&pod)
	return json.Marshal([]map[string]any{{"op": "replace", "path": "/spec", "value": pod.Spec}})
}
