package lab

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
)

const cutTable = "lab_cut"

// patchPanel holds the cuts and the shapes. Cables are pulled by taking the switch's port down; everything else is done
// where the switch forwards.
type patchPanel struct {
	fabric fabric
	mu     sync.Mutex
	cuts   []Cut
	shapes []Shape // the most exact first
}

func (p *patchPanel) list() ([]Cut, []Shape) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Cut{}, p.cuts...), slices.Clone(p.shapes)
}

// pulled tells whether the cable of the place is out: a host that starts then gets no link.
func (p *patchPanel) pulled(name string) bool {
	cuts, _ := p.list()
	return slices.ContainsFunc(cuts, func(c Cut) bool { return c.Cable && c.From == name })
}

func (p *patchPanel) cut(c Cut) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.cuts, c) {
		return nil
	}
	if c.Cable {
		if err := setCarrier(c.From, false); err != nil && !missingLink(err) { // of a host that is off: it starts without a link
			return err
		}
	}
	return p.set(append(slices.Clone(p.cuts), c), p.shapes)
}

// heal mends what touches the place; "" stands for all.
func (p *patchPanel) heal(place string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []Cut
	var errs []error
	for _, c := range p.cuts {
		switch {
		case place != "" && c.From != place && c.To != place:
			left = append(left, c)
		case c.Cable:
			// A host that is off has no link to connect; it gets one when it starts.
			if err := setCarrier(c.From, true); err != nil && !missingLink(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, p.set(left, p.shapes))...)
}

// shape sets the treatment of a path.
func (p *patchPanel) shape(s Shape) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	shapes := slices.DeleteFunc(slices.Clone(p.shapes), func(o Shape) bool { return o.From == s.From && o.To == s.To })
	shapes = append(shapes, s)
	slices.SortStableFunc(shapes, func(a, b Shape) int { return cmp.Compare(b.exactness(), a.exactness()) })
	return p.set(p.cuts, shapes)
}

// smooth removes the shapes that name the place; "" stands for all.
func (p *patchPanel) smooth(place string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set(p.cuts, slices.DeleteFunc(slices.Clone(p.shapes), func(s Shape) bool {
		return place == "" || s.From == place || s.To == place
	}))
}

func (p *patchPanel) set(cuts []Cut, shapes []Shape) error {
	paths := slices.DeleteFunc(slices.Clone(cuts), func(c Cut) bool { return c.Cable })
	if err := p.fabric.treat(paths, shapes); err != nil {
		return err
	}
	p.cuts, p.shapes = cuts, shapes
	return nil
}

// exactness is higher for a shape that fits fewer paths.
func (s Shape) exactness() int {
	e := 0
	if s.From != "" {
		e += 2
	}
	if s.To != "" {
		e++
	}
	return e
}

// fits tells whether the shape is for the path.
func (s Shape) fits(from, to string) bool {
	return (s.From == "" || s.From == from) && (s.To == "" || s.To == to)
}

// check says in one sentence what cannot be.
func (s Shape) check() error {
	for _, one := range []struct {
		what  string
		share float64
	}{{"loss", s.Loss}, {"duplicate", s.Duplicate}, {"reorder", s.Reorder}} {
		if !(one.share >= 0 && one.share <= 1) {
			return fmt.Errorf("the share of %s is %v; write one from 0 to 1", one.what, one.share)
		}
	}
	switch {
	case s.Delay < 0 || s.Jitter < 0:
		return fmt.Errorf("frames cannot be delayed by %v and up to %v; write times from 0 on", s.Delay, s.Jitter)
	case s.From != "" && s.From == s.To:
		return fmt.Errorf("there is no path from %s to itself", s.From)
	}
	return nil
}

// severs tells whether the cut breaks the path.
func (c Cut) severs(from, to string) bool {
	fits := func(a, b string) bool { return (a == "" || a == from) && (b == "" || b == to) }
	return fits(c.From, c.To) || !c.OneWay && fits(c.To, c.From)
}
