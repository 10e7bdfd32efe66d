package main

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// waitUsable waits until a pod could be created and run, and until everything
// exists that the control plane makes after it has called itself ready.
func waitUsable(ctx context.Context, client kubernetes.Interface, node string) error {
	schedulable := func(ctx context.Context) bool {
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		return err == nil && len(n.Spec.Taints) == 0
	}
	if err := eventually(ctx, 30*time.Second, schedulable); err != nil {
		return fmt.Errorf("node %s stays tainted: %w", node, err)
	}
	for _, path := range lateObjects() {
		exists := func(ctx context.Context) bool {
			return client.CoreV1().RESTClient().Get().AbsPath(path).Do(ctx).Error() == nil
		}
		if err := eventually(ctx, 30*time.Second, exists); err != nil {
			return fmt.Errorf("%s is missing: %w", path, err)
		}
	}
	return nil
}

func lateObjects() []string {
	paths := []string{
		"/api/v1/namespaces/default/services/kubernetes",
		"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
		"/apis/networking.k8s.io/v1/ipaddresses/" + apiServiceIP,
		"/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking",
	}
	for _, namespace := range []string{"default", "kube-system", "kube-public", nodeNamespace} {
		paths = append(paths,
			"/api/v1/namespaces/"+namespace+"/serviceaccounts/default",
			"/api/v1/namespaces/"+namespace+"/configmaps/kube-root-ca.crt")
	}
	return paths
}

func bindClusterAdmin(ctx context.Context, client kubernetes.Interface, user string) error {
	_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "sandbox-cluster-admin"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{})
	return err
}

func eventually(ctx context.Context, within time.Duration, met func(context.Context) bool) error {
	return wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		return met(ctx), nil
	})
}
