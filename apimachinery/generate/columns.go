package main

import (
	"context"
	"reflect"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiservice "k8s.io/kube-aggregator/pkg/registry/apiservice/etcd"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/printers/internalversion"
)

// recorder notes the columns that the stock printers register for a Go type.
type recorder map[reflect.Type][]metav1.TableColumnDefinition

func (r recorder) TableHandler(columns []metav1.TableColumnDefinition, print any) error {
	r[reflect.TypeOf(print).In(0).Elem()] = columns
	return nil
}

// columns lists [group, version, kind, columns] for every kind whose table is not the default one. A column is
// [name, type, format, priority] and, if its description is that of a field, the field.
func (t *types) columns(groups []any) []any {
	registered := recorder{}
	internalversion.AddHandlers(registered)
	table, err := (&apiservice.REST{}).ConvertToTable(context.Background(), &apiregistration.APIServiceList{}, nil)
	check(err)
	registered[reflect.TypeFor[apiregistration.APIService]()] = table.ColumnDefinitions

	out := []any{}
	seen := map[schema.GroupVersionKind]bool{}
	add := func(gvk schema.GroupVersionKind) {
		columns := registered[internalType(gvk)]
		if columns == nil || seen[gvk] {
			return
		}
		seen[gvk] = true
		rows := make([]any, len(columns))
		for i, c := range columns {
			row := []any{c.Name, c.Type, c.Format, c.Priority}
			if field := t.described(gvk.Kind, c.Description); field != "" {
				row = append(row, field)
			}
			rows[i] = row
		}
		out = append(out, []any{gvk.Group, gvk.Version, gvk.Kind, rows})
	}
	for _, group := range groups {
		for _, version := range group.([]any)[1].([]any) {
			gv := schema.GroupVersion{Group: group.([]any)[0].(string), Version: version.([]any)[0].(string)}
			for _, item := range version.([]any)[1].([]any) {
				add(gv.WithKind(item.(map[string]any)["k"].(string)))
			}
		}
	}
	add(schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"})
	return out
}

func internalType(gvk schema.GroupVersionKind) reflect.Type {
	if gvk.Group == apiregistration.GroupName {
		return reflect.TypeFor[apiregistration.APIService]()
	}
	object, err := legacyscheme.Scheme.New(schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind})
	if err != nil {
		return nil
	}
	return reflect.TypeOf(object).Elem()
}

// described finds the field whose documentation a column's description repeats; a field of metadata or of the kind itself
// is preferred.
func (t *types) described(kind, text string) string {
	if text == "" {
		return ""
	}
	found := []string{}
	for of, i := range t.index {
		doc, ok := reflect.Zero(of).Interface().(interface{ SwaggerDoc() map[string]string })
		if !ok {
			continue
		}
		for field, description := range doc.SwaggerDoc() {
			if field != "" && description == text {
				found = append(found, t.structs[i].name+"."+field)
			}
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := rank(found[i], kind), rank(found[j], kind)
		return a < b || a == b && found[i] < found[j]
	})
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

func rank(field, kind string) int {
	switch {
	case strings.Contains(field, ".ObjectMeta."):
		return 0
	case strings.Contains(field, "."+kind):
		return 1
	}
	return 2
}
