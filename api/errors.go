package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Code is the machine's form of what went wrong. Codes are part of the contract; a reader that meets an unknown one
// treats it as Internal.
type Code string

// The codes.
const (
	CodeNotRunning     Code = "not_running"     // nobody listens at the socket
	CodePermission     Code = "permission"      // the caller may not
	CodeNoLeader       Code = "no_leader"       // there is no leader to decide
	CodeNoCluster      Code = "no_cluster"      // the cluster is not founded yet
	CodeUnknownService Code = "unknown_service" // no such definition
	CodeUnknownNode    Code = "unknown_node"    // no such member
	CodeUnknownName    Code = "unknown_name"    // neither service nor member
	CodeRefused        Code = "refused"         // understood, and not done for a reason
	CodeInvalid        Code = "invalid"         // the request itself makes no sense
	CodeTimeout        Code = "timeout"         // no answer in time: it may have happened
	CodeUnavailable    Code = "unavailable"     // the daemon is starting or stopping, or the connection broke
	CodeVersion        Code = "version"         // the two sides do not speak the same protocol
	CodeInternal       Code = "internal"        // a fault of ours
)

// Error is a failure that a person can act on.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // what was tried and why it failed, one sentence without a full stop
	Hint    string `json:"hint"`    // what to do, or ""
}

// Error gives message and hint as one line.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// CodeOf gives the code of the *Error in err's chain, and CodeInternal when there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// NoLeader says that what was tried needs a decision that nobody can make now. why adds what is known, or is "".
func NoLeader(tried, why string) *Error {
	m := "cannot " + tried + ": the cluster has no leader"
	if why != "" {
		m += " (" + why + ")"
	}
	return &Error{CodeNoLeader, m, "see `nightporter status`: a majority of the voters must be awake and in touch"}
}

// NoCluster says that this node is not part of a founded cluster.
func NoCluster(tried, why string) *Error {
	return &Error{CodeNoCluster, fmt.Sprintf("cannot %s: this node is in no cluster yet (%s)", tried, why), "start the missing hosts, or run `nightporter join ADDRESS` to join a cluster that exists"}
}

// UnknownService says that there is no such service, and which there are.
func UnknownService(name string, known []string) *Error {
	return &Error{CodeUnknownService, fmt.Sprintf("there is no service %q", name), knownNames("service", known)}
}

// UnknownNode says that there is no such node, and which there are.
func UnknownNode(name string, known []string) *Error {
	return &Error{CodeUnknownNode, fmt.Sprintf("there is no node %q in this cluster", name), knownNames("node", known)}
}

// UnknownName says that there is neither a service nor a node of that name, which of both there are, and which one may have been meant.
func UnknownName(name string, services, nodes []string) *Error {
	hint := knownNames("service", services) + ", " + knownNames("node", nodes)
	if near := nearest(name, slices.Concat(services, nodes)); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return &Error{CodeUnknownName, fmt.Sprintf("there is neither a service nor a node %q", name), hint}
}

func knownNames(kind string, known []string) string {
	switch len(known) {
	case 0:
		return "there is no " + kind + " at all"
	case 1:
		return "the only " + kind + " is " + known[0]
	}
	return "the " + kind + "s are " + strings.Join(known, ", ")
}

// Refused says why something that was understood is not done, and what to do instead ("" = nothing).
func Refused(message, hint string) *Error { return &Error{CodeRefused, message, hint} }

// Invalid says what is wrong with a request.
func Invalid(message, hint string) *Error { return &Error{CodeInvalid, message, hint} }

// Timeout says that no answer came in time. The operation may have been carried out all the same.
func Timeout(tried string) *Error {
	return &Error{CodeTimeout, "no answer in time while trying to " + tried + "; it may have been carried out all the same", "look at `nightporter status` before trying again"}
}

// Unanswered says that no answer to a question came in time from whom.
func Unanswered(tried, whom string) *Error {
	return &Error{CodeTimeout, fmt.Sprintf("cannot %s: no answer in time from %s", tried, whom), "if that lasts its agent hangs, its host is down or the way there is cut: `systemctl status nightporter` and `journalctl -u nightporter` on that host say more"}
}

// Unavailable says that the daemon cannot answer at the moment.
func Unavailable(tried, why string) *Error {
	return &Error{CodeUnavailable, fmt.Sprintf("cannot %s: %s", tried, why), "try again in a moment; the daemon's log says more"}
}

// httpStatus is the transport's form of a code. Clients of ours go by the code alone.
func (c Code) httpStatus() int {
	switch c {
	case CodePermission:
		return http.StatusForbidden
	case CodeUnknownService, CodeUnknownNode, CodeUnknownName:
		return http.StatusNotFound
	case CodeRefused:
		return http.StatusConflict
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeNoLeader, CodeNoCluster, CodeUnavailable:
		return http.StatusServiceUnavailable
	case CodeVersion:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}
