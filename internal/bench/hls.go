package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what an HLS server sends.
const (
	maxPlaylist = 4 << 20
	maxSegment  = 64 << 20
)

// playlist is what a viewer needs of a playlist (RFC 8216) of any server.
type playlist struct {
	variant  string // of a master playlist: the first
	target   time.Duration
	sequence uint64
	init     string
	segments []string
	end      bool
	// With low latency:
	blocks bool // requests wait for what is to come
	parts  []part
}

// part is a piece of a segment.
type part struct {
	uri         string
	segment     uint64
	number      int
	independent bool
}

// parsePlaylist reads one. What it does not know it passes over.
func parsePlaylist(b string) (playlist, error) {
	p := playlist{target: 10 * time.Second}
	lines := bufio.NewScanner(strings.NewReader(b))
	lines.Buffer(nil, maxPlaylist+1)
	master, first := false, true
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if first && line != "#EXTM3U" {
			return p, errors.New("this is no playlist")
		}
		first = false
		name, value, _ := strings.Cut(line, ":")
		switch {
		case name == "#EXT-X-STREAM-INF":
			master = true
		case name == "#EXT-X-TARGETDURATION":
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n <= 3600 {
				p.target = time.Duration(n) * time.Second
			}
		case name == "#EXT-X-MEDIA-SEQUENCE":
			p.sequence, _ = strconv.ParseUint(value, 10, 62)
		case name == "#EXT-X-SKIP":
			if n, err := strconv.Atoi(strings.TrimPrefix(value, "SKIPPED-SEGMENTS=")); err == nil && n > 0 && n < 1<<20 {
				p.segments = make([]string, n)
			}
		case name == "#EXT-X-MAP":
			if _, rest, ok := strings.Cut(value, `URI="`); ok {
				p.init, _, _ = strings.Cut(rest, `"`)
			}
		case name == "#EXT-X-ENDLIST":
			p.end = true
		case name == "#EXT-X-SERVER-CONTROL":
			p.blocks = strings.Contains(value, "CAN-BLOCK-RELOAD=YES")
		case name == "#EXT-X-PART":
			_, rest, _ := strings.Cut(value, `URI="`)
			q := part{segment: p.sequence + uint64(len(p.segments)), independent: strings.Contains(value, "INDEPENDENT=YES")}
			q.uri, _, _ = strings.Cut(rest, `"`)
			if n := len(p.parts); n > 0 && p.parts[n-1].segment == q.segment {
				q.number = p.parts[n-1].number + 1
			}
			p.parts = append(p.parts, q)
		case line == "" || line[0] == '#':
		case master:
			if p.variant == "" {
				p.variant = line
			}
		default:
			p.segments = append(p.segments, line)
		}
	}
	if first {
		return p, errors.New("this is no playlist")
	}
	return p, lines.Err()
}

// playHLS plays on one connection: the newest segment first, then each that
// comes.
func playHLS(ctx context.Context, v *viewer) error {
	transport := &http.Transport{DialContext: v.dial, MaxIdleConnsPerHost: 1, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: setupTimeout}
	at, err := url.Parse(v.url)
	if err != nil {
		return err
	}
	var next uint64
	init := ""
	for {
		p, where, err := v.playlist(ctx, client, at)
		if err != nil {
			return err
		}
		at = where
		v.gap.Store(int64(2 * p.target))
		if v.run.Low && p.blocks && len(p.parts) > 0 {
			return v.playParts(ctx, client, at, p)
		}
		last := p.sequence + uint64(len(p.segments))
		if next == 0 && len(p.segments) > 0 || next > last {
			next = max(last, 1) - 1 // begin, also when a server began again
		}
		news := false
		for i, segment := range p.segments {
			if p.sequence+uint64(i) < next {
				continue
			}
			if p.init != "" && p.init != init {
				if _, err := v.get(ctx, client, at, p.init, false); err != nil {
					return err
				}
				init = p.init
			}
			if err := v.segment(ctx, client, at, segment); err != nil {
				return err
			}
			next, news = p.sequence+uint64(i)+1, true
		}
		if p.end {
			return errors.New("the server ended the stream")
		}
		wait := p.target / 4
		if news {
			wait = p.target / 2
		}
		select {
		case <-time.After(max(100*time.Millisecond, wait)):
		case <-ctx.Done():
			return nil
		}
	}
}

// playParts plays a stream of low latency from the newest part on with which decoding can
// begin: it asks for the playlist that has the next part, which the server answers when
// there is one.
func (v *viewer) playParts(ctx context.Context, client *http.Client, at *url.URL, p playlist) error {
	next := p.parts[0]
	for _, q := range p.parts {
		if q.independent {
			next = q
		}
	}
	if p.init != "" {
		if _, err := v.get(ctx, client, at, p.init, false); err != nil {
			return err
		}
	}
	behind := func(q part) bool {
		return q.segment < next.segment || q.segment == next.segment && q.number < next.number
	}
	query := at.Query()
	for ctx.Err() == nil {
		for _, q := range p.parts {
			if behind(q) {
				continue
			}
			if err := v.segment(ctx, client, at, q.uri); err != nil {
				return err
			}
			next = part{segment: q.segment, number: q.number + 1}
		}
		if whole := p.sequence + uint64(len(p.segments)); next.segment < whole {
			next = part{segment: whole} // the parts of that one were all
		}
		query.Set("_HLS_msn", strconv.FormatUint(next.segment, 10))
		query.Set("_HLS_part", strconv.Itoa(next.number))
		query.Set("_HLS_skip", "YES")
		b, err := v.get(ctx, client, at, "?"+query.Encode(), true)
		if err != nil {
			return err
		}
		if p, err = parsePlaylist(string(b)); err != nil {
			return err
		}
	}
	return nil
}

// playlist fetches a media playlist and says where it lies, which the address of
// a master playlist is not. What is not there yet is waited for.
func (v *viewer) playlist(ctx context.Context, client *http.Client, at *url.URL) (playlist, *url.URL, error) {
	for masters := 0; ; {
		b, err := v.get(ctx, client, at, "", true)
		if err != nil {
			if v.first.Load() != 0 || time.Since(v.began) > setupTimeout || ctx.Err() != nil {
				return playlist{}, at, err
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		p, err := parsePlaylist(string(b))
		if err != nil || p.variant == "" {
			return p, at, err
		}
		if masters++; masters > 4 {
			return p, at, errors.New("the playlists go in a circle")
		}
		if at, err = at.Parse(p.variant); err != nil {
			return p, at, err
		}
	}
}

// segment fetches one; a probe looks for its pictures.
func (v *viewer) segment(ctx context.Context, client *http.Client, at *url.URL, uri string) error {
	b, err := v.get(ctx, client, at, uri, v.probe)
	if err != nil {
		return err
	}
	v.started()
	now := time.Now().UnixNano()
	v.alive(now)
	for {
		_, sent, rest, ok := nextStamp(b)
		if !ok {
			return nil
		}
		b = rest
		v.frames.Add(1)
		if v.run.recording.Load() {
			v.run.delay(now - sent)
			v.seen.Add(1)
			v.from.CompareAndSwap(0, sent)
			v.till.Store(sent)
		}
	}
}

// get fetches what an address means beside another, and keeps the bytes if they
// are wanted.
func (v *viewer) get(ctx context.Context, client *http.Client, at *url.URL, uri string, keep bool) ([]byte, error) {
	to, err := at.Parse(uri)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", to.Path, res.Status)
	}
	body := io.LimitReader(res.Body, maxSegment)
	if keep {
		return io.ReadAll(body)
	}
	_, err = io.Copy(io.Discard, body)
	return nil, err
}
