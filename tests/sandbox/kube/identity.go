package main

import (
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	annotationPrefix       = "eks.amazonaws.com/"
	identityVolume         = "aws-iam-token"
	identityDir            = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
	identityRegion         = "us-west-2"
	defaultTokenExpiration = 86400
	minTokenExpiration     = 600
)

// identity is what a service account's annotations ask for.
type identity struct {
	role       string
	audience   string
	regional   bool
	expiration int64
	skip       []string // containers
}

func identityOf(account *v1.ServiceAccount, pod *v1.Pod) (identity, bool) {
	annotation := func(name string) string { return account.Annotations[annotationPrefix+name] }
	i := identity{
		role:       annotation("role-arn"),
		audience:   annotation("audience"),
		regional:   true,
		expiration: defaultTokenExpiration,
	}
	if i.audience == "" {
		i.audience = "sts.amazonaws.com"
	}
	if regional, err := strconv.ParseBool(annotation("sts-regional-endpoints")); err == nil {
		i.regional = regional
	}
	for _, text := range []string{annotation("token-expiration"), pod.Annotations[annotationPrefix+"token-expiration"]} {
		if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
			i.expiration = max(seconds, minTokenExpiration)
		}
	}
	for name := range strings.SplitSeq(pod.Annotations[annotationPrefix+"skip-containers"], ",") {
		i.skip = append(i.skip, strings.TrimSpace(name))
	}
	return i, i.role != ""
}

// inject gives the pod's containers the token, and the variables that the AWS SDKs read.
func (i identity) inject(pod *v1.Pod) {
	changed := false
	for _, containers := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for n := range containers {
			if !slices.Contains(i.skip, containers[n].Name) {
				changed = i.injectInto(&containers[n]) || changed
			}
		}
	}
	hasVolume := slices.ContainsFunc(pod.Spec.Volumes, func(v v1.Volume) bool { return v.Name == identityVolume })
	if changed && !hasVolume {
		pod.Spec.Volumes = append([]v1.Volume{i.volume()}, pod.Spec.Volumes...)
	}
}

func (i identity) injectInto(c *v1.Container) (changed bool) {
	has := func(name string) bool {
		return slices.ContainsFunc(c.Env, func(v v1.EnvVar) bool { return v.Name == name })
	}
	add := func(name, value string) {
		c.Env = append(c.Env, v1.EnvVar{Name: name, Value: value})
		changed = true
	}
	if i.regional && !has("AWS_STS_REGIONAL_ENDPOINTS") {
		add("AWS_STS_REGIONAL_ENDPOINTS", "regional")
	}
	// One of the two set by hand keeps the other out.
	if !has("AWS_DEFAULT_REGION") && !has("AWS_REGION") {
		add("AWS_DEFAULT_REGION", identityRegion)
		add("AWS_REGION", identityRegion)
	}
	if !has("AWS_ROLE_ARN") && !has("AWS_WEB_IDENTITY_TOKEN_FILE") {
		add("AWS_ROLE_ARN", i.role)
		add("AWS_WEB_IDENTITY_TOKEN_FILE", identityDir+"/token")
	}
	if !slices.ContainsFunc(c.VolumeMounts, func(m v1.VolumeMount) bool { return m.Name == identityVolume }) {
		c.VolumeMounts = append(c.VolumeMounts, v1.VolumeMount{Name: identityVolume, ReadOnly: true, MountPath: identityDir})
		changed = true
	}
	return changed
}

func (i identity) volume() v1.Volume {
	token := &v1.ServiceAccountTokenProjection{Audience: i.audience, ExpirationSeconds: ptr.To(i.expiration), Path: "token"}
	return v1.Volume{
		Name: identityVolume,
		VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{
			Sources: []v1.VolumeProjection{{ServiceAccountToken: token}},
		}},
	}
}
