package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
)

// object is a JSON object of an OpenAPI document.
type object map[string]any

func (o object) sub(key string) object {
	value, _ := o[key].(map[string]any)
	return value
}

func (o object) str(key string) string {
	value, _ := o[key].(string)
	return value
}

// openapi holds the OpenAPI v3 documents by their path (`apis/apps/v1`).
type openapi struct {
	paths   []string
	docs    map[string]object
	schemas map[string]object
}

func readOpenAPI(dir, version string) openapi {
	files, err := filepath.Glob(filepath.Join(dir, "*_openapi.json"))
	check(err)
	sort.Strings(files)
	o := openapi{docs: map[string]object{}, schemas: map[string]object{}}
	for _, file := range files {
		doc := named(readJSON(file), version)
		withEnums(doc.sub("components").sub("schemas"))
		path := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), "_openapi.json"), "__", "/")
		if strings.HasPrefix(path, ".well-known") {
			path = ".well-known/openid-configuration"
		}
		o.paths = append(o.paths, path)
		o.docs[path] = doc
		for name, def := range doc.sub("components").sub("schemas") {
			if _, ok := o.schemas[name]; !ok {
				o.schemas[name] = def.(map[string]any)
			}
		}
	}
	return o
}

// named sets the version in a document's head: major and minor, as a server shows it.
func named(doc object, version string) object {
	if info := doc.sub("info"); info != nil {
		info["version"] = strings.Join(strings.Split(strings.TrimPrefix(version, "v"), ".")[:2], ".")
	}
	return doc
}

func readJSON(file string) object {
	data, err := os.ReadFile(file)
	check(err)
	var doc object
	if err := json.Unmarshal(data, &doc); err != nil {
		panic(fmt.Sprintf("%s: %v", file, err))
	}
	return doc
}

func (o openapi) schema(name string) object { return o.schemas[name] }

// published are the v3 documents that a server with these group versions has, stripped: [path, document], sorted.
func (o openapi) published(served map[schema.GroupVersion]bool) [][2]any {
	groups := map[string]bool{}
	for gv := range served {
		groups[gv.Group] = true
	}
	out := [][2]any{}
	for _, path := range o.paths {
		parts := strings.Split(path, "/")
		keep := true
		if parts[0] == "apis" && len(parts) == 2 {
			keep = groups[parts[1]]
		} else if parts[0] == "apis" && len(parts) == 3 {
			keep = served[schema.GroupVersion{Group: parts[1], Version: parts[2]}]
		}
		// A server has no logs unless it is told to.
		if keep && path != "logs" {
			out = append(out, [2]any{path, stripped(map[string]any(o.docs[path]), served)})
		}
	}
	return out
}

// publishedV2 is the v2 document of such a server, stripped, with the definitions that its paths need.
func publishedV2(doc object, served map[schema.GroupVersion]bool) any {
	paths := map[string]any{}
	for path, item := range doc.sub("paths") {
		parts := strings.Split(strings.Trim(path, "/"), "/")
		// A server has no logs unless it is told to.
		keep := parts[0] != "logs"
		if parts[0] == "apis" && len(parts) == 2 {
			keep = false
			for gv := range served {
				keep = keep || gv.Group == parts[1]
			}
		} else if parts[0] == "apis" && len(parts) > 2 {
			keep = served[schema.GroupVersion{Group: parts[1], Version: parts[2]}]
		}
		if keep {
			paths[path] = stripped(item, nil)
		}
	}
	definitions := map[string]any{}
	var need func(value any)
	need = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			if ref, ok := value["$ref"].(string); ok {
				name := strings.TrimPrefix(ref, "#/definitions/")
				if _, done := definitions[name]; !done && name != ref {
					def := stripped(doc.sub("definitions")[name], nil)
					definitions[name] = def
					need(def)
				}
			}
			for _, inner := range value {
				need(inner)
			}
		case []any:
			for _, inner := range value {
				need(inner)
			}
		}
	}
	need(paths)
	need(doc["parameters"])
	out := map[string]any{}
	for key, value := range doc {
		out[key] = stripped(value, nil)
	}
	out["paths"], out["definitions"] = paths, definitions
	delete(out["parameters"].(map[string]any), "logpath-Noq7euwC")
	return out
}

// withEnums adds the enums that a server shows and the recorded documents lack.
func withEnums(schemas object) {
	for name, def := range generatedopenapi.GetOpenAPIDefinitions(func(name string) spec.Ref { return spec.MustCreateRef(name) }) {
		properties := schemas.sub(name).sub("properties")
		for field, schema := range def.Schema.Properties {
			addEnum(properties.sub(field), &schema)
		}
	}
}

func addEnum(target object, schema *spec.Schema) {
	if target == nil {
		return
	}
	if len(schema.Enum) > 0 {
		target["enum"] = schema.Enum
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		addEnum(target.sub("items"), schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		addEnum(target.sub("additionalProperties"), schema.AdditionalProperties.Schema)
	}
}

func isCBOR(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/cbor") || mediaType == "application/apply-patch+cbor"
}

// stripped is a document without its prose and without what is not served: CBOR and, where served is given, kinds of
// other versions.
func stripped(value any, served map[schema.GroupVersion]bool) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, inner := range value {
			if _, text := inner.(string); text && key == "description" || isCBOR(key) {
				continue
			}
			if key == "x-kubernetes-group-version-kind" && served != nil {
				if list, ok := inner.([]any); ok {
					kept := []any{}
					for _, item := range list {
						gvk := object(item.(map[string]any))
						if served[schema.GroupVersion{Group: gvk.str("group"), Version: gvk.str("version")}] {
							kept = append(kept, item)
						}
					}
					inner = kept
				}
			}
			out[key] = stripped(inner, served)
		}
		return out
	case []any:
		out := make([]any, 0, len(value))
		for _, inner := range value {
			if text, ok := inner.(string); !ok || !isCBOR(text) {
				out = append(out, stripped(inner, served))
			}
		}
		return out
	}
	return value
}
