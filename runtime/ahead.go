package runtime

import (
	"context"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
)

// maxAhead bounds what is fetched ahead for one name, in bytes: what of it fits the run's cache.
const maxAhead = maxCache / 2

// ahead fetches what a join is going to ask for. A join that reads an artifact of a second input nearly always reads that
// of all the others, one after the other: each would take an object store's whole time to answer.
type ahead struct {
	run    *Run
	inputs []*Result
	// first is the first digest asked for, by name; empty once all are on their way.
	first map[string]string
	// arriving are closed when the blob is in the run's cache, or could not be fetched.
	arriving map[string]chan struct{}
}

// asked notes that a blob is needed and returns when it is not being fetched, or no longer.
func (a *ahead) asked(ctx context.Context, name, digest string) {
	if len(a.inputs) < 3 || !a.run.Contained {
		return
	}
	if a.first == nil {
		a.first, a.arriving = map[string]string{}, map[string]chan struct{}{}
	}
	switch before, known := a.first[name]; {
	case !known:
		a.first[name] = digest
	case before != "" && before != digest:
		a.first[name] = ""
		a.fetch(ctx, name)
	}
	if arriving := a.arriving[digest]; arriving != nil {
		<-arriving
	}
}

// fetch starts to bring the small artifacts of that name into the run's cache, in the order of the inputs.
func (a *ahead) fetch(ctx context.Context, name string) {
	var all []datastore.Artifact
	for _, in := range a.inputs {
		if art, ok := in.Artifacts[name]; ok && art.Size <= inlineMax && a.arriving[art.Digest] == nil {
			all = append(all, art)
		}
	}
	missing := a.run.missing(all)
	for _, digest := range missing {
		a.arriving[digest] = make(chan struct{})
	}
	arriving := maps.Clone(a.arriving)
	go a.run.loadAll(ctx, missing, func(digest string) { close(arriving[digest]) })
}

// missing returns the digests of artifacts that are not in the run's cache, as many as fit it together.
func (r *Run) missing(arts []datastore.Artifact) []string {
	var total int64
	var digests []string
	seen := map[string]bool{}
	for _, art := range arts {
		if _, cached := r.blobs.get(art.Digest); cached || seen[art.Digest] || art.Size > maxCachedBlob {
			continue
		}
		if total += art.Size; total > maxAhead {
			break
		}
		seen[art.Digest] = true
		digests = append(digests, art.Digest)
	}
	return digests
}

// loadAll brings blobs into the run's cache; done, if it is not nil, hears of each, there or not: who asks for a blob that
// could not be fetched hears why.
func (r *Run) loadAll(ctx context.Context, digests []string, done func(digest string)) {
	var g errgroup.Group
	g.SetLimit(maxReading)
	for _, digest := range digests {
		g.Go(func() error {
			if done != nil {
				defer done(digest)
			}
			_, _ = r.load(ctx, digest)
			return nil
		})
	}
	_ = g.Wait()
}
