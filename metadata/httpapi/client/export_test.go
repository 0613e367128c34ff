package client

import (
	"context"
	"time"
)

// SetSleep replaces the waiting between tries.
func (c *Client) SetSleep(f func(context.Context, time.Duration) error) { c.sleep = f }

// SetBeatTimeout shortens the time that a heartbeat is given.
func (c *Client) SetBeatTimeout(d time.Duration) { c.beatTimeout = d }
