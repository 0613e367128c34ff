package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/mf-run/mf/datastore"
)

const (
	// smallBody is the size up to which a body goes without a buffer of a part.
	smallBody = 256 << 10
	// maxParts is the number of parts that S3 allows; they grow so that it suffices for the largest objects.
	maxParts = 10_000
	// growEvery is the number of parts after which their size doubles.
	growEvery = 2_000
)

// Put implements datastore.Backend. A body of up to a part goes in one request, a larger one in parts at once.
func (b *Backend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing %s: %w", b.urlOf(key), err)
	}
	if opt.IfAbsent && !b.conditional.Load() {
		// Stores that ignore the condition are only known by what they did, which is too late.
		if ok, err := b.Exists(ctx, key); err != nil || ok {
			return err
		}
	}
	if sized, ok := body.(interface{ Len() int }); ok && sized.Len() <= smallBody {
		data := make([]byte, sized.Len())
		if _, err := io.ReadFull(body, data); err != nil {
			return fmt.Errorf("writing %s: %w", b.urlOf(key), err)
		}
		return b.putSmall(ctx, key, data, opt)
	}
	start := bytes.NewBuffer(make([]byte, 0, 4<<10))
	n, err := io.CopyN(start, body, smallBody)
	switch {
	case errors.Is(err, io.EOF):
		return b.putSmall(ctx, key, start.Bytes(), opt)
	case err != nil:
		return fmt.Errorf("writing %s: %w", b.urlOf(key), err)
	}
	u := &upload{b: b, key: key, opt: opt, body: io.MultiReader(bytes.NewReader(start.Bytes()[:n]), body)}
	return u.run(ctx)
}

// PutOnce implements datastore.OncePutter.
func (b *Backend) PutOnce(ctx context.Context, key string, body, meta []byte) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	return b.putSmall(ctx, key, body, datastore.PutOptions{IfAbsent: true, Meta: meta})
}

// putSmall writes an object in one request.
func (b *Backend) putSmall(ctx context.Context, key string, data []byte, opt datastore.PutOptions) error {
	sum := checksum(data)
	return b.write(ctx, key, opt, func(ctx context.Context, c conditions) error {
		in := &awss3.PutObjectInput{
			Bucket: &b.bucket, Key: b.object(key), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
			Metadata: metadata(opt.Meta), IfNoneMatch: c.ifNoneMatch,
		}
		if c.checksums {
			in.ChecksumCRC32 = &sum
		}
		_, err := b.client.PutObject(ctx, in, unsigned(len(data)))
		return err
	})
}

// conditions are what a request asks for beyond what every store has.
type conditions struct {
	ifNoneMatch *string
	checksums   bool
}

// write sends the request that makes an object appear, under the condition that opt asks for where the store has it. A
// store that does not implement it is asked in a plainer form: without the condition, then without checksums.
func (b *Backend) write(ctx context.Context, key string, opt datastore.PutOptions, send func(ctx context.Context, c conditions) error) error {
	var c conditions
	err := b.do(ctx, "writing", key, func(ctx context.Context) error {
		for {
			c = conditions{checksums: !b.noChecksums.Load()}
			if opt.IfAbsent && !b.noConditional.Load() {
				c.ifNoneMatch = aws.String("*")
			}
			err := send(ctx, c)
			switch {
			case err == nil || statusOf(err) != http.StatusNotImplemented:
				return err
			case c.ifNoneMatch != nil:
				b.noConditional.Store(true)
			case c.checksums:
				b.noChecksums.Store(true)
			default:
				return err
			}
		}
	})
	if c.ifNoneMatch != nil && statusOf(err) == http.StatusPreconditionFailed {
		b.conditional.Store(true)
		return nil
	}
	return err
}

