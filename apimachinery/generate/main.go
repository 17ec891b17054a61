// Command generate writes apimachinery/data: what the stock Kubernetes API looks like, as data.
//
// Everything is read from the Kubernetes modules that go.mod pins: the Go types by reflection, discovery and OpenAPI from
// the documents beside them. The output holds facts alone (names, numbers, types), no prose, and is the same byte for
// byte on every run.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/klauspost/compress/zstd"
	admissionv1 "k8s.io/api/admission/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kubernetes/pkg/controlplane"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate OUTPUT-DIRECTORY")
		os.Exit(2)
	}
	out := os.Args[1]
	kubernetes := moduleDir("k8s.io/kubernetes")

	utilruntime.Must(apiextensionsv1.AddToScheme(scheme.Scheme))
	utilruntime.Must(apiregistrationv1.AddToScheme(scheme.Scheme))
	utilruntime.Must(admissionv1.AddToScheme(scheme.Scheme))

	enabled := controlplane.DefaultAPIResourceConfigSource()
	groups, versions := readGroups(filepath.Join(kubernetes, "api/discovery"), func(gv schema.GroupVersion) bool {
		return gv == apiextensionsv1.SchemeGroupVersion || gv == apiregistrationv1.SchemeGroupVersion ||
			enabled.GroupVersionConfigs[gv]
	})

	docs := readOpenAPI(filepath.Join(kubernetes, "api/openapi-spec/v3"))
	table := newTypes(docs)
	table.addScheme(scheme.Scheme, versions)
	table.addScheme(scheme.Scheme, []schema.GroupVersion{
		{Group: "admission.k8s.io", Version: "v1"},
		{Group: "apidiscovery.k8s.io", Version: "v2"},
	})
	meta := schema.GroupVersion{Group: "meta.k8s.io", Version: "v1"}
	table.addKind(schema.GroupVersion{Group: "autoscaling", Version: "v1"}, "Scale", reflect.TypeFor[autoscalingv1.Scale]())
	for _, of := range []reflect.Type{
		reflect.TypeFor[metav1.APIGroup](), reflect.TypeFor[metav1.APIGroupList](), reflect.TypeFor[metav1.APIResourceList](),
		reflect.TypeFor[metav1.APIVersions](), reflect.TypeFor[metav1.CreateOptions](), reflect.TypeFor[metav1.DeleteOptions](),
		reflect.TypeFor[metav1.GetOptions](), reflect.TypeFor[metav1.ListOptions](), reflect.TypeFor[metav1.PartialObjectMetadata](),
		reflect.TypeFor[metav1.PartialObjectMetadataList](), reflect.TypeFor[metav1.PatchOptions](), reflect.TypeFor[metav1.Status](),
		reflect.TypeFor[metav1.Table](), reflect.TypeFor[metav1.UpdateOptions](), reflect.TypeFor[metav1.WatchEvent](),
	} {
		table.addKind(meta, of.Name(), of)
	}
	write(out, "types.json.zst", table.table())
	write(out, "resources.json.zst", groups)
	write(out, "testvectors.json.zst", table.vectors())
}

func moduleDir(module string) string {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	check(err)
	return strings.TrimSpace(string(dir))
}

func write(dir, name string, value any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(value))
	writer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	check(err)
	check(os.WriteFile(filepath.Join(dir, name), writer.EncodeAll(text.Bytes(), nil), 0o644))
}
