package rtmp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/amf"
	"weir/internal/wire/rtmp"
)

// dialTo dials a server that runs f behind a pipe.
func dialTo(t *testing.T, ctx context.Context, o DialOptions, f func(c *Conn, info rtmp.ConnectInfo) error) (*Client, error) {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	o.Dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		wg.Go(func() {
			c := NewConn(t.Context(), far, Options{})
			defer c.Close()
			info, err := c.Open()
			if err == nil {
				err = f(c, info)
			}
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, context.Canceled) {
				t.Errorf("server: %v", err)
			}
		})
		return near, nil
	}
	return Dial(ctx, "rtmp://h:1936/live/s?token=1", o)
}

func accept(c *Conn) error {
	return c.Accept(rtmp.Reply{Identity: rtmp.Identity{ID: "abc"}, Capabilities: rtmp.Capabilities{FourCCs: []string{"*"}}})
}

func TestClientPublishes(t *testing.T) {
	for _, o := range []DialOptions{
		{},
		{FMLE: true},
		{Schema: rtmp.KeyFirst},
		{Schema: rtmp.DigestFirst, FMLE: true, Args: amf.Object{{Key: "srs_id", Value: "x"}}, Capabilities: rtmp.Capabilities{Has: true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []rtmp.Message
			var flow rtmp.Flow
			c, err := dialTo(t, t.Context(), o, func(c *Conn, info rtmp.ConnectInfo) error {
				if info.TcURL != "rtmp://h:1936/live" || info.App != "live" || len(info.Args) != len(o.Args) || c.Schema() != o.Schema {
					t.Errorf("connect %+v, schema %d", info, c.Schema())
				}
				if err := accept(c); err != nil {
					return err
				}
				w, err := c.ReadWish(time.Minute)
				if err != nil {
					return err
				}
				if flow = w.Flow; !w.Publish || w.Name != "s?token=1" {
					t.Errorf("wish %+v", w)
				}
				if err := c.StartPublish(); err != nil {
					return err
				}
				for {
					m, err := c.ReadMedia(time.Minute)
					if err == ErrEnded {
						return nil
					}
					if err != nil {
						return err
					}
					got = append(got, m)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if id := c.Server().Text("srs_id"); id != "abc" {
				t.Errorf("server is %q", id)
			}
			known := c.Capabilities()
			if known.Knows("hvc1") != o.Capabilities.Has {
				t.Errorf("capabilities %+v", known)
			}
			if err := c.Publish(); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { c.Drain() })
			for i := range uint32(100) {
				typ := []rtmp.MessageType{rtmp.TypeAudio, rtmp.TypeVideo, rtmp.TypeDataAMF0}[i%3]
				if err := c.WriteMessage(typ, i*1000000, []byte{byte(i)}, make([]byte, i*100)); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			wg.Wait()
			synctest.Wait()
			if len(got) != 100 || (flow == rtmp.FMLE) != o.FMLE {
				t.Fatalf("%d messages in flow %v", len(got), flow)
			}
			for i, m := range got {
				if m.Timestamp != uint32(i)*1000000 || len(m.Payload) != 1+i*100 || m.Payload[0] != byte(i) {
					t.Errorf("message %d: %v at %d, %d bytes", i, m.Type, m.Timestamp, len(m.Payload))
				}
			}
		})
	}
}

func TestClientPlays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended error
		c, err := dialTo(t, t.Context(), DialOptions{}, func(c *Conn, _ rtmp.ConnectInfo) error {
			accept(c)
			if _, err := c.ReadWish(time.Minute); err != nil {
				return err
			}
			c.StartPlay()
			c.Ping(1)
			var b []byte
			for i := range uint32(10) {
				b = rtmp.AppendMessage(b, rtmp.Message{Type: rtmp.TypeVideo, CSID: 6, StreamID: 1, Timestamp: i, Payload: []byte{1}}, c.ChunkSize())
			}
			// A pipe holds nothing, so whoever writes needs somebody to read.
			done := make(chan struct{})
			go func() { c.Write(b); close(done) }()
			for {
				e, err := c.ReadControl(0)
				if err != nil {
					return err
				}
				if e.Kind == rtmp.Pong {
					break
				}
			}
			<-done
			return c.Status(rtmp.Status{Level: "status", Code: rtmp.PlayUnpublishNotify, Description: "bye"})
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Play(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			m, err := c.ReadMessage(time.Minute)
			if err != nil {
				ended = err
				break
			}
			if m.Type == rtmp.TypeVideo {
				n++
			}
		}
		var status *StatusError
		if !errors.As(ended, &status) || status.Code != rtmp.PlayUnpublishNotify || n != 10 {
			t.Errorf("%d messages, then %v", n, ended)
		}
	})
}

func TestClientIsRefused(t *testing.T) {
	wish := func(answer func(c *Conn) error) func(c *Conn, _ rtmp.ConnectInfo) error {
		return func(c *Conn, _ rtmp.ConnectInfo) error {
			accept(c)
			if _, err := c.ReadWish(time.Minute); err != nil {
				return err
			}
			return answer(c)
		}
	}
	for _, c := range []struct {
		name, code, redirect string
		server               func(c *Conn, _ rtmp.ConnectInfo) error
	}{
		{"connect", rtmp.ConnectRejected, "", func(c *Conn, _ rtmp.ConnectInfo) error { return c.Reject(rtmp.ConnectRejected, "no such vhost") }},
		{"publish", rtmp.PublishBadName, "", wish(func(c *Conn) error { return c.Refuse(rtmp.PublishBadName, "busy") })},
		{"redirect", rtmp.ConnectRejected, "rtmp://other/live/s", wish(func(c *Conn) error { return c.Redirect("rtmp://other/live", "rtmp://other/live/s") })},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := dialTo(t, t.Context(), DialOptions{FMLE: true}, c.server)
				if err == nil {
					defer client.Close()
					err = client.Publish()
				}
				var status *StatusError
				if !errors.As(err, &status) || status.Code != c.code || status.Redirect != c.redirect {
					t.Fatalf("error %v, want %s and redirect %q", err, c.code, c.redirect)
				}
				if !strings.Contains(err.Error(), c.code) {
					t.Errorf("text %q does not name the code", err)
				}
			})
		})
	}
}

func TestClientTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := Dial(t.Context(), "rtmp://h/live/s", DialOptions{Timeout: 3 * time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				go io.Copy(io.Discard, far)
				return near, nil
			}})
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errKicked) })
		c, err := dialTo(t, ctx, DialOptions{}, func(c *Conn, _ rtmp.ConnectInfo) error {
			accept(c)
			_, err := c.ReadWish(0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Drain(); !errors.Is(err, errKicked) {
			t.Errorf("error %v", err)
		}
	})
}

func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := dialTo(t, t.Context(), DialOptions{}, func(c *Conn, _ rtmp.ConnectInfo) error {
			accept(c)
			c.Command("start", 0, nil, amf.Object{{Key: "ms", Value: 3000}})
			reply, err := c.ReadCommand(time.Minute)
			if reply.Name != "starting" {
				t.Errorf("client said %+v", reply)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for {
			call, err := c.ReadCommand(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if call.Name == "start" {
				break
			}
		}
		if err := c.Command("starting", 0, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	})
}

func TestDialRefusesOtherAddresses(t *testing.T) {
	for _, s := range []string{"http://h/live/s", "live/s", "rtmp://h:x/live/s"} {
		if _, err := Dial(t.Context(), s, DialOptions{}); err == nil {
			t.Errorf("%s was dialled", s)
		}
	}
}
