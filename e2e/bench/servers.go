package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// server is one side of a comparison: an API and the processes that serve it.
type server struct {
	name      string
	processes []*process
	config    *rest.Config
}

func (s *server) cpu() (float64, error) {
	var sum float64
	for _, p := range s.processes {
		cpu, err := p.cpu()
		if err != nil {
			return 0, fmt.Errorf("%w (%w)", err, p.failure())
		}
		sum += cpu
	}
	return sum, nil
}

func (s *server) writes() (sum float64, err error) {
	for _, p := range s.processes {
		n, err := p.writes()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (s *server) memory() (now, peak float64, err error) {
	for _, p := range s.processes {
		n, h, err := p.memory()
		if err != nil {
			return 0, 0, err
		}
		now, peak = now+n, peak+h
	}
	return now, peak, nil
}

// stock is etcd and kube-apiserver of this machine's own, on ports of the loopback address. It is also our host.
type stock struct {
	server
	etcd, api  *process
	folder     string
	kubeconfig string
	apiArgs    []string
	startup    time.Duration
	b          *bench
}

func (b *bench) startStock(ctx context.Context) (*stock, error) {
	folder := filepath.Join(b.folder, "stock")
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	pki := filepath.Join(folder, "pki")
	url := fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	out, err := exec.Command(b.program("hosttool"), "pki", "--dir", pki, "--name", "stock", "--server", url, "--sans", "localhost,127.0.0.1,10.208.0.1").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("hosttool pki: %s", out)
	}
	s := &stock{folder: folder, kubeconfig: filepath.Join(pki, "admin.kubeconfig"), b: b}
	began := time.Now()
	s.etcd, err = b.startEtcd(filepath.Join(folder, "etcd"), ports[0], ports[1])
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(pki, name) }
	s.apiArgs = []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", ports[0]), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]),
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + in("apiserver.crt"), "--tls-private-key-file=" + in("apiserver.key"), "--client-ca-file=" + in("ca.crt"),
		"--service-account-key-file=" + in("sa.pub"), "--service-account-signing-key-file=" + in("sa.key"), "--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=10.208.0.0/16", "--authorization-mode=Node,RBAC", "--cert-dir=" + filepath.Join(folder, "apiserver"),
	}
	if err := s.startAPI(); err != nil {
		return nil, err
	}
	s.name = "kube-apiserver and etcd"
	s.config, err = clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return nil, err
	}
	unlimited(s.config)
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.startup = time.Since(began)
	return s, nil
}

func (b *bench) startEtcd(data string, client, peer int) (*process, error) {
	urls := func(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
	return b.processes.start("etcd", b.program("etcd"), "--data-dir", data, "--listen-client-urls", urls(client), "--advertise-client-urls", urls(client),
		"--listen-peer-urls", urls(peer), "--initial-advertise-peer-urls", urls(peer), "--initial-cluster", "default="+urls(peer),
		"--quota-backend-bytes", "8589934592", "--log-level", "warn")
}

func (s *stock) startAPI() (err error) {
	s.api, err = s.b.processes.start("kube-apiserver", s.b.program("kube-apiserver"), s.apiArgs...)
	s.processes = []*process{s.etcd, s.api}
	return err
}

func (s *stock) ready(ctx context.Context) error {
	client, err := coreClient(s.config, jsonType)
	if err != nil {
		return err
	}
	return await("kube-apiserver", 2*time.Minute, s.processes, func() error {
		return client.Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// restart is kill -9 of the API server, not of etcd.
func (s *stock) restart(ctx context.Context) error {
	s.api.kill()
	if err := s.startAPI(); err != nil {
		return err
	}
	return s.ready(ctx)
}

// ours is a `tenantry server` beside a host that serves it virtual clusters.
type ours struct {
	server
	host   *stock
	folder string
	ops    string
	b      *bench
}

// startOurs starts the server with the definition of VirtualClusters on the host and room for so many of them.
func (b *bench) startOurs(ctx context.Context, host *stock, clusters int) (*ours, error) {
	if err := applyDefinition(ctx, host.config, filepath.Join(b.top, "charts/tenantry/crds/virtualclusters.yaml")); err != nil {
		return nil, fmt.Errorf("the definition of VirtualClusters: %w", err)
	}
	folder := filepath.Join(b.folder, "ours")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	first, err := freeBlock(2 * (clusters + 8))
	if err != nil {
		return nil, err
	}
	o := &ours{host: host, folder: folder, ops: fmt.Sprintf("127.0.0.1:%d", ports[1]), b: b}
	o.name = "tenantry"
	// The host refuses loopback addresses in EndpointSlices; nobody dials this one.
	config := fmt.Sprintf(`store: {path: %q}
api: {listen: "127.0.0.1:%d", endpoint: "https://127.0.0.1:%d"}
ports: {first: %d, count: %d}
ops: {listen: %q}
host: {kubeconfig: %q, address: 192.0.2.1}
log: {level: warn}
`, filepath.Join(folder, "store"), ports[0], ports[0], first, 2*(clusters+8), o.ops, host.kubeconfig)
	if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return o, o.start(ctx)
}

func (o *ours) start(ctx context.Context) error {
	p, err := o.b.processes.start("tenantry", o.b.tenantry, "server", "--config", filepath.Join(o.folder, "config.yaml"))
	if err != nil {
		return err
	}
	o.processes = []*process{p}
	client, err := rest.UnversionedRESTClientFor(unlimited(&rest.Config{Host: "http://" + o.ops, ContentConfig: jsonContent()}))
	if err != nil {
		return err
	}
	return await("tenantry", time.Minute, o.processes, func() error { return client.Get().AbsPath("/readyz").Do(ctx).Error() })
}

// restart is kill -9 of the server.
func (o *ours) restart(ctx context.Context) error {
	o.processes[0].kill()
	if err := o.start(ctx); err != nil {
		return err
	}
	client, err := coreClient(o.config, jsonType)
	if err != nil {
		return err
	}
	return await("the virtual cluster", time.Minute, o.processes, func() error { return client.Get().AbsPath("/readyz").Do(ctx).Error() })
}

// freePorts gives ports that nobody listens on now.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Open until all are found, so that none is found twice.
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// freeBlock gives the first of `count` consecutive ports below those that the kernel gives to outgoing connections.
func freeBlock(count int) (int, error) {
	const low, high = 12000, 32000
	first := low
	for port := low; port < high; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			first = port + 1
			continue
		}
		_ = listener.Close()
		if port-first+1 == count {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d consecutive free ports from %d to %d", count, low, high)
}

func (b *bench) program(name string) string { return filepath.Join(b.run, "bin", name) }

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}
