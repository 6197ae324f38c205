package lab

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// flown sends n numbered frames along a path, one each step, and gives their numbers in the order in which they arrive.
func flown(s Shape, n int, step time.Duration) (order []int, due []time.Duration) {
	p, q := newPath(route{"h1", "h2"}, s), &queue{}
	for k := range n {
		now := time.Duration(k) * step
		p.pass(q, []byte{byte(k), byte(k >> 8)}, now)
	}
	for f := q.pop(time.Hour); f != nil; f = q.pop(time.Hour) {
		order = append(order, int(f.frame[0])|int(f.frame[1])<<8)
		due = append(due, f.due)
	}
	return order, due
}

func TestASeedFixesTheFateOfEveryFrame(t *testing.T) {
	s := Shape{Loss: 0.2, Duplicate: 0.2, Reorder: 0.2, Jitter: time.Millisecond, Seed: 1}
	one, _ := flown(s, 500, time.Microsecond)
	two, _ := flown(s, 500, time.Microsecond)
	if !slices.Equal(one, two) {
		t.Error("the same seed gave another order")
	}
	s.Seed = 2
	if three, _ := flown(s, 500, time.Microsecond); slices.Equal(one, three) {
		t.Error("another seed gave the same order")
	}
	lossy, _ := flown(Shape{Loss: 0.2, Seed: 1}, 500, time.Microsecond)
	rough, _ := flown(Shape{Loss: 0.2, Reorder: 0.5, Seed: 1}, 500, time.Microsecond)
	slices.Sort(rough)
	if !slices.Equal(lossy, rough) {
		t.Error("whether frames are lost depends on whether others are reordered")
	}
}

func TestJitterKeepsTheOrder(t *testing.T) {
	order, due := flown(Shape{Delay: time.Millisecond, Jitter: 10 * time.Millisecond}, 500, 10*time.Microsecond)
	if !slices.IsSorted(order) || !slices.IsSorted(due) || len(order) != 500 {
		t.Errorf("%d frames arrived as %v", len(order), order)
	}
}

func TestAReorderedFrameIsPassedByTheNext(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Shape
		step time.Duration
		want []int
		last time.Duration
	}{
		// Every frame would be held back; while one is, the next one passes it.
		{"passed at once", Shape{Reorder: 1}, time.Millisecond, []int{1, 0, 3, 2}, 3 * time.Millisecond},
		{"nobody comes in time", Shape{Reorder: 1}, time.Second, []int{0, 1, 2, 3}, 3*time.Second + holdBack},
		{"with a delay", Shape{Reorder: 1, Delay: time.Second}, time.Millisecond, []int{1, 0, 3, 2}, time.Second + 3*time.Millisecond},
		{"kept", Shape{Delay: time.Second}, time.Millisecond, []int{0, 1, 2, 3}, time.Second + 3*time.Millisecond},
	} {
		order, due := flown(c.s, 4, c.step)
		if !slices.Equal(order, c.want) || due[3] != c.last {
			t.Errorf("%s: %v, the last one at %v; want %v, %v", c.name, order, due[3], c.want, c.last)
		}
	}
}

func TestCutsSeverWhatTheyName(t *testing.T) {
	for _, c := range []struct {
		cut      Cut
		from, to string
		want     bool
	}{
		{Cut{From: "h1", To: "h2"}, "h1", "h2", true},
		{Cut{From: "h1", To: "h2"}, "h2", "h1", true},
		{Cut{From: "h1", To: "h2"}, "h1", "h3", false},
		{Cut{From: "h1", To: "h2", OneWay: true}, "h2", "h1", false},
		{Cut{From: "h1", To: "h2", OneWay: true}, "h1", "h2", true},
		{Cut{From: "h1"}, "h3", "h1", true},
		{Cut{From: "h1", OneWay: true}, "h3", "h1", false},
		{Cut{From: "h1", OneWay: true}, "h1", "h3", true},
		{Cut{From: "h1"}, "h2", "h3", false},
	} {
		if got := c.cut.severs(c.from, c.to); got != c.want {
			t.Errorf("%s severs %s -> %s: %v, want %v", c.cut, c.from, c.to, got, c.want)
		}
	}
}

func TestTheMostExactShapeComesFirst(t *testing.T) {
	p := &patchPanel{fabric: bridgeOfNothing{}}
	for _, s := range []Shape{{Loss: 0.1}, {To: "h2", Loss: 0.2}, {From: "h1", Loss: 0.3}, {From: "h1", To: "h2", Loss: 0.4}, {To: "h2", Loss: 0.5}} {
		if err := p.shape(s); err != nil {
			t.Fatal(err)
		}
	}
	var got []float64
	for _, s := range p.shapes {
		got = append(got, s.Loss)
	}
	if fmt.Sprint(got) != "[0.4 0.3 0.5 0.1]" {
		t.Errorf("the shapes are in the order %v", got)
	}
}

// bridgeOfNothing takes all treatment.
type bridgeOfNothing struct{ bridge }

func (bridgeOfNothing) treat([]Cut, []Shape) error { return nil }
