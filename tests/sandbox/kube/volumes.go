package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// makeVolumes writes the pod's volumes. Tokens are not renewed: those for the
// API server are valid for an hour and then, extended by it, for a year; those
// of IRSA for a day.
func (p *pod) makeVolumes(ctx context.Context) error {
	for _, volume := range p.Spec.Volumes {
		dir := p.volumeDir(volume.Name)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return err
		}
		for _, source := range sources(volume) {
			files, err := p.files(ctx, source)
			if err != nil {
				return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", volume.Name, err)
			}
			if err := writeFiles(dir, files); err != nil {
				return err
			}
		}
	}
	return nil
}

// sources are what is written into a volume. All other kinds start empty.
func sources(volume v1.Volume) []v1.VolumeProjection {
	switch {
	case volume.Projected != nil:
		return volume.Projected.Sources
	case volume.ConfigMap != nil:
		of := volume.ConfigMap
		return []v1.VolumeProjection{{ConfigMap: &v1.ConfigMapProjection{
			LocalObjectReference: of.LocalObjectReference, Items: of.Items, Optional: of.Optional,
		}}}
	case volume.Secret != nil:
		of := volume.Secret
		return []v1.VolumeProjection{{Secret: &v1.SecretProjection{
			LocalObjectReference: v1.LocalObjectReference{Name: of.SecretName}, Items: of.Items, Optional: of.Optional,
		}}}
	}
	return nil
}

func (p *pod) files(ctx context.Context, source v1.VolumeProjection) (map[string]string, error) {
	switch {
	case source.ServiceAccountToken != nil:
		token, err := p.token(ctx, source.ServiceAccountToken)
		return map[string]string{source.ServiceAccountToken.Path: token}, err
	case source.ConfigMap != nil:
		data, err := p.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Optional)
		return selectItems(data, source.ConfigMap.Items), err
	case source.Secret != nil:
		data, err := p.secret(ctx, source.Secret.Name, source.Secret.Optional)
		return selectItems(data, source.Secret.Items), err
	case source.DownwardAPI != nil:
		return p.downwardFiles(source.DownwardAPI.Items)
	}
	return nil, fmt.Errorf("the sandbox cannot project this source")
}

func (p *pod) token(ctx context.Context, want *v1.ServiceAccountTokenProjection) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: want.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	if want.Audience != "" {
		request.Spec.Audiences = []string{want.Audience}
	}
	accounts := p.node.client.CoreV1().ServiceAccounts(p.Namespace)
	answer, err := accounts.CreateToken(ctx, p.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to fetch token: %w", err)
	}
	return answer.Status.Token, nil
}

func selectItems(data map[string]string, items []v1.KeyToPath) map[string]string {
	if len(items) == 0 {
		return data
	}
	selected := map[string]string{}
	for _, item := range items {
		if value, ok := data[item.Key]; ok {
			selected[item.Path] = value
		}
	}
	return selected
}

func (p *pod) downwardFiles(items []v1.DownwardAPIVolumeFile) (map[string]string, error) {
	files := map[string]string{}
	for _, item := range items {
		if item.FieldRef == nil {
			return nil, fmt.Errorf("the sandbox cannot resolve the source of file %s", item.Path)
		}
		value, err := p.field(item.FieldRef.FieldPath)
		if err != nil {
			return nil, err
		}
		files[item.Path] = value
	}
	return files, nil
}

// writeFiles writes paths that the API server has checked to stay below dir.
func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.Contains(name, "/") {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
