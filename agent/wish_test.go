package agent

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// TestEveryPartOfAWishCounts: whatever is changed in one, down to the parts of its service, makes it another one. A part that is added
// and forgotten in same would never reach its tenant.
func TestEveryPartOfAWishCounts(t *testing.T) {
	var w wish
	fill(reflect.ValueOf(&w).Elem(), 1)
	if !w.same(w) {
		t.Fatal("a wish differs from itself")
	}
	changed := 0
	eachPart(reflect.ValueOf(&w).Elem(), "wish", func(name string, v reflect.Value) {
		var other wish
		fill(reflect.ValueOf(&other).Elem(), 1)
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		fill(v, 2)
		if w.same(other) || other.same(w) {
			t.Errorf("%s does not count", name)
		}
		v.Set(old)
		changed++
	})
	if changed < 30 || !w.same(w) {
		t.Errorf("%d parts were changed", changed)
	}
}

// eachPart visits what a wish is made of: numbers, words, whole lists and times.
func eachPart(v reflect.Value, name string, visit func(string, reflect.Value)) {
	if v.Kind() == reflect.Struct && v.CanSet() && v.NumField() > 0 && v.Type().Field(0).IsExported() {
		for i := range v.NumField() {
			eachPart(v.Field(i), name+"."+v.Type().Field(i).Name, visit)
		}
		return
	}
	visit(name, v)
}

// fill sets a value, and all in it, to something that depends on n.
func fill(v reflect.Value, n int64) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(n == 1)
	case reflect.String:
		v.SetString(string(rune('a' + n)))
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(n)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n))
	case reflect.Slice:
		one := reflect.MakeSlice(v.Type(), 1, 1)
		fill(one.Index(0), n)
		v.Set(one)
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(time.Unix(n, 0).UTC()))
			return
		case reflect.TypeFor[netip.Addr]():
			v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})))
			return
		}
		if v.Type() == reflect.TypeFor[netip.Prefix]() {
			v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 32)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}
