package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const clustersURL = "/apis/tenantry.io/v1alpha1/namespaces/default/virtualclusters"

// clusters makes VirtualClusters and tells when each first answers.
type clusters struct {
	host *rest.RESTClient
	// The kubeconfig of each that was asked for, once its Secret is there.
	configs map[string]chan []byte
	stop    context.CancelFunc
	failed  chan error

	lock sync.Mutex
	// Those that say that they are ready: all that belongs to them is made.
	ready map[string]bool
	// One more of them, or several.
	more chan struct{}
}

// cluster is one that answers.
type cluster struct {
	config *rest.Config
	// From the answer of the host that it is accepted to the first authenticated answer of its API.
	took time.Duration
}

// newClusters follows the kubeconfig Secrets of these names, which must be made through it alone.
func newClusters(ctx context.Context, host *rest.Config, names []string) (*clusters, error) {
	client, err := coreClient(host, jsonType)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	c := &clusters{host: client, configs: map[string]chan []byte{}, stop: stop, failed: make(chan error, 2), ready: map[string]bool{}, more: make(chan struct{}, 1)}
	for _, name := range names {
		c.configs[name+"-kubeconfig"] = make(chan []byte, 1)
	}
	watch, err := client.Get().Namespace("default").Resource("secrets").Param("watch", "true").Watch(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	stream, err := client.Get().AbsPath(clustersURL).Param("watch", "true").Stream(ctx)
	if err != nil {
		watch.Stop()
		stop()
		return nil, err
	}
	go func() {
		defer stream.Close()
		decoder := json.NewDecoder(bufio.NewReaderSize(stream, 64<<10))
		for {
			var event struct {
				Object struct {
					Metadata struct{ Name string }
					Status   struct{ Conditions []metav1.Condition }
				}
			}
			if err := decoder.Decode(&event); err != nil {
				if ctx.Err() == nil {
					c.failed <- fmt.Errorf("the watch of VirtualClusters ended: %w", err)
				}
				return
			}
			for _, condition := range event.Object.Status.Conditions {
				if condition.Type == "Ready" && condition.Status == metav1.ConditionTrue {
					c.lock.Lock()
					c.ready[event.Object.Metadata.Name] = true
					c.lock.Unlock()
					select {
					case c.more <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	go func() {
		defer watch.Stop()
		for event := range watch.ResultChan() {
			secret, ok := event.Object.(*corev1.Secret)
			if !ok {
				break
			}
			if wanted := c.configs[secret.Name]; wanted != nil && len(secret.Data["config"]) > 0 {
				select {
				case wanted <- secret.Data["config"]:
				default:
				}
			}
		}
		if ctx.Err() == nil {
			c.failed <- fmt.Errorf("the watch of kubeconfig Secrets ended")
		}
	}()
	return c, nil
}

// create makes one and waits for its first answer.
func (c *clusters) create(ctx context.Context, name string) (cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	body := fmt.Appendf(nil, `{"apiVersion":"tenantry.io/v1alpha1","kind":"VirtualCluster","metadata":{"name":%q},"spec":{}}`, name)
	if err := c.host.Post().AbsPath(clustersURL).SetHeader("Content-Type", jsonType).Body(body).Do(ctx).Error(); err != nil {
		return cluster{}, fmt.Errorf("VirtualCluster %s: %w", name, err)
	}
	accepted := time.Now()
	var kubeconfig []byte
	select {
	case kubeconfig = <-c.configs[name+"-kubeconfig"]:
	case err := <-c.failed:
		return cluster{}, err
	case <-ctx.Done():
		return cluster{}, fmt.Errorf("VirtualCluster %s has no kubeconfig: %w", name, ctx.Err())
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return cluster{}, err
	}
	client, err := coreClient(config, jsonType)
	if err != nil {
		return cluster{}, err
	}
	defer closeIdle(client)
	for {
		err := client.Get().Resource("namespaces").Do(ctx).Error()
		if err == nil {
			return cluster{config: unlimited(config), took: time.Since(accepted)}, nil
		}
		if ctx.Err() != nil {
			return cluster{}, fmt.Errorf("VirtualCluster %s does not answer: %w", name, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// complete waits until so many say that they are ready.
func (c *clusters) complete(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	for {
		c.lock.Lock()
		ready := len(c.ready)
		c.lock.Unlock()
		if ready >= count {
			return nil
		}
		select {
		case err := <-c.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d virtual clusters are ready: %w", ready, count, ctx.Err())
		case <-c.more:
		}
	}
}

// arrive asks for all of these at an even rate, whether those before them answer or not, and tells how long each took.
func (c *clusters) arrive(ctx context.Context, names []string, each time.Duration) (latencies, error) {
	took, errs := make(latencies, len(names)), make([]error, len(names))
	began := time.Now()
	var group sync.WaitGroup
	for i, name := range names {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Until(began.Add(time.Duration(i) * each))):
		}
		group.Go(func() {
			made, err := c.create(ctx, name)
			took[i], errs[i] = made.took, err
		})
	}
	group.Wait()
	return took, first(errs)
}

// virtualCluster makes one virtual cluster, of which o then is the server.
func (o *ours) virtualCluster(ctx context.Context, name string) error {
	c, err := newClusters(ctx, o.host.config, []string{name})
	if err != nil {
		return err
	}
	defer c.stop()
	made, err := c.create(ctx, name)
	if err != nil {
		return fmt.Errorf("%w (%w)", err, o.processes[0].failure())
	}
	o.config = made.config
	return nil
}
