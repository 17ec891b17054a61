package main

import (
	"encoding/json"
	"os"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/printers"
	"k8s.io/kubernetes/pkg/printers/internalversion"
)

// rows are test objects and what the stock printers show of them: [group, version, kind, object, cells, conditions].
// They are an empty and a full object of every kind that has columns, and the objects of objects.json, whose times must
// lie in the future so that ages do not depend on the day.
func (t *types) rows(columns []any) []any {
	generator := printers.NewTableGenerator().With(internalversion.AddHandlers)
	out := []any{}
	add := func(gvk schema.GroupVersionKind, versioned runtime.Object) {
		internal, err := legacyscheme.Scheme.ConvertToVersion(versioned, schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal})
		check(err)
		table, err := generator.GenerateTable(internal, printers.GenerateOptions{Wide: true})
		check(err)
		row := table.Rows[0]
		versioned.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		entry := []any{gvk.Group, gvk.Version, gvk.Kind, toJSON(reflect.ValueOf(versioned)), row.Cells}
		if len(row.Conditions) > 0 {
			entry = append(entry, row.Conditions)
		}
		out = append(out, entry)
	}
	for _, item := range columns {
		entry := item.([]any)
		gvk := schema.GroupVersionKind{Group: entry[0].(string), Version: entry[1].(string), Kind: entry[2].(string)}
		if !legacyscheme.Scheme.Recognizes(gvk) {
			continue
		}
		for _, full := range []bool{false, true} {
			object, err := legacyscheme.Scheme.New(gvk)
			check(err)
			if full {
				filler{}.fill(reflect.ValueOf(object).Elem(), "x", 0)
			}
			if secret, ok := object.(*corev1.Secret); ok {
				// Only a request has these.
				secret.StringData = nil
			}
			add(gvk, object)
		}
	}
	data, err := os.ReadFile("objects.json")
	check(err)
	var objects []json.RawMessage
	check(json.Unmarshal(data, &objects))
	for _, data := range objects {
		var meta metav1.TypeMeta
		check(json.Unmarshal(data, &meta))
		gvk := meta.GroupVersionKind()
		object, err := legacyscheme.Scheme.New(gvk)
		check(err)
		check(json.Unmarshal(data, object))
		add(gvk, object)
	}
	return out
}
