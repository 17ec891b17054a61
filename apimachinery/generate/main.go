// Command generate writes apimachinery/data: what the stock Kubernetes API looks like, as data.
//
// Everything is read from the Kubernetes modules that go.mod pins: the Go types by reflection, discovery and OpenAPI from
// the documents beside them. The output holds facts alone (names, numbers, types), no prose, and is the same byte for
// byte on every run.
package main

import (
	"bytes"
	"encoding/binary"
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
	kubernetes, version := module("k8s.io/kubernetes")

	utilruntime.Must(apiextensionsv1.AddToScheme(scheme.Scheme))
	utilruntime.Must(apiregistrationv1.AddToScheme(scheme.Scheme))
	utilruntime.Must(admissionv1.AddToScheme(scheme.Scheme))

	enabled := controlplane.DefaultAPIResourceConfigSource()
	groups, versions := readGroups(filepath.Join(kubernetes, "api/discovery"), func(gv schema.GroupVersion) bool {
		return gv == apiextensionsv1.SchemeGroupVersion || gv == apiregistrationv1.SchemeGroupVersion ||
			enabled.GroupVersionConfigs[gv]
	})

	docs := readOpenAPI(filepath.Join(kubernetes, "api/openapi-spec/v3"), version)
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
	columns := table.columns(groups)
	write(out, "columns.json.zst", columns)
	write(out, "testrows.json.zst", table.rows(columns))
	write(out, "testvectors.json.zst", table.vectors())

	served := map[schema.GroupVersion]bool{{Group: "autoscaling", Version: "v1"}: true, {Group: "", Version: "v1"}: true}
	for _, gv := range versions {
		served[gv] = true
	}
	v2 := named(readJSON(filepath.Join(kubernetes, "api/openapi-spec/swagger.json")), version)
	withEnums(v2.sub("definitions"))
	writeParts(out, "openapi.zst", append(docs.published(served), [2]any{"v2", publishedV2(v2, served)}))
}

// module finds where a module lies and its version.
func module(path string) (dir, version string) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", path).Output()
	check(err)
	dir, version, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return dir, version
}

func write(dir, name string, value any) {
	check(os.WriteFile(filepath.Join(dir, name), pack(value), 0o644))
}

// writeParts writes parts that are unpacked one by one: four bytes with the length of a packed index of [name, length of
// the packed part], the index, the parts.
func writeParts(dir, name string, parts [][2]any) {
	index := [][2]any{}
	var body bytes.Buffer
	for _, part := range parts {
		packed := pack(part[1])
		index = append(index, [2]any{part[0], len(packed)})
		body.Write(packed)
	}
	head := pack(index)
	data := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	data = append(append(data, head...), body.Bytes()...)
	check(os.WriteFile(filepath.Join(dir, name), data, 0o644))
}

func pack(value any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(value))
	writer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	check(err)
	return writer.EncodeAll(text.Bytes(), nil)
}
