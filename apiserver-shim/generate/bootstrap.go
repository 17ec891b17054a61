// Command bootstrap asks a new, stock Kubernetes cluster for the objects that its API server makes by itself and writes
// them, without what differs from cluster to cluster, to ../src/tenants/bootstrap.json.gz.
//
// Usage: KUBECONFIG=... go run bootstrap.go   (kubectl must be in PATH; the controller manager must be running, so that
// aggregated cluster roles are filled in)
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

type object = map[string]any

type source struct {
	group, version, resource string
	keep                     func(meta object) bool
}

func has(meta object, field, key string) bool {
	m, _ := meta[field].(object)
	_, ok := m[key]
	return ok
}

func rbacDefault(meta object) bool {
	labels, _ := meta["labels"].(object)
	return labels["kubernetes.io/bootstrapping"] == "rbac-defaults" ||
		meta["name"] == "extension-apiserver-authentication-reader"
}

func flowDefault(meta object) bool { return has(meta, "annotations", "apf.kubernetes.io/autoupdate-spec") }

func systemClass(meta object) bool { return strings.HasPrefix(meta["name"].(string), "system-") }

var sources = []source{
	{"rbac.authorization.k8s.io", "v1", "clusterroles", rbacDefault},
	{"rbac.authorization.k8s.io", "v1", "clusterrolebindings", rbacDefault},
	{"rbac.authorization.k8s.io", "v1", "roles", rbacDefault},
	{"rbac.authorization.k8s.io", "v1", "rolebindings", rbacDefault},
	{"flowcontrol.apiserver.k8s.io", "v1", "flowschemas", flowDefault},
	{"flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", flowDefault},
	{"scheduling.k8s.io", "v1", "priorityclasses", systemClass},
}

func main() {
	var out []object
	for _, s := range sources {
		raw, err := exec.Command("kubectl", "get", "--raw", "/apis/"+s.group+"/"+s.version+"/"+s.resource).Output()
		check(err)
		var list struct{ Items []object }
		check(json.Unmarshal(raw, &list))
		var items []object
		for _, item := range list.Items {
			meta := item["metadata"].(object)
			if !s.keep(meta) {
				continue
			}
			for _, own := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
				delete(meta, own)
			}
			items = append(items, item)
		}
		if len(items) == 0 {
			check(fmt.Errorf("no %s found", s.resource))
		}
		out = append(out, object{"group": s.group, "version": s.version, "resource": s.resource, "items": items})
	}
	data, err := json.Marshal(out)
	check(err)
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	check(err)
	_, err = w.Write(data)
	check(err)
	check(w.Close())
	check(os.WriteFile("../src/tenants/bootstrap.json.gz", packed.Bytes(), 0o644))
	fmt.Printf("%d bytes, %d packed\n", len(data), packed.Len())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bootstrap:", err)
		os.Exit(1)
	}
}
