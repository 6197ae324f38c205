// Package scenarios holds tests that tell whole stories: the real program, built with the race detector, runs in the
// hosts of a lab, clients connect, hosts sleep, crash, stop and come back, and a capture at every port of the switch
// judges whether two hosts ever used one identity. There is nothing to import here.
package scenarios
