// Package objects keeps files in stores that speak S3. A file that is large goes in parts,
// and whoever keeps the [Upload] of an attempt that failed goes on where it ended, after
// a restart too.
package objects

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// A Store is a bucket, and who may write into it.
type Store struct {
	// Endpoint is the http or https address of the store, without the bucket.
	Endpoint string
	// Region may be empty; then the store is asked.
	Region string
	Bucket string
	// AccessKey and SecretKey may be empty: then they come from AWS's environment variables,
	// from its file of credentials, or from the machine's role.
	AccessKey, SecretKey string
	// Public is where others find objects, empty for Endpoint and Bucket.
	Public string
	// Stall is for how long nothing may move before an attempt is given up, 0 for a minute.
	Stall time.Duration
	// Transport is what NewTransport returned.
	Transport *http.Transport
}

// An Upload is what is known of one that has begun. The zero value is one that has not.
type Upload struct {
	ID   string `json:"upload_id,omitempty"`
	Part int64  `json:"part,omitempty"` // bytes of each part but the last
}

const (
	// smallPart and mostParts are S3's bounds, with some room: a part has 5 MiB at least,
	// and there are 10,000 at most.
	smallPart = 8 << 20
	mostParts = 9000
	usual     = time.Minute
	// dialing bounds what a store takes to be reached.
	dialing = 10 * time.Second
)

// NewTransport returns what stores are reached by. Connections are used again until its
// CloseIdleConnections.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialing}).DialContext,
		TLSHandshakeTimeout:   dialing,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
	}
}

// URL is where others find an object.
func (s *Store) URL(key string) string {
	base := s.Public
	if base == "" {
		base = strings.TrimSuffix(s.Endpoint, "/") + "/" + s.Bucket
	}
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.TrimSuffix(base, "/") + "/" + strings.Join(parts, "/")
}

// Put writes the size bytes of f as the object key. It goes on with from, if that
// is an upload of the same file that the store still knows, and tells note of an upload
// that is worth keeping. Errors name neither keys nor signatures.
func (s *Store) Put(ctx context.Context, key, contentType string, f io.ReaderAt, size int64, from Upload, note func(Upload)) error {
	store, err := s.open()
	if err != nil {
		return err
	}
	w := &watch{stall: cmp.Or(s.Stall, usual)}
	ctx, w.cancel = context.WithCancelCause(ctx)
	defer w.cancel(nil)
	w.timer = time.AfterFunc(w.stall, func() { w.cancel(errStalled) })
	defer w.timer.Stop()
	opts := minio.PutObjectOptions{ContentType: contentType}
	if size <= smallPart {
		_, err = store.PutObject(ctx, s.Bucket, key, w.of(f, 0, size), size, "", "", opts)
	} else {
		err = s.parts(ctx, store, w, key, f, size, from, note, opts)
	}
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return fmt.Errorf("%s: %w in %v", s.Endpoint, errStalled, w.stall)
	}
	return told(err)
}

var errStalled = errors.New("the store took nothing")

func (s *Store) open() (minio.Core, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return minio.Core{}, err
	}
	who := credentials.NewStaticV4(s.AccessKey, s.SecretKey, "")
	if s.AccessKey == "" {
		who = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	c, err := minio.NewCore(u.Host, &minio.Options{Creds: who, Secure: u.Scheme == "https", Region: s.Region, Transport: s.Transport, MaxRetries: 1})
	if err != nil {
		return minio.Core{}, fmt.Errorf("%s: %w", s.Endpoint, err)
	}
	return *c, nil
}

// parts uploads what one request should not carry.
func (s *Store) parts(ctx context.Context, store minio.Core, w *watch, key string, f io.ReaderAt, size int64, from Upload, note func(Upload), opts minio.PutObjectOptions) error {
	there, err := s.known(ctx, store, w, key, from)
	if err != nil {
		return err
	}
	if there == nil {
		from = Upload{Part: max(smallPart, (size/mostParts+1<<20-1)>>20<<20)}
		if from.ID, err = store.NewMultipartUpload(ctx, s.Bucket, key, opts); err != nil {
			return err
		}
		note(from)
	}
	var all []minio.CompletePart
	for n, off := 1, int64(0); off < size; n, off = n+1, off+from.Part {
		length := min(from.Part, size-off)
		part, ok := there[n]
		if !ok || part.Size != length {
			sum, err := sum(f, off, length)
			if err != nil {
				return err
			}
			w.moved()
			// The sum is signed, the bytes need not be.
			if part, err = store.PutObjectPart(ctx, s.Bucket, key, from.ID, n, w.of(f, off, length), length, minio.PutObjectPartOptions{Md5Base64: sum, DisableContentSha256: true}); err != nil {
				return err
			}
		}
		all = append(all, minio.CompletePart{PartNumber: n, ETag: part.ETag})
	}
	w.moved()
	_, err = store.CompleteMultipartUpload(ctx, s.Bucket, key, from.ID, all, opts)
	if gone(err) {
		note(Upload{}) // the next attempt begins anew
	}
	return err
}

// known returns the parts that the store has of an upload, nil if it does not know it.
func (s *Store) known(ctx context.Context, store minio.Core, w *watch, key string, from Upload) (map[int]minio.ObjectPart, error) {
	if from.ID == "" || from.Part < smallPart {
		return nil, nil
	}
	there := map[int]minio.ObjectPart{}
	for after := 0; ; {
		w.moved()
		page, err := store.ListObjectParts(ctx, s.Bucket, key, from.ID, after, 1000)
		if gone(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, p := range page.ObjectParts {
			there[p.PartNumber] = p
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= after {
			return there, nil
		}
		after = page.NextPartNumberMarker
	}
}

// sum is what a store checks a part by (RFC 1864).
func sum(f io.ReaderAt, off, length int64) (string, error) {
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, off, length)); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// gone reports whether a store says that it does not know an upload.
func gone(err error) bool { return err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchUpload }

// told is an error as an operator should read it.
func told(err error) error {
	if err == nil {
		return nil
	}
	if r := minio.ToErrorResponse(err); r.StatusCode != 0 {
		return fmt.Errorf("the store answered %d %s: %s", r.StatusCode, r.Code, r.Message)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err // the address may carry a signature
	}
	return err
}

// watch ends an attempt in which nothing moves.
type watch struct {
	stall  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (w *watch) moved() { w.timer.Reset(w.stall) }

// of reads a part of a file.
func (w *watch) of(f io.ReaderAt, off, length int64) io.Reader {
	return &piece{io.NewSectionReader(f, off, length), w}
}

// piece is a part of a file on its way.
type piece struct {
	*io.SectionReader
	w *watch
}

func (p *piece) Read(b []byte) (int, error) {
	p.w.moved()
	return p.SectionReader.Read(b)
}
