package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// vectors are test objects of every kind, an empty and a full one, as Go's own codecs write them:
// [group, version, kind, empty JSON, full JSON, empty protobuf, full protobuf].
func (t *types) vectors() []any {
	out := []any{}
	for i, of := range t.kindTypes {
		empty, full := reflect.New(of), reflect.New(of)
		filler{}.fill(full.Elem(), "x", 0)
		kind := t.kinds[i]
		out = append(out, []any{kind[0], kind[1], kind[2], toJSON(empty), toJSON(full), toProtobuf(empty), toProtobuf(full)})
	}
	return out
}

func toJSON(v reflect.Value) json.RawMessage {
	data, err := json.Marshal(v.Interface())
	check(err)
	return data
}

func toProtobuf(v reflect.Value) any {
	message, ok := v.Interface().(protoMessage)
	if !ok {
		return nil
	}
	data, err := message.Marshal()
	check(err)
	return data
}

// future is 2100-01-01: ages that printers count from it are invalid whenever the generator runs.
const future = 4102444800

// filler gives every field a value that tells it from its neighbours.
type filler struct{}

func (f filler) fill(v reflect.Value, name string, depth int) {
	switch value := v.Addr().Interface().(type) {
	case *resource.Quantity:
		*value = resource.MustParse("1536Mi")
		return
	case *intstr.IntOrString:
		*value = intstr.FromString(name)
		if len(name)%2 == 0 {
			*value = intstr.FromInt32(int32(len(name)))
		}
		return
	case *metav1.Time:
		*value = metav1.NewTime(time.Unix(future+int64(len(name)), 0).UTC())
		return
	case *metav1.MicroTime:
		*value = metav1.NewMicroTime(time.Unix(future+int64(len(name)), 123456000).UTC())
		return
	case *metav1.Duration:
		value.Duration = 90 * time.Second
		return
	case *metav1.FieldsV1:
		value.SetRawBytes([]byte(`{"f:` + name + `":{}}`))
		return
	case *runtime.RawExtension:
		value.Raw = []byte(`{"` + name + `":[1]}`)
		return
	case *apiextensionsv1.JSON:
		value.Raw = []byte(`{"` + name + `":[null]}`)
		return
	case *apiextensionsv1.JSONSchemaPropsOrBool:
		value.Allows = true
		if depth < 6 {
			value.Schema = &apiextensionsv1.JSONSchemaProps{Title: name}
		}
		return
	case *apiextensionsv1.JSONSchemaPropsOrArray:
		value.JSONSchemas = []apiextensionsv1.JSONSchemaProps{{Title: name}}
		return
	case *apiextensionsv1.JSONSchemaPropsOrStringArray:
		value.Property = []string{name}
		return
	case *metav1.TypeMeta:
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(-int64(len(name)))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(len(name)))
	case reflect.Float64:
		v.SetFloat(float64(len(name)) + 0.5)
	case reflect.Pointer:
		if f.recursive(v.Type().Elem(), depth) {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), name, depth+1)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(name))
			return
		}
		if f.recursive(v.Type().Elem(), depth) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0), name, depth+1)
		f.fill(v.Index(1), name+"2", depth+1)
	case reflect.Map:
		if f.recursive(v.Type().Elem(), depth) {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range []string{name + "/k1", name + "/k2"} {
			value := reflect.New(v.Type().Elem()).Elem()
			f.fill(value, key, depth+1)
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if field.IsExported() && !strings.HasPrefix(field.Tag.Get("json"), "-") {
				f.fill(v.Field(i), strings.Split(field.Tag.Get("json"), ",")[0], depth+1)
			}
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(name))
	default:
		panic(fmt.Sprintf("cannot fill %s", v.Type()))
	}
}

// recursive tells that a type may hold itself; it is filled twice at most.
func (filler) recursive(of reflect.Type, depth int) bool {
	return of == reflect.TypeFor[apiextensionsv1.JSONSchemaProps]() && depth > 8
}
