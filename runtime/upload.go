package runtime

import (
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
)

// How often a growing log is stored: at first nearly as it is written, for whoever watches a task start, then as rarely as
// what is stored, each time the whole log, allows.
const (
	minUpload = 250 * time.Millisecond
	maxUpload = 30 * time.Second
)

// uploadPause is the time until a log of that age is stored again.
func uploadPause(age time.Duration) time.Duration {
	return max(minUpload, min(age/20, maxUpload))
}

// uploader stores a log again and again while it grows, without holding up who writes it.
type uploader struct {
	ended chan struct{}
	once  sync.Once
	done  sync.WaitGroup
}

// startUploader starts to store the log behind f. failed hears of the first of several failures in a row.
func startUploader(f datastore.Flusher, failed func(error)) *uploader {
	u := &uploader{ended: make(chan struct{})}
	u.done.Go(func() {
		started, failing := time.Now(), false
		for {
			select {
			case <-u.ended:
				return
			case <-time.After(uploadPause(time.Since(started))):
			}
			err := f.Flush()
			if err != nil && !failing {
				failed(err)
			}
			failing = err != nil
		}
	})
	return u
}

// stop ends the uploads, after the one under way.
func (u *uploader) stop() {
	u.once.Do(func() { close(u.ended) })
	u.done.Wait()
}
