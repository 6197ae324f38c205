// Package setup makes the first configuration of a host out of a few answers, or takes over that of another host by an invitation. It decides
// and writes files; who asks is the command. Whether what comes out makes sense is for package config to say, as of any other file.
package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nightporter/config"
)

// Host is another host of the cluster.
type Host struct {
	Name string
	Addr netip.Addr
}

// Service is the first service of a new cluster.
type Service struct {
	Name   string
	Addr   netip.Addr
	Ports  []string
	Target string // the host that it runs on
}

// Answers are all that a configuration needs.
type Answers struct {
	Cluster    string
	SecretFile string
	Node       string
	Interface  string
	Addr       netip.Addr // of this host
	Others     []Host
	Services   []Service
	Sleep      Sleep
}

// Sleep says whether a host may sleep, and after how much idleness it does so by itself; "" = only when it is told to.
type Sleep struct {
	May  bool
	Idle string
}

// Text is the configuration file.
func (a Answers) Text() string {
	var b strings.Builder
	b.WriteString("# nightporter: one file, the same on every host. What other keys there are: man nightporter.yaml, or nightporter config example.\n\n")
	fmt.Fprintf(&b, "cluster: %s\nsecret_file: %s\ninterface: %s\n\nnodes:\n", quoted(a.Cluster), strconv.Quote(a.SecretFile), quoted(a.Interface))
	own := fmt.Sprintf("%s%s: {address: %q", step, quoted(a.Node), a.Addr)
	if a.Sleep.May {
		own += ", power: sleeps"
	}
	if a.Sleep.Idle != "" {
		own += ", idle: " + quoted(a.Sleep.Idle)
	}
	b.WriteString(own + "}\n")
	for _, h := range a.Others {
		b.WriteString(step + nodeLine(h.Name, h.Addr, ""))
	}
	if len(a.Services) > 0 {
		b.WriteString("\nservices:\n")
	}
	for _, s := range a.Services {
		fmt.Fprintf(&b, "  - name: %s\n    address: %q\n    ports: [%s]\n    targets: [%s]\n", quoted(s.Name), s.Addr, strings.Join(mapped(s.Ports, quoted), ", "), quoted(s.Target))
	}
	return b.String()
}

// step is the indentation of a new file.
const step = "  "

// nodeLine is a host's line under nodes, without its indentation.
func nodeLine(name string, addr netip.Addr, iface string) string {
	if iface != "" {
		iface = ", interface: " + quoted(iface)
	}
	return fmt.Sprintf("%s: {address: %q%s}\n", quoted(name), addr, iface)
}

// quoted protects a word that YAML could read as something else; a JSON string is one of YAML.
func quoted(s string) string {
	plain := s != "" && s[0] >= 'a' && s[0] <= 'z' && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	})
	if !plain || slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, s) {
		return strconv.Quote(s)
	}
	return s
}

func mapped[T any](list []T, f func(T) string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = f(s)
	}
	return out
}

// ReadHosts reads `bravo=192.0.2.12 charlie=192.0.2.13`, separated by blanks or commas.
func ReadHosts(s string) ([]Host, error) {
	var out []Host
	for _, word := range strings.FieldsFunc(s, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' }) {
		name, text, _ := strings.Cut(word, "=")
		addr, err := netip.ParseAddr(text)
		if err != nil || name == "" {
			return nil, fmt.Errorf("%q is no host; write its name and its address on the LAN, like bravo=192.0.2.12", word)
		}
		out = append(out, Host{strings.ToLower(name), addr})
	}
	return out, nil
}

// ReadService reads `nas 192.0.2.200 445/tcp 22/tcp on bravo`; without a host it runs on the given one. Nothing at all is no service.
func ReadService(s, here string) ([]Service, error) {
	words := strings.FieldsFunc(s, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' })
	if len(words) == 0 {
		return nil, nil
	}
	sv := Service{Name: words[0], Target: here}
	if n := len(words); n > 2 && words[n-2] == "on" {
		sv.Target, words = words[n-1], words[:n-2]
	}
	if len(words) < 3 {
		return nil, fmt.Errorf("%q is no service; write its name, a free address of the LAN and its ports, like nas 192.0.2.200 445/tcp 22/tcp", s)
	}
	addr, err := netip.ParseAddr(words[1])
	if err != nil {
		return nil, fmt.Errorf("%q is no address; write a free one of the LAN, like 192.0.2.200", words[1])
	}
	sv.Addr = addr
	for _, p := range words[2:] {
		if _, err := strconv.Atoi(p); err == nil {
			p += "/tcp"
		}
		sv.Ports = append(sv.Ports, p)
	}
	return []Service{sv}, nil
}

// ReadNode reads the name of a host. What every new machine may be called names none.
func ReadNode(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	switch {
	case s == "localhost":
		return "", errors.New(`"localhost" is what any host may be called, and two hosts of a name are one to nightporter; write a name of its own`)
	case !hostName.MatchString(s):
		return "", fmt.Errorf("%q cannot be the name of a host; use a-z, 0-9 and - between them, at most 63 letters", s)
	}
	return s, nil
}

// hostName is a label of RFC 1123, in lower case.
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Elsewhere says which hosts are in no network of this host's interface, where it has one of their family: all hosts of a cluster are on one LAN.
func (a Answers) Elsewhere(m *config.Machine) (out []string) {
	if m == nil || m.Prefixes == nil {
		return nil
	}
	prefixes, err := m.Prefixes(a.Interface)
	if err != nil {
		return nil // which config check says
	}
	for _, h := range a.Others {
		family := slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return p.Addr().Is4() != h.Addr.Is4() || p.IsSingleIP() })
		if len(family) > 0 && !slices.ContainsFunc(family, func(p netip.Prefix) bool { return p.Contains(h.Addr) }) {
			out = append(out, fmt.Sprintf("%s, the address of %s, is in no network of this host's %s (%s): all hosts are on one LAN; write its address there", h.Addr, h.Name, a.Interface, joined(family)))
		}
	}
	return out
}

func joined(prefixes []netip.Prefix) string {
	return strings.Join(mapped(prefixes, netip.Prefix.String), ", ")
}

// ReadSleep reads no, yes, or a time.
func ReadSleep(s string) (Sleep, error) {
	switch s = strings.ToLower(strings.TrimSpace(s)); s {
	case "no", "n":
		return Sleep{}, nil
	case "yes", "y":
		return Sleep{May: true}, nil
	}
	if d, err := time.ParseDuration(s); err != nil || d <= 0 {
		return Sleep{}, fmt.Errorf("%q is no answer; write no, yes, or the time of idleness after which it goes to sleep by itself, like 15m or 2h", s)
	}
	return Sleep{May: true, Idle: s}, nil
}

// Judge says what is wrong with the answers, in the sentences of `config check`. secret is a file that holds one: that of the answers may not
// be there yet.
func (a Answers) Judge(path, secret string, m *config.Machine) []string {
	a.SecretFile = secret
	_, err := config.Parse(path, []byte(a.Text()), a.Node, m)
	return append(problems(err), a.Elsewhere(m)...)
}

// problems are the sentences of an error of package config.
func problems(err error) []string {
	list, is := asProblems(err)
	if !is && err != nil {
		return []string{err.Error()}
	}
	return list
}

// SetAddr reads this host's own address.
func (a *Answers) SetAddr(s string) (err error) {
	if a.Addr, err = netip.ParseAddr(s); err != nil {
		return fmt.Errorf("%q is no address; write that of this host on the LAN, like 192.0.2.11", s)
	}
	return nil
}
