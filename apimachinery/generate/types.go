package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A type in the table is a letter for a scalar, the index of a struct, or a list whose first item says what it is.
type anyType = any

// special types have a JSON form that reflection does not show.
var special = map[string]string{
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                                         "Q",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":                                       "IS",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                                             "T",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                                        "MT",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":                                         "D",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                                         "F",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                                          "R",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON":                         "A",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool":        "OB",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray":       "OA",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "OS",
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// protoMessage is what a named slice has when protobuf wraps it in a message of its own.
type protoMessage interface{ Marshal() ([]byte, error) }

type structDef struct {
	name   string
	fields []any
	atomic bool
}

type types struct {
	docs    openapi
	structs []*structDef
	index   map[reflect.Type]int
	kinds   [][4]any
	// kindTypes are the Go types of kinds.
	kindTypes []reflect.Type
}

func newTypes(docs openapi) *types {
	return &types{docs: docs, index: map[reflect.Type]int{}}
}

// addScheme adds every kind of these group versions, in the order of their names.
func (t *types) addScheme(scheme *runtime.Scheme, versions []schema.GroupVersion) {
	for _, gv := range versions {
		known := scheme.KnownTypes(gv)
		names := make([]string, 0, len(known))
		for name := range known {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if name == "WatchEvent" && known[name].PkgPath() != "k8s.io/apimachinery/pkg/apis/meta/v1" || strings.HasPrefix(known[name].Name(), "Internal") {
				continue
			}
			t.addKind(gv, name, known[name])
		}
	}
}

func (t *types) addKind(gv schema.GroupVersion, kind string, of reflect.Type) {
	t.kinds = append(t.kinds, [4]any{gv.Group, gv.Version, kind, t.structOf(of)})
	t.kindTypes = append(t.kindTypes, of)
}

func openapiName(of reflect.Type) string {
	if named, ok := reflect.Zero(of).Interface().(interface{ OpenAPIModelName() string }); ok {
		return named.OpenAPIModelName()
	}
	path := strings.Split(of.PkgPath(), "/")
	host := strings.Split(path[0], ".")
	for i, j := 0, len(host)-1; i < j; i, j = i+1, j-1 {
		host[i], host[j] = host[j], host[i]
	}
	return strings.Join(append(host, path[1:]...), ".") + "." + of.Name()
}

func (t *types) structOf(of reflect.Type) int {
	if i, ok := t.index[of]; ok {
		return i
	}
	i := len(t.structs)
	def := &structDef{name: openapiName(of)}
	t.index[of] = i
	t.structs = append(t.structs, def)
	doc := t.docs.schema(def.name)
	def.atomic = doc.str("x-kubernetes-map-type") == "atomic"
	t.addFields(def, doc, of, nil, true, "")
	return i
}

// addFields adds the fields of a Go struct and of those embedded in it; embedded names the latter, ending in a dot.
func (t *types) addFields(def *structDef, doc object, of reflect.Type, prefix []int, proto bool, embedded string) {
	for i := range of.NumField() {
		f := of.Field(i)
		tag := strings.Split(f.Tag.Get("json"), ",")
		if tag[0] == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		number, hasNumber := protoNumber(f)
		if tag[0] == "" && f.Anonymous {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if hasNumber {
				t.addFields(def, doc, inner, append(append([]int{}, prefix...), number), proto, embedded+f.Name+".")
			} else {
				// Without a number of its own protobuf leaves the embedded struct out (TypeMeta).
				t.addFields(def, doc, inner, prefix, false, embedded+f.Name+".")
			}
			continue
		}
		if tag[0] == "" {
			panic(fmt.Sprintf("%s.%s has no JSON name", of, f.Name))
		}
		var path []int
		if hasNumber && proto {
			path = append(append([]int{}, prefix...), number)
		}
		def.fields = append(def.fields, t.field(def, doc.sub("properties").sub(tag[0]), f, tag, path, embedded))
	}
}

func protoNumber(f reflect.StructField) (int, bool) {
	tag, ok := f.Tag.Lookup("protobuf")
	if !ok || tag == "-" {
		return 0, false
	}
	n, err := strconv.Atoi(strings.Split(tag, ",")[1])
	if err != nil {
		panic(err)
	}
	return n, true
}

// field is [name, numbers, type, flags, extras]: flags are "n" nullable, "e" omitempty, "z" omitzero, "m" merge,
// "k" retainKeys, "r" replace; extras are the default, the merge key, the name of the Go type and those of embedded Go structs on the way, where
// there are any.
func (t *types) field(def *structDef, doc object, f reflect.StructField, tag []string, path []int, embedded string) any {
	of, flags := f.Type, ""
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
		flags = "n"
	} else if k := of.Kind(); k == reflect.Slice || k == reflect.Map || k == reflect.Interface {
		flags = "n"
	}
	for _, option := range tag[1:] {
		switch option {
		case "omitempty":
			flags += "e"
		case "omitzero":
			flags += "z"
		default:
			panic(fmt.Sprintf("%s.%s: json option %q", def.name, f.Name, option))
		}
	}
	if s := f.Tag.Get("patchStrategy"); s != "" {
		for _, strategy := range strings.Split(s, ",") {
			flags += map[string]string{"merge": "m", "retainKeys": "k", "replace": "r"}[strategy]
		}
	}
	ty, message := t.typeOf(of, doc)
	if message && len(path) > 0 {
		path = append(append([]int{}, path...), 1)
	}
	extras := map[string]any{}
	// An empty object as a default says no more than the type.
	if value, ok := doc["default"]; ok && !reflect.DeepEqual(value, map[string]any{}) {
		extras["d"] = value
	}
	if key := f.Tag.Get("patchMergeKey"); key != "" {
		extras["k"] = key
	}
	if embedded != "" && embedded != "TypeMeta." {
		extras["e"] = embedded
	}
	if name := of.String(); name != t.goName(ty) {
		extras["g"] = name
	}
	field := []any{tag[0], path, ty, flags}
	if path == nil {
		field[1] = []int{}
	}
	if len(extras) > 0 {
		field = append(field, extras)
	}
	return field
}

