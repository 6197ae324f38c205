//go:build race

package lease

// raceEnabled makes the searches smaller: the detector costs ten times the time and there is nothing parallel to detect.
const raceEnabled = true
