package main

import (
	"context"
	"net"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
)

const (
	jsonType     = runtime.ContentTypeJSON
	protobufType = runtime.ContentTypeProtobuf
)

// codecs know the core group, and Status: all that is decoded here.
var codecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme)
}()

// unlimited lets a client send as fast as it can.
func unlimited(config *rest.Config) *rest.Config {
	config.QPS = -1
	config.UserAgent = "bench"
	return config
}

func jsonContent() rest.ContentConfig {
	return rest.ContentConfig{
		ContentType:          jsonType,
		GroupVersion:         &corev1.SchemeGroupVersion,
		NegotiatedSerializer: codecs.WithoutConversion(),
	}
}

// coreClient is a client of the core group with a connection of its own.
func coreClient(config *rest.Config, contentType string) (*rest.RESTClient, error) {
	config = rest.CopyConfig(config)
	config.ContentConfig = jsonContent()
	config.ContentType = contentType
	config.AcceptContentTypes = contentType
	config.APIPath = "/api"
	// Configurations with equal dialers share a connection.
	config.Dial = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	return rest.RESTClientFor(unlimited(config))
}

// closeIdle closes a client's connection. What http.Client offers for that ends at the first of client-go's wrappers.
func closeIdle(client *rest.RESTClient) { utilnet.CloseIdleConnectionsFor(client.Client.Transport) }

func coreClients(config *rest.Config, contentType string, count int) ([]*rest.RESTClient, error) {
	clients := make([]*rest.RESTClient, count)
	err := each(1, count, func(i int) (err error) {
		clients[i], err = coreClient(config, contentType)
		return err
	})
	return clients, err
}

// applyDefinition server-side applies a CustomResourceDefinition and waits until it is served.
func applyDefinition(ctx context.Context, config *rest.Config, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	client, err := coreClient(config, jsonType)
	if err != nil {
		return err
	}
	url := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualclusters.tenantry.io"
	if err := client.Patch(types.ApplyPatchType).AbsPath(url).Param("fieldManager", "bench").Body(text).Do(ctx).Error(); err != nil {
		return err
	}
	return await("VirtualClusters to be served", time.Minute, nil, func() error {
		return client.Get().AbsPath(clustersURL).Do(ctx).Error()
	})
}

func createNamespace(ctx context.Context, config *rest.Config, name string) error {
	client, err := coreClient(config, jsonType)
	if err != nil {
		return err
	}
	body := []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"` + name + `"}}`)
	return client.Post().Resource("namespaces").Body(body).Do(ctx).Error()
}