// checksum is what S3 calls CRC32.
func checksum(data []byte) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE(data))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// unsigned leaves a large body out of the signature, as the SDK does over TLS: the CRC guards it against accidents, and
// blobs are checked by their digest when they are read.
func unsigned(size int) func(*awss3.Options) {
	return func(o *awss3.Options) {
		if size > smallBody {
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	}
}

// metadata is an object's user metadata. A header takes ASCII only, so the rest of the JSON text is escaped, as Python
// does.
func metadata(meta []byte) map[string]string {
	if meta == nil {
		return nil
	}
	text := make([]byte, 0, len(meta))
	for len(meta) > 0 {
		r, n := utf8.DecodeRune(meta)
		switch {
		case r < ' ' || r == 0x7f:
			text = append(text, ' ') // JSON has line ends only between values
		case r < 0x7f:
			text = append(text, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			text = fmt.Appendf(text, `\u%04x\u%04x`, high, low)
		default:
			text = fmt.Appendf(text, `\u%04x`, r)
		}
		meta = meta[n:]
	}
	return map[string]string{metaKey: string(text)}
}

// upload is an object on its way in parts.
type upload struct {
	b    *Backend
	key  string
	opt  datastore.PutOptions
	body io.Reader
	id   *string
	// checksums is set if the parts have some; all or none do.
	checksums bool

	mu    sync.Mutex
	parts []types.CompletedPart
	err   error // the first
}

// run reads the body and sends it. A body that turns out to fit into one part goes in one request.
func (u *upload) run(ctx context.Context) error {
	b := u.b
	buf, err := b.takeBuffer(ctx)
	if err != nil {
		return fmt.Errorf("writing %s: %w", b.urlOf(u.key), err)
	}
	n, err := io.ReadFull(u.body, *buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		defer b.giveBuffer(buf)
		return b.putSmall(ctx, u.key, (*buf)[:n], u.opt)
	}
	if err != nil {
		b.giveBuffer(buf)
		return fmt.Errorf("writing %s: %w", b.urlOf(u.key), err)
	}
	if err := u.create(ctx); err != nil {
		b.giveBuffer(buf)
		return err
	}
	err = u.send(ctx, buf)
	if err == nil {
		err = u.complete(ctx)
	}
	if err != nil {
		u.abort(ctx)
	}
	return err
}

func (u *upload) create(ctx context.Context) error {
	return u.b.write(ctx, u.key, datastore.PutOptions{}, func(ctx context.Context, c conditions) error {
		in := &awss3.CreateMultipartUploadInput{Bucket: &u.b.bucket, Key: u.b.object(u.key), Metadata: metadata(u.opt.Meta)}
		if u.checksums = c.checksums; c.checksums {
			in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
		}
		out, err := u.b.client.CreateMultipartUpload(ctx, in)
		if err == nil {
			u.id = out.UploadId
		}
		return err
	})
}

// send sends all parts, the first of which is in buf.
func (u *upload) send(ctx context.Context, buf *[]byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	slots := make(chan struct{}, u.b.concurrency)
	fail := func(err error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.err == nil {
			u.err = err
			cancel()
		}
	}
	data, last := *buf, false
	for number := int32(1); ; number++ {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			u.b.giveBuffer(buf)
			break
		}
		sent, bytes := buf, data
		wg.Go(func() {
			defer func() { <-slots }()
			defer u.b.giveBuffer(sent)
			if err := u.part(ctx, number, bytes); err != nil {
				fail(err)
			}
		})
		if last {
			break
		}
		var err error
		if buf, data, last, err = u.next(ctx, number+1); err != nil {
			fail(fmt.Errorf("writing %s: %w", u.b.urlOf(u.key), err))
			break
		}
		if len(data) == 0 {
			u.b.giveBuffer(buf)
			break
		}
	}
	wg.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil && ctx.Err() != nil {
		u.err = fmt.Errorf("writing %s: %w", u.b.urlOf(u.key), ctx.Err())
	}
	return u.err
}

// next reads the body of a part. last says that the body ends with it.
func (u *upload) next(ctx context.Context, number int32) (buf *[]byte, data []byte, last bool, err error) {
	if number > maxParts {
		return nil, nil, false, fmt.Errorf("it is too large for %d parts", maxParts)
	}
	if buf, err = u.b.takeBuffer(ctx); err != nil {
		return nil, nil, false, err
	}
	data = *buf
	if grown := u.b.partSize << (int(number-1) / growEvery); grown > len(data) {
		data = make([]byte, grown) // an object of many gigabytes
	}
	n, err := io.ReadFull(u.body, data)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return buf, data[:n], true, nil
	case err != nil:
		u.b.giveBuffer(buf)
		return nil, nil, false, err
	}
	return buf, data, false, nil
}

// part sends a part.
func (u *upload) part(ctx context.Context, number int32, data []byte) error {
	b := u.b
	sum := checksum(data)
	return b.do(ctx, "writing", u.key, func(ctx context.Context) error {
		in := &awss3.UploadPartInput{
			Bucket: &b.bucket, Key: b.object(u.key), UploadId: u.id, PartNumber: &number,
			Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		}
		done := types.CompletedPart{PartNumber: &number}
		if u.checksums {
			in.ChecksumCRC32, done.ChecksumCRC32 = &sum, &sum
		}
		out, err := b.client.UploadPart(ctx, in, unsigned(len(data)))
		if err != nil {
			return err
		}
		done.ETag = out.ETag
		u.mu.Lock()
		u.parts = append(u.parts, done)
		u.mu.Unlock()
		return nil
	})
}

// complete makes the object of its parts.
func (u *upload) complete(ctx context.Context) error {
	b := u.b
	slices.SortFunc(u.parts, func(x, y types.CompletedPart) int { return int(*x.PartNumber - *y.PartNumber) })
	tries := 0
	err := b.write(ctx, u.key, u.opt, func(ctx context.Context, c conditions) error {
		tries++
		_, err := b.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
			Bucket: &b.bucket, Key: b.object(u.key), UploadId: u.id, IfNoneMatch: c.ifNoneMatch,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		})
		return err
	})
	if tries > 1 && codeOf(err) == "NoSuchUpload" {
		// An attempt whose answer was lost made it.
		if ok, existsErr := b.Exists(ctx, u.key); ok && existsErr == nil {
			return nil
		}
	}
	if err == nil && u.opt.IfAbsent {
		u.abort(ctx) // in case another writer was first; otherwise there is nothing to abort
	}
	return err
}

// abort gives up the parts that were sent, which would cost money otherwise. It does its best even after a cancel.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	defer cancel()
	_, _ = u.b.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &u.b.bucket, Key: u.b.object(u.key), UploadId: u.id})
}

// takeBuffer waits until a Put may use another part's buffer.
func (b *Backend) takeBuffer(ctx context.Context) (*[]byte, error) {
	select {
	case b.sending <- struct{}{}:
		return b.buffers.Get().(*[]byte), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *Backend) giveBuffer(buf *[]byte) {
	b.buffers.Put(buf)
	<-b.sending
}
