package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A host cluster lives for a session or a CI run; a year leaves room for a developer's machine.
const lifetime = 365 * 24 * time.Hour

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// pki writes into --dir: two authorities (cluster, front proxy), the API server's certificates, the service account key pair, and a
// kubeconfig for each component and for the admin.
func pki(args []string) error {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "folder to write to")
	server := flags.String("server", "", "URL of the API server for the kubeconfigs")
	sans := flags.String("sans", "", "comma-separated DNS names and addresses of the API server")
	node := flags.String("node", "node-1", "name of the node whose kubelet gets a kubeconfig")
	name := flags.String("name", "host", "name of cluster and context in the kubeconfigs")
	_ = flags.Parse(args)
	if *dir == "" || *server == "" {
		return fmt.Errorf("--dir and --server are needed")
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	p := writer{dir: *dir}

	ca := p.authority("ca", *name+"-ca")
	front := p.authority("front-proxy-ca", *name+"-front-proxy-ca")
	p.leaf("apiserver", ca, pkix.Name{CommonName: "kube-apiserver"}, strings.Split(*sans, ","), x509.ExtKeyUsageServerAuth)
	p.leaf("apiserver-kubelet-client", ca, pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}}, nil, x509.ExtKeyUsageClientAuth)
	p.leaf("front-proxy-client", front, pkix.Name{CommonName: "front-proxy-client"}, nil, x509.ExtKeyUsageClientAuth)
	p.serviceAccountKey()

	users := []struct{ file, user, group string }{
		{"admin", "kubernetes-admin", "system:masters"},
		{"controller-manager", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
		{"kubelet", "system:node:" + *node, "system:nodes"},
	}
	for _, u := range users {
		subject := pkix.Name{CommonName: u.user}
		if u.group != "" {
			subject.Organization = []string{u.group}
		}
		cert, key := p.leaf("", ca, subject, nil, x509.ExtKeyUsageClientAuth)
		p.kubeconfig(u.file, *name, *server, u.user, ca.pem, cert, key)
	}
	return p.err
}

// writer remembers the first error, so that the list above reads as a list.
type writer struct {
	dir string
	err error
}

func (w *writer) write(name string, mode os.FileMode, data []byte) {
	if w.err == nil && name != "" {
		w.err = os.WriteFile(filepath.Join(w.dir, name), data, mode)
	}
}

func (w *writer) fail(err error) {
	if w.err == nil && err != nil {
		w.err = err
	}
}

func (w *writer) authority(file, name string) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.fail(err)
	template := w.template(pkix.Name{CommonName: name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	w.fail(err)
	cert, err := x509.ParseCertificate(der)
	w.fail(err)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	w.write(file+".crt", 0o644, block)
	w.write(file+".key", 0o600, w.keyPEM(key))
	return authority{cert, key, block}
}

func (w *writer) leaf(file string, ca authority, subject pkix.Name, sans []string, usage x509.ExtKeyUsage) (cert, key []byte) {
	if w.err != nil {
		return nil, nil
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.fail(err)
	template := w.template(subject)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if san != "" {
			template.DNSNames = append(template.DNSNames, san)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, private.Public(), ca.key)
	w.fail(err)
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = w.keyPEM(private)
	if file != "" {
		w.write(file+".crt", 0o644, cert)
		w.write(file+".key", 0o600, key)
	}
	return cert, key
}

func (w *writer) template(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	w.fail(err)
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(lifetime)}
}

func (w *writer) keyPEM(key crypto.Signer) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	w.fail(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// serviceAccountKey is RSA, which is what nearly every cluster signs its tokens with.
func (w *writer) serviceAccountKey() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	w.fail(err)
	if w.err != nil {
		return
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	w.fail(err)
	w.write("sa.key", 0o600, w.keyPEM(key))
	w.write("sa.pub", 0o644, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

func (w *writer) kubeconfig(file, name, server, user string, ca, cert, key []byte) {
	b64 := base64.StdEncoding.EncodeToString
	w.write(file+".kubeconfig", 0o600, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster: {server: %[2]q, certificate-authority-data: %[4]s}
users:
- name: %[3]q
  user: {client-certificate-data: %[5]s, client-key-data: %[6]s}
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[3]q}
`, name, server, user, b64(ca), b64(cert), b64(key)))
}
