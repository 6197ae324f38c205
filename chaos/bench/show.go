package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Show prints the report as text.
func (r Report) Show(w io.Writer) error {
	var b strings.Builder
	version := r.Version
	if r.Commit != "" {
		version += " (commit " + r.Commit + ")"
	}
	fmt.Fprintf(&b, "nightporter %s, Linux %s, %d processors\n%s to %s, load %s before and %s after; nothing is drawn at random, so there is no seed\n",
		version, r.Kernel, r.CPUs, r.Began.Format("2006-01-02 15:04"), r.Ended.Format("15:04 MST"), r.LoadBefore, r.LoadAfter)
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "\n%s: %s\n\n", t.Name, t.Title)
		tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "\tMEDIAN\tP95\tMAX\tUNIT\tRUNS\tGOAL\t")
		for _, row := range t.Rows {
			row.show(tw)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		b.WriteByte('\n')
		for _, n := range t.Notes {
			fmt.Fprintf(&b, "  %s\n", n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Row) show(w io.Writer) {
	if len(r.Samples) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t-\t%s\t0\t\t\n", r.Name, r.Unit)
		return
	}
	var goals []string
	if r.Goal.Median > 0 {
		goals = append(goals, "median "+number(r.Goal.Median))
	}
	if r.Goal.P95 > 0 {
		goals = append(goals, "p95 "+number(r.Goal.P95))
	}
	if r.Goal.Max > 0 {
		goals = append(goals, "max "+number(r.Goal.Max))
	}
	if r.Goal.None {
		goals = append(goals, "none")
	}
	goal := strings.Join(goals, ", ")
	if v := r.verdict(); v != "" {
		goal += ": " + v
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", r.Name, number(r.Median()), number(quantile(r.Samples, 0.95)), number(r.Max()), r.Unit, len(r.Samples), goal)
}

// number prints three digits that mean something.
func number(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// short is a time as a person wants it in a line that goes by.
func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
