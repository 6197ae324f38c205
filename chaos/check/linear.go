package check

import (
	"time"

	"github.com/anishathalye/porcupine"

	"nightporter/chaos/history"
)

// linearLimit bounds the search, which is exponential in the number of operations that overlap. Runs come far below it.
const linearLimit = 30 * time.Second

// linearizable gives what commands answered to Porcupine: there must be one order of all of them that explains every
// answer and agrees with real time. A command that nobody answered may have been carried out at any later time, or never.
func linearizable(h *history.History, d *docket) {
	for _, sv := range h.Setup.Services {
		verify(d, sv.Name+": owner", ownerModel(), ownerOps(h, sv.Name))
		verify(d, sv.Name+": definition", definitionModel(sv.Founded), definitionOps(h, sv.Name))
	}
}

func verify(d *docket, what string, m porcupine.Model, ops []porcupine.Operation) {
	if len(ops) == 0 {
		return
	}
	d.judged += len(ops)
	switch porcupine.CheckOperationsTimeout(m, ops, linearLimit) {
	case porcupine.Illegal:
		d.find("%s: no order of the %d commands explains their answers", what, len(ops))
	case porcupine.Unknown:
		d.blind = what + ": no verdict within " + linearLimit.String()
	}
}

// register is the owner of a service under an epoch.
type register struct {
	owner string
	epoch uint64
}

// assign is an operation on it: a command that was answered, or a record of the log whose moment is not known exactly.
type assign struct{ to string }

type assigned struct {
	from  string
	epoch uint64
	after uint64 // the epoch before it, by the log
	asked bool   // from is what a command was told
}

// ownerModel: an assignment raises the epoch to the log's next one, and a command is told who owned the service before. A move
// to the present owner changes nothing.
func ownerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Step: func(state, in, out any) (bool, any) {
			s, a, o := state.(register), in.(assign), out.(assigned)
			if o.asked && a.to == s.owner && o.epoch == s.epoch {
				return true, s // it had it already
			}
			if o.after != s.epoch || o.epoch <= s.epoch || o.asked && o.epoch == s.epoch+1 && o.from != s.owner {
				return false, s
			}
			return true, register{a.to, o.epoch}
		},
	}
}

// ownerOps are the records of the log, each at the time that is known of it. An acknowledged move narrows its record down
// to the time between question and answer; all others may have been committed at any time after their stamp.
func ownerOps(h *history.History, service string) []porcupine.Operation {
	moves := map[uint64]history.Command{}
	var ops []porcupine.Operation
	for _, c := range h.Commands {
		if c.Verb != "move" || !c.Done || c.Service != service {
			continue
		}
		if c.From == c.Arg {
			ops = append(ops, operation(len(ops), c.Began, c.Ended, assign{c.Arg}, assigned{from: c.Arg, epoch: c.Epoch, asked: true}))
			continue
		}
		if _, twice := moves[c.Epoch]; twice {
			ops = append(ops, operation(len(ops), c.Began, c.Ended, assign{c.Arg}, assigned{from: c.From, epoch: c.Epoch, after: c.Epoch, asked: true}))
			continue // two answers with one epoch: no order explains them
		}
		moves[c.Epoch] = c
	}
	last := uint64(0)
	for _, r := range h.Of(service) {
		from, to, out := r.At, h.Ended, assigned{epoch: r.Epoch, after: last}
		if c, ok := moves[r.Epoch]; ok {
			from, to, out = c.Began, c.Ended, assigned{c.From, r.Epoch, last, true}
		}
		last = r.Epoch
		ops = append(ops, operation(len(ops), from, to, assign{r.To}, out))
	}
	return ops
}

// operation has a client of its own: Porcupine needs no more of them.
func operation(client int, from, to time.Time, in, out any) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Input: in, Call: from.UnixNano(), Output: out, Return: max(to.UnixNano(), from.UnixNano())}
}

type define struct{ delete bool }

type defined struct {
	result string // created, changed, unchanged, deleted, missing; "" = nobody knows
}

// definitionModel: whether a service is defined. "created" says that it was not, "changed" and "unchanged" that it was.
func definitionModel(founded bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return founded },
		Step: func(state, in, out any) (bool, any) {
			exists, op, o := state.(bool), in.(define), out.(defined)
			switch o.result {
			case "created":
				return !exists, true
			case "changed", "unchanged":
				return exists, true
			case "deleted":
				return exists, false
			case "missing":
				return !exists, false
			}
			return true, !op.delete
		},
	}
}

// definitionOps: what was not answered may come as late as the run's end, where it explains nothing any more.
func definitionOps(h *history.History, service string) []porcupine.Operation {
	var ops []porcupine.Operation
	for _, c := range h.Commands {
		if c.Service != service || c.Verb != "apply" && c.Verb != "delete" {
			continue
		}
		switch {
		case c.Done, c.Result != "":
			ops = append(ops, operation(len(ops), c.Began, c.Ended, define{c.Verb == "delete"}, defined{c.Result}))
		case !c.Refused:
			ops = append(ops, operation(len(ops), c.Began, h.Ended, define{c.Verb == "delete"}, defined{}))
		}
	}
	return ops
}
