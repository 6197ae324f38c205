package api

import (
	"encoding/json"
	"reflect"
)

// Marshal encodes an answer as the daemon does.
func Marshal(v any) ([]byte, error) { return marshal(v) }

// marshal encodes an answer. A list without entries stands as [] and never as null, so that a script can walk it.
func marshal(v any) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	box := reflect.New(reflect.TypeOf(v)).Elem()
	box.Set(reflect.ValueOf(v))
	fillLists(box)
	return json.Marshal(box.Interface())
}

// fillLists gives every nil slice of a value an empty one, at any depth. Slices of bytes are no lists. Only the answer's
// own structs are walked: what the standard library marshals in its own way has no lists.
func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fillLists(f)
			}
		}
	case reflect.Pointer:
		if v.IsNil() || v.Type().Elem().Kind() != reflect.Struct {
			return
		}
		own := reflect.New(v.Type().Elem())
		own.Elem().Set(v.Elem())
		fillLists(own.Elem())
		v.Set(own)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		// A copy: the Backend's own value may be shared with others.
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(own, v)
		for i := range own.Len() {
			fillLists(own.Index(i))
		}
		v.Set(own)
	}
}
