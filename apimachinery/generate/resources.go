package main

import (
	"crypto/sha256"
	"encoding/base64"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// readGroups reads the recorded discovery of a stock server that serves everything, and keeps what it serves by default.
// A group is [name, versions], a version [version, resources].
func readGroups(dir string, served func(schema.GroupVersion) bool) (groups []any, versions []schema.GroupVersion) {
	all := []any{map[string]any{"name": "", "versions": []any{map[string]any{"version": "v1"}}}}
	list, _ := readJSON(filepath.Join(dir, "apis.json"))["groups"].([]any)
	for _, group := range append(all, list...) {
		name := object(group.(map[string]any)).str("name")
		kept := []any{}
		for _, item := range group.(map[string]any)["versions"].([]any) {
			gv := schema.GroupVersion{Group: name, Version: object(item.(map[string]any)).str("version")}
			if served(gv) {
				versions = append(versions, gv)
			}
		}
		for _, gv := range versions {
			if gv.Group == name {
				kept = append(kept, []any{gv.Version, nil})
			}
		}
		if len(kept) > 0 {
			groups = append(groups, []any{name, kept})
		}
	}
	for _, group := range groups {
		entry := group.([]any)
		for _, version := range entry[1].([]any) {
			gv := schema.GroupVersion{Group: entry[0].(string), Version: version.([]any)[0].(string)}
			version.([]any)[1] = resources(dir, gv, versions)
		}
	}
	return groups, versions
}

func resources(dir string, gv schema.GroupVersion, versions []schema.GroupVersion) []any {
	file := "apis__" + gv.Group + "__" + gv.Version + ".json"
	if gv.Group == "" {
		file = "api__v1.json"
	}
	list, _ := readJSON(filepath.Join(dir, file))["resources"].([]any)
	out := []any{}
	byName := map[string]map[string]any{}
	for _, item := range list {
		r := object(item.(map[string]any))
		name, sub, isSub := strings.Cut(r.str("name"), "/")
		if isSub {
			entry := map[string]any{"n": sub, "k": r.str("kind"), "v": r["verbs"]}
			if r.str("version") != "" {
				entry["g"] = []string{r.str("group"), r.str("version")}
			}
			if byName[name] == nil {
				// serviceaccounts/token and the like always follow their resource.
				panic("subresource without a resource: " + r.str("name"))
			}
			subs, _ := byName[name]["u"].([]any)
			byName[name]["u"] = append(subs, entry)
			continue
		}
		entry := map[string]any{"n": name, "k": r.str("kind"), "i": r.str("singularName"), "v": r["verbs"]}
		if namespaced, _ := r["namespaced"].(bool); namespaced {
			entry["ns"] = 1
		}
		for key, from := range map[string]string{"s": "shortNames", "c": "categories"} {
			if value, ok := r[from]; ok {
				entry[key] = value
			}
		}
		if hash := r.str("storageVersionHash"); hash != "" {
			entry["h"] = hash
			entry["sv"] = storageVersion(hash, r.str("kind"), gv, versions)
		}
		byName[name] = entry
		out = append(out, entry)
	}
	return out
}

// storageVersion finds the group version whose hash discovery shows (k8s.io/apiserver/pkg/endpoints/discovery).
func storageVersion(hash, kind string, own schema.GroupVersion, versions []schema.GroupVersion) []string {
	for _, gv := range versions {
		sum := sha256.Sum256([]byte(gv.Group + "/" + gv.Version + "/" + kind))
		if base64.StdEncoding.EncodeToString(sum[:8]) == hash {
			return []string{gv.Group, gv.Version}
		}
	}
	// The stock server may store a kind in a version that it does not serve; then the kind's own version has to do.
	return []string{own.Group, own.Version}
}
