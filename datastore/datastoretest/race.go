//go:build race

package datastoretest

// raceDetector is set where sync.Pool forgets some of its buffers on purpose.
const raceDetector = true
