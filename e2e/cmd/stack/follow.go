package main

import (
	"context"
	"io"
	"os"
	"time"
)

// copyGrowing copies what is written to a file until the context ends.
func copyGrowing(ctx context.Context, to io.Writer, name string) {
	file, err := os.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	for {
		_, _ = io.Copy(to, file)
		select {
		case <-ctx.Done():
			_, _ = io.Copy(to, file)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}
