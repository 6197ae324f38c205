package config

import (
	"maps"
	"slices"
	"strings"

	"nightporter/internal/spelling"
)

// keyHint says what to write instead of an unknown key.
func keyHint(key string, known fields) string {
	names := slices.Sorted(maps.Keys(known))
	if other, ok := otherName(key); ok && slices.Contains(names, other) {
		return "did you mean \"" + other + "\"?"
	}
	return hint(key, names, "the keys here are ")
}

// hint suggests the nearest of the known words, or lists them.
func hint(word string, known []string, intro string) string {
	if near, ok := nearest(word, known); ok {
		return "did you mean \"" + near + "\"?"
	}
	return intro + strings.Join(known, ", ")
}

// otherName knows what people call some keys who come from elsewhere.
func otherName(key string) (string, bool) {
	switch strings.ToLower(key) {
	case "ip", "ip0", "addr", "vip", "addresses":
		return "address", true
	case "mac0", "vmac":
		return "mac", true
	case "port":
		return "ports", true
	case "target":
		return "targets", true
	case "iface", "nic", "device", "lan":
		return "interface", true
	case "peers", "seeds":
		return "join", true
	case "hosts":
		return "nodes", true
	case "secret", "key_file":
		return "secret_file", true
	case "sleeps", "policy":
		return "power", true
	case "idle_time", "idle_timeout", "sleep_after":
		return "idle", true
	}
	return "", false
}

// nearest finds the known word that differs from word in at most two letters, or a third of a longer one.
func nearest(word string, known []string) (string, bool) {
	best, distance := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := spelling.Distance(strings.ReplaceAll(strings.ToLower(word), "-", "_"), strings.ReplaceAll(k, "-", "_")); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best, best != ""
}
