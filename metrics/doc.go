// Package metrics writes numbers in the text format of Prometheus (version 0.0.4, which OpenMetrics scrapers take as well). A scrape gathers
// all values anew, so an agent that nobody looks at spends nothing on them but the memory of its counters. It is written here because the
// client library brings its own registry, a protocol buffer runtime and reflection, 2.9 MB of program on every host, for a format of three kinds of lines.
//
// https://prometheus.io/docs/instrumenting/exposition_formats/
package metrics

// ContentType is what an answer with Write's text is called.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"
