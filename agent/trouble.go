package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What a tenant does and may fail to do. A complaint stands until the same thing succeeds, or the tenure ends.
const (
	doPrepare  = "prepare the identity"
	doGuard    = "set the guard"
	doListen   = "listen for demand"
	doAnswer   = "answer its ports as their hold says"
	doRepair   = "repair the identity"
	doOpen     = "open the fence"
	doExtend   = "extend the fence's deadline"
	doClose    = "close the fence"
	doAnnounce = "announce the identity"
	doProbe    = "ask the LAN whether the address is free"
	doLook     = "look who listens at its ports"
	doReplay   = "keep what clients say for the target"
	doClaim    = "claim the address" // a host outside the cluster has it
)

// fail remembers what went wrong for status, and logs it once while it lasts.
func (t *tenant) fail(doing string, err error) {
	t.complain(doing, fmt.Sprintf("service %s: cannot %s: %v", t.service, doing, err))
}

func (t *tenant) complain(doing, sentence string) {
	if t.trouble[doing] == sentence {
		return
	}
	if t.trouble == nil {
		t.trouble = make(map[string]string)
	}
	t.trouble[doing] = sentence
	t.log.Error(sentence, "service", t.service, "epoch", t.wish.Own.Epoch)
}

// well takes a complaint back.
func (t *tenant) well(doing ...string) {
	for _, d := range doing {
		delete(t.trouble, d)
	}
}

// problem is every complaint that stands, in one string, but for that about a stranger.
func (t *tenant) problem() string {
	ours := maps.Clone(t.trouble)
	delete(ours, doClaim)
	return strings.Join(slices.Sorted(maps.Values(ours)), "; ")
}
