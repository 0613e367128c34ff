package s3

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	dialTimeout = 10 * time.Second
	// stallTime is how long a connection may move no byte before it is given up. Nothing limits how long a transfer
	// takes that does move.
	stallTime = 2 * time.Minute
	// idleConns is how many connections stay open, for callers that move many small objects at once.
	idleConns = 128
	// socketBuffer is the piece in which bytes go to and come from a connection.
	socketBuffer = 128 << 10
)

// newHTTPClient starts from the SDK's, to which its settings add certificates (AWS_CA_BUNDLE).
func newHTTPClient() *awshttp.BuildableClient {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return stallConn{conn}, nil
		}
		t.TLSHandshakeTimeout = dialTimeout
		t.MaxIdleConns, t.MaxIdleConnsPerHost = idleConns, idleConns
		t.IdleConnTimeout = time.Minute
		t.WriteBufferSize, t.ReadBufferSize = socketBuffer, socketBuffer
		t.DisableCompression = true // blobs are packed already
	})
}

// stallConn gives up when nothing moves. Writing puts off the deadline of a pending read too, which waits for the answer
// to what is being written.
type stallConn struct{ net.Conn }

func (c stallConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(stallTime)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c stallConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(stallTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// drain reads what little is left of an answer, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}

// credentialsError is a failure to get credentials, which looks like others otherwise: their source is often a service.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// markedCredentials marks the errors of a provider.
type markedCredentials struct{ aws.CredentialsProvider }

func markCredentials(p aws.CredentialsProvider) aws.CredentialsProvider {
	if p == nil {
		return nil
	}
	return aws.NewCredentialsCache(markedCredentials{p})
}

func (m markedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = &credentialsError{err}
	}
	return c, err
}
