//go:build !race

package datastoretest

const raceDetector = false
