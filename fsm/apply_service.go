package fsm

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
)

func putService(s *State, c PutService) (*State, Result) {
	sv := c.Service
	own := s.Ownerships[sv.Name]
	if problems := Validate(sv); len(problems) > 0 {
		return refuse(s, Invalid, "service %s: %s", sv.Name, strings.Join(problems, "; "))
	}
	if other, what := clash(s, sv); other != "" {
		return refuse(s, AddressInUse, "service %s: %s already belongs to service %s", sv.Name, what, other)
	}
	if w := witnessTarget(s, sv); w != "" {
		return refuse(s, Invalid, "service %s: its target %s is a witness, which holds no service: name another host", sv.Name, w)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
		if what := collides(sv, s.Nodes[name]); what != "" {
			return refuse(s, AddressInUse, "service %s: %s is the node %s's own; a service needs one that no host has", sv.Name, what, name)
		}
	}
	old, known := s.Services[sv.Name]
	if known && own.Owner != "" && !sameIdentity(old, sv) {
		return refuse(s, StillOwned, "service %s is owned by %s under its old address, MAC or mode: assign it to nobody first", sv.Name, own.Owner)
	}
	if known && sameDefinition(old, sv) {
		return s, Result{Epoch: own.Epoch, Effect: Unchanged}
	}
	next := *s
	next.Services = maps.Clone(s.Services)
	next.Services[sv.Name] = cloneService(sv)
	if known {
		return &next, Result{Epoch: own.Epoch, Effect: Changed}
	}
	if floor := s.floor(); own.Epoch < floor { // nobody knows whether the nodes that were lost had one of this name (I9)
		own = Ownership{Epoch: floor, Reason: FirstOwner, Since: c.At, By: c.By}
		next.Ownerships = maps.Clone(s.Ownerships)
		next.Ownerships[sv.Name] = own
	}
	return &next, Result{Epoch: own.Epoch, Effect: Created}
}

// deleteService leaves the ownership behind with a higher epoch: a later service of the same name goes on from it
// (I9), and a holder that applies it finds itself superseded.
func deleteService(s *State, index uint64, c DeleteService) (*State, Result) {
	if _, ok := s.Services[c.Name]; !ok {
		return refuse(s, UnknownService, "there is no service %q", c.Name)
	}
	if s.Ownerships[c.Name].Epoch == math.MaxUint64 {
		return refuse(s, Invalid, "service %s: its epoch cannot rise any more", c.Name)
	}
	next := tenure(s, index, c.Name, Ownership{Reason: ServiceDeleted, Since: c.At, By: c.By}, "")
	next.Services = maps.Clone(s.Services)
	delete(next.Services, c.Name)
	return next, Result{Epoch: next.Ownerships[c.Name].Epoch}
}

func assign(s *State, index uint64, c Assign) (*State, Result) {
	own := s.Ownerships[c.Service]
	var res Result
	switch _, known := s.Services[c.Service]; {
	case !known:
		_, res = refuse(s, UnknownService, "there is no service %q", c.Service)
	case c.Planned != own.Epoch:
		_, res = refuse(s, StaleEpoch, "service %s: the assignment to %s was planned from epoch %d, which is %d now: plan again",
			c.Service, ownerName(c.Owner), c.Planned, own.Epoch)
	case own.Epoch == math.MaxUint64:
		_, res = refuse(s, Invalid, "service %s: its epoch cannot rise any more", c.Service)
	case c.Reason == "":
		_, res = refuse(s, Invalid, "service %s: an assignment needs a reason", c.Service)
	case c.Owner != "" && !hasNode(s, c.Owner):
		_, res = refuse(s, UnknownNode, "service %s cannot be assigned to %s: there is no such node", c.Service, c.Owner)
	}
	if res.Refused != "" {
		res.Epoch = own.Epoch
		return s, res
	}
	next := tenure(s, index, c.Service, Ownership{Owner: c.Owner, Reason: c.Reason, Since: c.At, By: c.By}, c.Detail)
	return next, Result{Epoch: next.Ownerships[c.Service].Epoch}
}

// tenure begins a new tenure: the epoch is one above the last and the change is written into the history. Beside
// the lifts of a recovery and of a restore it is the only place that sets an epoch (I9).
func tenure(s *State, index uint64, service string, own Ownership, detail string) *State {
	old := s.Ownerships[service]
	own.Epoch = old.Epoch + 1
	next := *s
	next.Ownerships = maps.Clone(s.Ownerships)
	next.Ownerships[service] = own
	next.History = maps.Clone(s.History)
	next.History[service] = appendBounded(s.History[service], Change{
		Index: index, At: own.Since, Epoch: own.Epoch, From: old.Owner, To: own.Owner,
		Reason: own.Reason, By: own.By, Detail: detail,
	}, HistoryLimit)
	return &next
}

// appendBounded never writes into old's backing array: published states share it.
func appendBounded[T any](old []T, v T, limit int) []T {
	if drop := len(old) + 1 - limit; drop > 0 {
		old = old[drop:]
	}
	return append(slices.Clip(old), v)
}

// clash names another service that has one of sv's addresses or its MAC, and which one it is. Two services with one
// identity would have two holders (I1): a lease is per service.
func clash(s *State, sv Service) (other, what string) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		o := s.Services[name]
		if name == sv.Name {
			continue
		}
		if o.MAC == sv.MAC && sv.MAC != "" {
			return name, sv.MAC.String()
		}
		for _, a := range sv.Addresses {
			if slices.Contains(o.Addresses, a) {
				return name, a.String()
			}
		}
	}
	return "", ""
}

// collides names what a service and a node both claim, "" = nothing. A node that held such a service would fence itself off.
func collides(sv Service, n Node) string {
	for _, a := range sv.Addresses {
		if a == n.Addr.Addr() || a == n.Gossip.Addr() {
			return a.String()
		}
	}
	if slices.Contains(n.Wake, sv.MAC) {
		return sv.MAC.String()
	}
	return ""
}

func sameIdentity(a, b Service) bool {
	return a.MAC == b.MAC && a.Mode == b.Mode && len(a.Addresses) == len(b.Addresses) &&
		!slices.ContainsFunc(a.Addresses, func(x netip.Addr) bool { return !slices.Contains(b.Addresses, x) })
}

func sameDefinition(a, b Service) bool {
	return a.MAC == b.MAC && a.Mode == b.Mode && a.Hold == b.Hold && a.Replay == b.Replay && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Targets, b.Targets) &&
		slices.Equal(a.Checks, b.Checks) && a.Unit == b.Unit && a.Wake.equal(b.Wake)
}

// cloneService cuts the tie to the proposer's slices.
func cloneService(sv Service) Service {
	sv.Addresses = slices.Clone(sv.Addresses)
	sv.Ports = slices.Clone(sv.Ports)
	sv.Targets = slices.Clone(sv.Targets)
	sv.Checks = slices.Clone(sv.Checks)
	sv.Wake = sv.Wake.clone()
	return sv
}

func ownerName(owner string) string {
	if owner == "" {
		return "nobody"
	}
	return owner
}