// typeOf also tells whether protobuf wraps the type, a named slice, in a message.
func (t *types) typeOf(of reflect.Type, doc object) (ty anyType, message bool) {
	if of.Kind() == reflect.Pointer {
		return t.typeOf(of.Elem(), doc)
	}
	if code, ok := special[of.PkgPath()+"."+of.Name()]; ok {
		if code[0] == 'O' {
			field, _ := of.FieldByName("Schema")
			return []any{code, t.structOf(field.Type.Elem())}, false
		}
		return code, false
	}
	if of.Implements(jsonMarshaler) || of.Implements(textMarshaler) || reflect.PointerTo(of).Implements(jsonMarshaler) {
		panic(fmt.Sprintf("%s writes its own JSON", of))
	}
	switch of.Kind() {
	case reflect.String:
		return "s", false
	case reflect.Bool:
		return "b", false
	case reflect.Int32:
		return "i", false
	case reflect.Int64, reflect.Int:
		return "l", false
	case reflect.Uint8:
		return "u8", false
	case reflect.Uint32:
		return "u32", false
	case reflect.Uint64:
		return "u64", false
	case reflect.Float64:
		return "d", false
	case reflect.Interface:
		return "A", false
	case reflect.Struct:
		return t.structOf(of), false
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Uint8 {
			return "y", false
		}
		item, _ := t.typeOf(of.Elem(), doc.sub("items"))
		_, message := reflect.New(of).Interface().(protoMessage)
		list := []any{"L", item}
		switch kind := doc.str("x-kubernetes-list-type"); kind {
		case "map":
			list = append(list, doc["x-kubernetes-list-map-keys"])
		case "set":
			list = append(list, "set")
		case "", "atomic":
		default:
			panic("x-kubernetes-list-type " + kind)
		}
		return list, message
	case reflect.Map:
		if of.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("%s has no text keys", of))
		}
		value, _ := t.typeOf(of.Elem(), doc.sub("additionalProperties"))
		if doc.str("x-kubernetes-map-type") == "atomic" {
			return []any{"M", value, 1}, false
		}
		return []any{"M", value}, false
	}
	panic(fmt.Sprintf("%s is of a kind that no API type has", of))
}

// goName is the name that the reader of the table works out for a type by itself.
func (t *types) goName(ty anyType) string {
	switch ty := ty.(type) {
	case int:
		parts := strings.Split(t.structs[ty].name, ".")
		return strings.Join(parts[len(parts)-2:], ".")
	case string:
		return map[string]string{"s": "string", "b": "bool", "i": "int32", "l": "int64", "u8": "uint8", "u32": "uint32",
			"u64": "uint64", "d": "float64", "A": "interface {}", "y": "[]uint8", "Q": "resource.Quantity",
			"IS": "intstr.IntOrString", "T": "v1.Time", "MT": "v1.MicroTime", "D": "v1.Duration", "F": "v1.FieldsV1",
			"R": "runtime.RawExtension"}[ty]
	case []any:
		switch ty[0] {
		case "L":
			return "[]" + t.goName(ty[1])
		case "M":
			return "map[string]" + t.goName(ty[1])
		case "OB":
			return "v1.JSONSchemaPropsOrBool"
		case "OA":
			return "v1.JSONSchemaPropsOrArray"
		case "OS":
			return "v1.JSONSchemaPropsOrStringArray"
		}
	}
	panic("unknown type code")
}

func (t *types) table() any {
	structs := make([]any, len(t.structs))
	for i, def := range t.structs {
		entry := []any{def.name, def.fields}
		if def.fields == nil {
			entry[1] = []any{}
		}
		if def.atomic {
			entry = append(entry, 1)
		}
		structs[i] = entry
	}
	return map[string]any{"structs": structs, "kinds": t.kinds}
}
