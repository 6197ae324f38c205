package lease

import (
	"os"
	"testing"
	"time"
)

// commonSeeds are the seeds of every search, from 0: those of the clean code and those of each mistake. The numbers are
// the first there are, chosen for none.
const commonSeeds = 20_000

// TestSearchHasTeeth builds each known mistake in and wants the random search to see an invariant broken, in the very
// stories that the clean code passes. NIGHTPORTER_DEEP=1 goes on after the first and counts all that see it: the reserve.
func TestSearchHasTeeth(t *testing.T) {
	deep := os.Getenv("NIGHTPORTER_DEEP") != ""
	for f := none + 1; f < lastFlaw; f++ {
		t.Run(flawNames[f], func(t *testing.T) {
			began := time.Now()
			caught := 0
			for seed := range uint64(commonSeeds) {
				_, err := seededStory(randomBounds(f), storySteps, seed)
				if err == nil {
					continue
				}
				if caught++; caught == 1 {
					t.Logf("%s | %d stories, %v: %v", flawNames[f], seed+1, time.Since(began).Round(time.Millisecond), err)
				}
				if !deep {
					return
				}
			}
			if caught < commonSeeds/reserve && deep || caught == 0 {
				t.Errorf("seen by %d of %d stories", caught, commonSeeds)
			}
			t.Logf("%s | seen by %d of %d stories", flawNames[f], caught, commonSeeds)
		})
	}
}

const reserve = 2000 // the rarest mistake is seen by one story in so many
