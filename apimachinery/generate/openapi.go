package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
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

func readOpenAPI(dir string) openapi {
	files, err := filepath.Glob(filepath.Join(dir, "*_openapi.json"))
	check(err)
	sort.Strings(files)
	o := openapi{docs: map[string]object{}, schemas: map[string]object{}}
	for _, file := range files {
		doc := readJSON(file)
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

// stripped is a document without its prose and without kinds of versions that are not served.
func stripped(value any, served map[schema.GroupVersion]bool) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, inner := range value {
			if _, text := inner.(string); text && key == "description" {
				continue
			}
			if key == "x-kubernetes-group-version-kind" {
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
		out := make([]any, len(value))
		for i, inner := range value {
			out[i] = stripped(inner, served)
		}
		return out
	}
	return value
}
