package server

import (
	"context"
	"errors"
	"time"
)

// errBusy: no place became free in time.
var errBusy = errors.New("too many requests at once")

// places bounds how many do something at once; others wait for a while.
type places struct {
	free chan struct{}
	wait time.Duration
}

func newPlaces(n int, wait time.Duration) places {
	return places{free: make(chan struct{}, n), wait: wait}
}

// enter takes a place; errBusy if none is free in time.
func (p places) enter(ctx context.Context) error {
	select {
	case p.free <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case p.free <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p places) leave() { <-p.free }
