// Package markup writes small HTML pages without a template engine: html/template calls methods by names that are known at run time only,
// for which the linker has to keep every exported method of the whole program, three megabytes in the memory of each host.
package markup

import (
	"fmt"
	"html"
	"strings"
)

// Text is HTML that is written as it is.
type Text string

// Fill is fmt.Sprintf for HTML: each value but a Text is escaped, in text and in quoted attributes alike. Each verb is %v.
func Fill(format string, values ...any) Text {
	for i, v := range values {
		if _, done := v.(Text); !done {
			values[i] = html.EscapeString(fmt.Sprint(v))
		}
	}
	return Text(fmt.Sprintf(format, values...))
}

// Each fills one text after the other.
func Each[T any](list []T, fill func(T) Text) Text {
	var b strings.Builder
	for _, one := range list {
		b.WriteString(string(fill(one)))
	}
	return Text(b.String())
}

// Page puts parts into the places of a page that are named {so}. What stands in a part is not looked at again.
func Page(page string, parts map[string]Text) string {
	var pairs []string
	for name, part := range parts {
		pairs = append(pairs, "{"+name+"}", string(part))
	}
	return strings.NewReplacer(pairs...).Replace(page)
}
