package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	c := &clusters{host: client, configs: map[string]chan []byte{}, stop: stop, failed: make(chan error, 1)}
	for _, name := range names {
		c.configs[name+"-kubeconfig"] = make(chan []byte, 1)
	}
	watch, err := client.Get().Namespace("default").Resource("secrets").Param("watch", "true").Watch(ctx)
	if err != nil {
		stop()
		return nil, err
	}
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
	defer client.Client.CloseIdleConnections()
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
