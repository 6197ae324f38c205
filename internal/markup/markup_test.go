package markup

import (
	"testing"
	"time"
)

func TestFill(t *testing.T) {
	for _, tt := range []struct {
		format string
		values []any
		want   Text
	}{
		{"<td>%v", []any{"<b>&\"'"}, "<td>&lt;b&gt;&amp;&#34;&#39;"},
		{"<td>%v", []any{Text("<b>")}, "<td><b>"},
		{`<i x="%v">%v</i>`, []any{`"onload="x`, 7}, `<i x="&#34;onload=&#34;x">7</i>`},
		{"%v", []any{1500 * time.Millisecond}, "1.5s"},
		{"100%% %v", []any{"{name}"}, "100% {name}"},
	} {
		if got := Fill(tt.format, tt.values...); got != tt.want {
			t.Errorf("%v, want %v", got, tt.want)
		}
	}
}

func TestPage(t *testing.T) {
	got := Page("p { a: b }<h1>{title}</h1>{rows}{title}", map[string]Text{
		"title": Fill("%v", "{rows}<"), "rows": Each([]string{"a", "<"}, func(s string) Text { return Fill("<td>%v", s) }),
	})
	if want := "p { a: b }<h1>{rows}&lt;</h1><td>a<td>&lt;{rows}&lt;"; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
