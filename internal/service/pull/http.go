package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"weir/internal/format/flv"
	"weir/internal/session"
)

// HTTP has the stream of an address, http or https, that answers with FLV.
func HTTP(ctx context.Context, in *Intake, url string, o Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(DialTime, func() {
		cancel(fmt.Errorf("%w: the server sent nothing for %v", session.ErrTimeout, Silence))
	})
	defer quiet.Stop()
	body, err := in.get(ctx, url, o)
	if err != nil {
		return because(ctx, err)
	}
	defer body.Close()
	r := flv.NewReader(body)
	for {
		quiet.Reset(Silence)
		tag, err := r.ReadTag()
		if err != nil {
			return because(ctx, err)
		}
		if err := in.Tag(tag.Type, tag.Timestamp, tag.Body); err != nil {
			return err
		}
	}
}

// get asks for an address.
func (in *Intake) get(ctx context.Context, url string, o Options) (io.ReadCloser, error) {
	if err := o.allow(url); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", in.env.Server)
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig: o.tls(req.URL.Hostname()), DialContext: in.dial},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > Redirects {
				return errRedirects
			}
			return o.allow(next.URL.String())
		}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, errors.New("the server answered with status " + res.Status)
	}
	return res.Body, nil
}
