package lease

import (
	"testing"
	"time"
)

// commonSeeds are the seeds of every search, from 0: those of the clean code and those of each mistake. The numbers are
// the first there are, chosen for none.
const commonSeeds = 20_000

// TestSearchHasTeeth builds each known mistake in and wants the random search to see an invariant broken, in the very
// stories that the clean code passes. NIGHTPORTER_DEEP=1 goes on after the first and counts all that see it.
func TestSearchHasTeeth(t *testing.T) {
	deep := deepSearch()
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
			t.Logf("%s | seen by %d of %d stories", flawNames[f], caught, commonSeeds)
			if caught < reserve {
				t.Errorf("seen by fewer than %d stories", reserve)
			}
		})
	}
}

// reserve is how many of the common stories see even the rarest mistake.
const reserve = 10

// TestSeqIsASecondLine: voters that know nothing of seq break nothing as long as the holder remembers what it released;
// adoptedForgotten takes that away.
func TestSeqIsASecondLine(t *testing.T) {
	seeds := uint64(commonSeeds / 4)
	if raceEnabled {
		seeds /= 10
	}
	for seed := range seeds {
		if _, err := seededStory(randomBounds(noSeq), storySteps, seed); err != nil {
			t.Fatalf("story %d: %v", seed, err)
		}
	}
}
