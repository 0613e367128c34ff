package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// validity is how long the keys of a cluster are good for.
const validity = 30 * 24 * time.Hour

// authority signs the certificates of a cluster.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// newAuthority writes ca.crt and its key to a folder.
func newAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "mf-e2e"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, key, err := a.issue("ca", template)
	if err != nil {
		return nil, err
	}
	a.cert, a.key = cert, key
	return a, nil
}

// server writes NAME.crt and NAME.key for a server at an address.
func (a *authority) server(name string, addresses []net.IP, names ...string) error {
	_, _, err := a.issue(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: addresses, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// client writes NAME.crt and NAME.key for a client that is a member of a group.
func (a *authority) client(name, group string) error {
	_, _, err := a.issue(name, &x509.Certificate{
		Subject:  pkix.Name{CommonName: name, Organization: []string{group}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	a.next++
	template.SerialNumber = big.NewInt(a.next)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(validity)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(a.dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, nil, err
	}
	return cert, key, writeKey(filepath.Join(a.dir, name+".key"), key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// writeKeys makes all keys of a cluster and returns the administrator's token.
func writeKeys(dir string) (token string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	ca, err := newAuthority(dir)
	if err != nil {
		return "", err
	}
	loopback := net.IPv4(127, 0, 0, 1)
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	if err := ca.server("apiserver", []net.IP{net.ParseIP(apiAddress), loopback}, names...); err != nil {
		return "", err
	}
	if err := ca.server("kubelet", []net.IP{loopback}, "localhost"); err != nil {
		return "", err
	}
	if err := ca.client("kubelet-client", "system:masters"); err != nil {
		return "", err
	}
	// What signs the tokens of service accounts.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	if err := writeKey(filepath.Join(dir, "accounts.key"), key); err != nil {
		return "", err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	if err := os.WriteFile(filepath.Join(dir, "accounts.pub"), block, 0o644); err != nil {
		return "", err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	token = hex.EncodeToString(random)
	line := fmt.Sprintf("%s,admin,admin,system:masters\n", token)
	return token, os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(line), 0o600)
}

// kubeConfig is a kubeconfig of one user.
func kubeConfig(root, token, namespace string) ([]byte, error) {
	ca, err := os.ReadFile(filepath.Join(root, "cluster", "keys", "ca.crt"))
	if err != nil {
		return nil, err
	}
	const name = "mf-e2e"
	return clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: apiServer, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*api.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		CurrentContext: name,
	})
}
