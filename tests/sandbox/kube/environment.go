package main

import (
	"context"
	"fmt"
	"maps"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
	"k8s.io/utils/ptr"
)

// environment is what the pod says, and what the kubelet adds.
func (c *container) environment(ctx context.Context) (map[string]string, error) {
	services, err := c.serviceVariables(ctx)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		if err := c.addAll(ctx, env, from); err != nil {
			return nil, err
		}
	}
	mapping := expansion.MappingFuncFor(env, services)
	for _, variable := range c.Env {
		value, found, err := c.value(ctx, variable)
		if err != nil {
			return nil, err
		}
		if found {
			env[variable.Name] = expansion.Expand(value, mapping)
		}
	}
	for name, value := range services {
		if _, ok := env[name]; !ok {
			env[name] = value
		}
	}
	return env, nil
}

// serviceVariables are those of Service kubernetes, and of the services of the pod's namespace.
func (c *container) serviceVariables(ctx context.Context) (map[string]string, error) {
	client := c.pod.node.client.CoreV1()
	api, err := client.Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	services := []*v1.Service{api}
	if ptr.Deref(c.pod.Spec.EnableServiceLinks, true) {
		own, err := client.Services(c.pod.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range own.Items {
			services = append(services, &own.Items[i])
		}
	}
	env := map[string]string{}
	for _, variable := range envvars.FromServices(services) {
		env[variable.Name] = variable.Value
	}
	return env, nil
}

func (c *container) addAll(ctx context.Context, env map[string]string, from v1.EnvFromSource) error {
	var data map[string]string
	var err error
	switch {
	case from.ConfigMapRef != nil:
		data, err = c.pod.configMap(ctx, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		data, err = c.pod.secret(ctx, from.SecretRef.Name, from.SecretRef.Optional)
	}
	for key, value := range data {
		env[from.Prefix+key] = value
	}
	return err
}

func (c *container) value(ctx context.Context, variable v1.EnvVar) (value string, found bool, err error) {
	from := variable.ValueFrom
	switch {
	case from == nil:
		return variable.Value, true, nil
	case from.FieldRef != nil:
		value, err = c.pod.field(from.FieldRef.FieldPath)
		// A field's value is not expanded.
		return strings.ReplaceAll(value, "$", "$$"), err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := c.pod.configMap(ctx, ref.Name, ref.Optional)
		return c.key(data, err, ref.Key, "ConfigMap", ref.Name, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := c.pod.secret(ctx, ref.Name, ref.Optional)
		return c.key(data, err, ref.Key, "Secret", ref.Name, ref.Optional)
	}
	return "", false, fmt.Errorf("the sandbox cannot resolve the source of variable %s", variable.Name)
}

func (c *container) key(data map[string]string, err error, key, kind, name string, optional *bool) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	value, ok := data[key]
	if !ok && !ptr.Deref(optional, false) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, c.pod.Namespace, name)
	}
	return strings.ReplaceAll(value, "$", "$$"), ok, nil
}

func (p *pod) field(path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return nodeIP, nil
	case "status.podIP", "status.podIPs":
		return p.ip, nil
	}
	return fieldpath.ExtractFieldPathAsString(p.Pod, path)
}

func (p *pod) configMap(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	object, err := p.node.client.CoreV1().ConfigMaps(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	data := map[string]string{}
	maps.Copy(data, object.Data)
	for key, value := range object.BinaryData {
		data[key] = string(value)
	}
	return data, nil
}

func (p *pod) secret(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	object, err := p.node.client.CoreV1().Secrets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	data := map[string]string{}
	for key, value := range object.Data {
		data[key] = string(value)
	}
	return data, nil
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && ptr.Deref(optional, false) {
		return nil
	}
	return err
}

func expandAll(arguments []string, env map[string]string) []string {
	mapping := expansion.MappingFuncFor(env)
	for i := range arguments {
		arguments[i] = expansion.Expand(arguments[i], mapping)
	}
	return arguments
}

// processEnvironment adds what an image and the container runtime would, and
// where AWS is: the pod's specification says nothing of that.
func (c *container) processEnvironment(env map[string]string) []string {
	all := map[string]string{
		"PATH":          "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + programDir,
		"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
		"HOSTNAME":      c.pod.Name,
	}
	maps.Copy(all, env)
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"} {
		all[name] = c.pod.node.options.awsURL
	}
	var list []string
	for name, value := range all {
		list = append(list, name+"="+value)
	}
	return list
}
