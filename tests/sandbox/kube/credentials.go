package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// controlPlaneUser is who the sandbox's own parts are; the audit log leaves it out.
const controlPlaneUser = "system:sandbox"

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- level: None
  users: [system:apiserver, ` + controlPlaneUser + `]
- level: Metadata
`

// credentials are the files that the control plane starts with, and who may use it.
type credentials struct {
	certDir, caFile           string
	saPrivateKey, saPublicKey string
	tokenFile                 string
	authWebhookFile           string
	auditPolicyFile, auditLog string
	kubeconfig                string
	adminToken, ownToken      string
}

func newCredentials(o options) (*credentials, error) {
	in := func(name string) string { return filepath.Join(o.dir, name) }
	c := &credentials{
		certDir: in("certs"),
		// Self-signed by the API server as it starts.
		caFile:          in("certs/apiserver.crt"),
		saPrivateKey:    in("sa.key"),
		saPublicKey:     in("sa.pub"),
		tokenFile:       in("tokens.csv"),
		authWebhookFile: in("auth-webhook.yaml"),
		auditPolicyFile: in("audit-policy.yaml"),
		auditLog:        in("audit.log"),
		kubeconfig:      in("kubeconfig"),
		adminToken:      randomHex(16),
		ownToken:        randomHex(16),
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(o.dir); err != nil || len(left) > 0 {
		return nil, fmt.Errorf("%s has to be a new or an empty folder (%v)", o.dir, err)
	}
	if err := c.writeKeys(); err != nil {
		return nil, err
	}
	tokens := fmt.Sprintf("%s,sandbox-admin,sandbox-admin,system:masters\n%s,%s,%s,system:masters\n",
		c.adminToken, c.ownToken, controlPlaneUser, controlPlaneUser)
	for name, text := range map[string]string{
		c.tokenFile:       tokens,
		c.auditPolicyFile: auditPolicy,
		c.auditLog:        "",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return c, clientcmd.WriteToFile(kubeconfig(&api.Cluster{Server: o.authWebhook}, &api.AuthInfo{}), c.authWebhookFile)
}

func (c *credentials) writeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	private := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	if err := os.WriteFile(c.saPrivateKey, pem.EncodeToMemory(private), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.saPublicKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}

// clientConfig is for the sandbox's own parts: no client-side rate limit.
func (c *credentials) clientConfig(server string) *rest.Config {
	return &rest.Config{
		Host:            server,
		BearerToken:     c.ownToken,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.caFile},
		QPS:             -1,
	}
}

func (c *credentials) writeKubeconfig(config *rest.Config) error {
	cluster := &api.Cluster{Server: config.Host, CertificateAuthority: c.caFile}
	return clientcmd.WriteToFile(kubeconfig(cluster, &api.AuthInfo{Token: c.ownToken}), c.kubeconfig)
}

func kubeconfig(cluster *api.Cluster, user *api.AuthInfo) api.Config {
	const name = "sandbox"
	return api.Config{
		CurrentContext: name,
		Clusters:       map[string]*api.Cluster{name: cluster},
		AuthInfos:      map[string]*api.AuthInfo{name: user},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name}},
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
