package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"nightporter/config"
)

// Joined is the configuration of a host that was invited.
type Joined struct {
	Text string
	Line string // that was written under nodes for this host, and that the other hosts' files should have as well; "" = none was
}

// Join fits the invited configuration to this host: one that stands under nodes already only gets its interface, where that is another one;
// any other is added there.
func Join(text, node string, links []Link) (Joined, error) {
	known, err := config.Parse("the invitation", []byte(text), node, nil)
	if err == nil {
		return withInterface(text, known, links)
	}
	first, names := anyNode(text)
	if first == nil {
		return Joined{}, fmt.Errorf("the configuration in the invitation is not right: %w", err)
	}
	if slices.Contains(names, node) {
		return Joined{}, fmt.Errorf("the configuration in the invitation is not right: %w", err)
	}
	l, found := near(links, netip.Addr{}, addresses(text, names))
	if !found {
		return Joined{}, errors.New("no interface of this host is in a network with the other hosts of the cluster: plug it into their LAN, or add this host under nodes of their configuration by hand, and invite it anew")
	}
	iface := ""
	if l.Name != first.Interface {
		iface = l.Name
	}
	out, line, ok := insert(text, nodeLine(node, l.Addr(), iface))
	if !ok {
		return Joined{}, fmt.Errorf("this host, %q, is not under nodes, which are not written as lines of their own: add it there by hand on the host that invites, and invite it anew", node)
	}
	return Joined{out, line}, nil
}

// withInterface gives the host the interface that has its address, where the file says another one for all.
func withInterface(text string, c *config.Config, links []Link) (Joined, error) {
	l, found := near(links, c.Address, nil)
	if !c.Address.IsValid() || !found || l.Name == c.Interface {
		return Joined{Text: text}, nil // whether that is right is judged by the check of the whole
	}
	line := regexp.MustCompile(`(?m)^( +"?` + regexp.QuoteMeta(c.Node) + `"?: \{)([^}\n]*)\}`)
	at := line.FindStringSubmatchIndex(text)
	if at == nil || strings.Contains(text[at[4]:at[5]], "interface:") {
		return Joined{Text: text}, nil
	}
	end := text[at[0]:at[5]] + ", interface: " + quoted(l.Name) + "}"
	return Joined{text[:at[0]] + end + text[at[1]:], end + "\n"}, nil
}

// anyNode reads the file as the first of its hosts that can.
func anyNode(text string) (*config.Config, []string) {
	for _, m := range regexp.MustCompile(`(?m)^ +"?([a-z0-9-]+)"?:`).FindAllStringSubmatch(text, -1) {
		if c, err := config.Parse("the invitation", []byte(text), m[1], nil); err == nil {
			return c, c.Nodes
		}
	}
	return nil, nil
}

// addresses are those of the file's hosts.
func addresses(text string, names []string) (out []netip.Addr) {
	for _, n := range names {
		if c, err := config.Parse("the invitation", []byte(text), n, nil); err == nil && c.Address.IsValid() {
			out = append(out, c.Address)
		}
	}
	return out
}

// firstLine is the first line of what is below `nodes:`, after blank lines and comments, and before it its indentation.
var firstLine = regexp.MustCompile(`\A(?:[ \t]*(?:#.*)?\r?\n)*( +)[^\s#]`)

// insert puts a line below `nodes:`, as far to the right as those that are there, and gives it as it stands there.
func insert(text, line string) (out, in string, ok bool) {
	at := regexp.MustCompile(`(?m)^nodes:[ \t]*(#.*)?\n`).FindStringIndex(text)
	if at == nil {
		return text, "", false
	}
	in = step + line
	if m := firstLine.FindStringSubmatch(text[at[1]:]); m != nil {
		in = m[1] + line
	}
	return text[:at[1]] + in + text[at[1]:], in, true
}
