package rtmp

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/control/auth"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

const (
	// publishing as FMLE does (ffmpeg, OBS), as Flash, and as Haivision.
	fmle = `
		p: connect rtmp://127.0.0.1/live
		p: > accepted
		p: releaseStream 2 s
		p: FCPublish 3 s
		p: createStream 4
		p: _checkbw 5
		p: > _result 2 {}
		p: > _result 3 {}
		p: > _result 4 1
		p: > _result 5 <nil>
		p: publish 6 s live
		p: > onFCPublish 0 NetStream.Publish.Start Started publishing stream.
		p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
	`
	flash = `
		p: connect rtmp://127.0.0.1/live
		p: > accepted
		p: createStream 2
		p: > _result 2 1
		p: publish 3 s live
		p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
	`
	play = `
		v: connect rtmp://127.0.0.1/live
		v: > accepted
		v: createStream 2
		v: > _result 2 1
		v: play 3 s
		v: > begin 1
		v: > onStatus 0 NetStream.Play.Reset Playing and resetting stream.
		v: > onStatus 0 NetStream.Play.Start Started playing stream.
		v: > data |RtmpSampleAccess
	`
)

// pausing is a player that pauses, and then goes on where it stopped.
const pausing = flash + `
		p: headers
		p: frames 1
		` + play + `
		v: > skip key 0
		v: pause 4 true 1000
		v: > onStatus 0 NetStream.Pause.Notify Paused stream.
		v: > eof 1
		v: wait 50
		p: frames 3
		v: > silence
		v: pause 5 false 1000
		v: > onStatus 0 NetStream.Unpause.Notify Unpaused stream.
		v: > begin 1
		v: > video 40
		v: > video 80
		v: > video 120
		v: > silence
`

// However a player is sent to, its pause is as in SRS.
func TestPause(t *testing.T) {
	for _, how := range protocoltest.Senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			run(t, protocoltest.Open(t, protocoltest.Options{Protocol: Protocol}), pausing)
		})
	}
}

// A publisher that does not read what it is answered holds up nobody else, although one
// goroutine reads for all of them.
func TestDeafPublisher(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: "publish { mr on; mr_latency 20; }"})
	run(t, h, strings.NewReplacer("p: ", "deaf: ", " s ", " other ").Replace(flash)+`
		deaf: headers
		deaf: frames 1
		deaf: pings 100
		p: wait 1500
		`+flash+play+`
		p: headers
		p: frames 1
		v: > skip key 0
		p: wait 200
		p: frames 3
		v: > video 40
		v: > video 80
		v: > video 120
	`)
}

// TestFlows holds conversations as SRS has them, where a client can rely on
// them; a refusal is told in words, where SRS closes without one.
func TestFlows(t *testing.T) {
	for _, c := range []struct {
		name, root, vhost, script string
	}{
		{"FMLE", "", "", fmle + `
			p: meta
			p: headers
			p: frames 3
			p: FCUnpublish 7 s
			p: > onFCUnpublish 0 NetStream.Unpublish.Success Stop publishing stream.
			p: > _result 7 {}
			p: > onStatus 0 NetStream.Unpublish.Success Stream is now unpublished
			p: deleteStream 8 1
			p: > _result 8 <nil>
			p: > silence
		`},
		{"FMLE publishes again on one connection", "", "", fmle + `
			p: FCUnpublish 7 s
			p: > onFCUnpublish 0 NetStream.Unpublish.Success Stop publishing stream.
			p: > _result 7 {}
			p: > onStatus 0 NetStream.Unpublish.Success Stream is now unpublished
			p: releaseStream 8 s
			p: FCPublish 9 s
			p: createStream 10
			p: > _result 8 {}
			p: > _result 9 {}
			p: > _result 10 1
			p: publish 11 s live
			p: > onFCPublish 0 NetStream.Publish.Start Started publishing stream.
			p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
			` + play + `
			p: headers
			p: frames 1
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
		`},
		{"Flash, closeStream, then the same name by another", "", "", flash + `
			p: headers
			p: frames 1
			p: closeStream 0
			p: deleteStream 0 1
			p: > _result 0 <nil>
			q: connect rtmp://127.0.0.1/live
			q: > accepted
			q: publish 3 s live
			q: > onStatus 0 NetStream.Publish.Start Started publishing stream.
		`},
		{"Haivision", "", "", `
			p: connect rtmp://127.0.0.1/live
			p: > accepted
			p: createStream 2
			p: FCPublish 3 s
			p: > _result 2 1
			p: > _result 3 {}
			p: publish 4 s live
			p: > onFCPublish 0 NetStream.Publish.Start Started publishing stream.
			p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
		`},
		{"busy, in both flows", "", "", fmle + `
			q: connect rtmp://127.0.0.1/live
			q: > accepted
			q: releaseStream 2 s
			q: FCPublish 3 s
			q: createStream 4
			q: > _result 2 {}
			q: > _result 3 {}
			q: > _result 4 1
			q: publish 5 s live
			q: > onStatus 0 error NetStream.Publish.BadName Stream is already being published.
			q: > closed
			r: connect rtmp://127.0.0.1/live
			r: > accepted
			r: publish 3 s live
			r: > onStatus 0 error NetStream.Publish.BadName Stream is already being published.
			r: > closed
			p: headers
			p: frames 2
			p: > silence
		`},
		{"a player finds the key frame, metadata and headers", "", "", fmle + `
			p: meta
			p: headers
			p: frames 27
			server: has 27
			` + play + `
			v: > data onMetaData
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
			v: > video 40
			v: > silence
		`},
		{"no GOP cache", "", "play { gop_cache off; }", fmle + `
			p: headers
			p: frames 24
			server: has 24
			` + play + `
			v: > silence
			p: frames 3
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
			v: > video 40
			v: > silence
		`},
		{"atc gives the publisher's time", "", "play { atc on; }", fmle + `
			p: headers
			p: frames 26
			server: has 26
			` + play + `
			v: > audio sh 1000
			v: > video sh 1000
			v: > key 1000
		`},
		{"atc_auto gives it if the publisher asks for that", "", "play { atc_auto on; }", fmle + `
			p: meta bravo_atc
			p: headers
			p: frames 26
			server: has 26
			` + play + `
			v: > data onMetaData
			v: > audio sh 1000
			v: > video sh 1000
			v: > key 1000
		`},
		{"atc_auto does nothing else", "", "play { atc_auto on; }", fmle + `
			p: meta
			p: headers
			p: frames 26
			server: has 26
			` + play + `
			v: > data onMetaData
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
		`},
		{"a player of what nobody publishes waits", "", "", play + `
			v: > silence
			` + flash + `
			p: headers
			p: frames 1
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
		`},
		{"a player hears nothing when the publisher leaves, and goes on with the next", "", "", flash + `
			p: headers
			p: frames 2
			` + play + `
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
			v: > video 40
			p: closeStream 0
			v: > silence
			p: publish 4 s live
			p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
			p: headers
			p: frames 1  # not a key frame
			v: > silence
			p: frames 22
			v: > silence
			p: frames 1
			v: > audio sh 970  # its time goes on: 50 ms until now, 23 frames since
			v: > video sh 970
			v: > key 970
		`},
		{"pause and resume", "", "", pausing},
		{"closeStream, and play again", "", "", flash + `
			p: headers
			p: frames 2
			` + play + `
			v: > skip video 40
			v: closeStream 7
			v: createStream 8
			v: > _result 8 1
			p: frames 1
			v: > silence
			v: play 9 s
			v: > begin 1
			v: > onStatus 0 NetStream.Play.Reset Playing and resetting stream.
			v: > onStatus 0 NetStream.Play.Start Started playing stream.
			v: > data |RtmpSampleAccess
			v: > audio sh 0
			v: > video sh 0
			v: > key 0
			v: > video 40
			v: > video 80
			v: deleteStream 10 1
			v: > _result 10 <nil>
			v: > silence
		`},
		{"play duration", "", "", flash + `
			p: headers
			p: frames 60
			v: connect rtmp://127.0.0.1/live
			v: > accepted
			v: play 3 s -2000 300
			v: > skip onStatus 0 NetStream.Play.Complete Play duration is over.
			v: > closed
		`},
		{"empty name", "", "", `
			p: connect rtmp://127.0.0.1/live
			p: > accepted
			p: publish 3 "" live
			p: > onStatus 0 error NetStream.Publish.BadName Stream name is empty.
			p: > closed
			v: connect rtmp://127.0.0.1/live
			v: > accepted
			v: play 3 ""
			v: > onStatus 0 error NetStream.Play.StreamNotFound Stream name is empty.
			v: > closed
		`},
		{"disabled vhost", "", "", `
			v: connect rtmp://off.test/live
			v: > accepted
			v: createStream 2
			v: > _result 2 1
			v: play 3 s
			v: > onStatus 0 error NetConnection.Connect.Rejected No such vhost.
			v: > closed
		`},
		{"security denies", "", "security { enabled on; deny publish all; deny play all; }", `
			p: connect rtmp://127.0.0.1/live
			p: > accepted
			p: publish 3 s live
			p: > onStatus 0 error NetStream.Publish.Denied Access denied.
			p: > closed
			v: connect rtmp://127.0.0.1/live
			v: > accepted
			v: play 3 s
			v: > onStatus 0 error NetStream.Play.Failed Access denied.
			v: > closed
		`},
		{"refer", "", "refer { enabled on; all github.com; }", `
			a: connect rtmp://127.0.0.1/live
			a: > accepted
			a: play 3 s
			a: > onStatus 0 error NetStream.Play.Failed Access denied.
			a: > closed
			b: connect rtmp://127.0.0.1/live http://evil.com/
			b: > accepted
			b: publish 3 s live
			b: > onStatus 0 error NetStream.Publish.Denied Access denied.
			b: > closed
			c: connect rtmp://127.0.0.1/live http://www.github.com:8080/x
			c: > accepted
			c: play 3 s
			c: > begin 1
		`},
		{"chunk_size and windows of the vhost", "", "chunk_size 4096; in_ack_size 20000; out_ack_size 200000;", `
			p: connect rtmp://127.0.0.1/live
			p: > window 200000
			p: > bandwidth 2500000
			p: > chunks 4096
			p: > _result 1 NetConnection.Connect.Success Connection succeeded
			p: > onBWDone 0
			p: publish 3 s live
			p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
			p: headers
			p: frames 200
			p: > ack
		`},
		{"the client's own window", "", "", `
			p: window 1000
			p: connect rtmp://127.0.0.1/live
			p: > ack  # the handshake counts
			p: > accepted
			p: publish 3 s live
			p: > onStatus 0 NetStream.Publish.Start Started publishing stream.
			p: headers
			p: frames 20
			p: > ack
		`},
		{"no media", "", "publish { firstpkt_timeout 300; normal_timeout 200; }", flash + `
			p: > closed
			` + "q: connect rtmp://127.0.0.1/live\nq: > accepted\nq: publish 3 s live\nq: > onStatus 0 NetStream.Publish.Start Started publishing stream." + `
			q: headers
			q: frames 1
			q: wait 100
			q: frames 1
			q: > closed
		`},
		{"kickoff_for_idle", "", "publish { kickoff_for_idle 2; }", flash + `
			p: headers
			p: frames 1
			p: wait 700
			p: frames 1
			p: > silence
			p: wait 600
			p: frames 1
			p: wait 1100
			p: frames 1
			p: > closed
		`},
		{"kickoff_for_idle and a viewer", "", "publish { kickoff_for_idle 1; }", flash + play + `
			p: headers
			p: frames 1
			p: wait 1100
			p: frames 1
			p: wait 1100
			p: frames 1
			p: > silence
		`},
		{"max_connections", "max_connections 1;", "", flash + `
			q: connect rtmp://127.0.0.1/live
			q: > _error 1 error NetConnection.Connect.Rejected Server is full.
			q: > closed
			p: headers
			p: frames 1
			p: > silence
		`},
		{"a name that is not usable", "", "", `
			p: connect rtmp://127.0.0.1/live
			p: > accepted
			p: publish 3 .. live
			p: > onStatus 0 error NetStream.Publish.BadName Stream name is not usable.
			p: > closed
		`},
		{"no tcUrl", "", "", `
			p: connect ""
			p: > _error 1 error NetConnection.Connect.Rejected tcUrl is missing
			p: > closed
		`},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Whose times begin at zero exactly; those of send loops begin near it.
			t.Setenv("WEIR_SENDER", "goroutine")
			p := Protocol
			p.Conf = append(p.Conf[:len(p.Conf):len(p.Conf)], blocks.Security, blocks.Refer)
			h := protocoltest.Open(t, protocoltest.Options{Protocol: p, Root: c.root, Vhost: c.vhost, Authorize: rules})
			run(t, h, c.script)
		})
	}
}

// rules are the access rules of the configuration, as the server hangs them on
// the desk.
func rules(conf *config.Store) session.Authorizer {
	return &auth.Auth{
		Security: func(vhost string) auth.Security {
			v, _ := conf.Load().Vhost(vhost)
			c := blocks.Security.Of(v)
			s := auth.Security{On: c.Enabled}
			for _, r := range c.Rules {
				if rule, err := auth.Parse(r.Name, r.Args); err == nil {
					s.Rules = append(s.Rules, rule)
				}
			}
			return s
		},
		Refer: func(vhost string) auth.Refer {
			v, _ := conf.Load().Vhost(vhost)
			c := blocks.Refer.Of(v)
			return auth.Refer{On: c.Enabled, All: c.All, Publish: c.Publish, Play: c.Play}
		},
	}
}

// A callback that is slow to answer delays its own client alone, and holds no
// name: another may publish it in the meantime, and the first is then busy.
func TestSlowAuthorizerHoldsNoName(t *testing.T) {
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	var others atomic.Bool
	h := ask(t, func(ctx context.Context, r *session.Request) error {
		if r.Act != session.Publish || others.Swap(true) {
			return nil
		}
		asked <- struct{}{}
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	slow := newTalker(t, h)
	slow.say("connect rtmp://127.0.0.1/live")
	slow.say("publish 3 s live")
	<-asked
	began := time.Now()
	run(t, h, fmle)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the other client was kept waiting for %v", took)
	}
	name := protocoltest.Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}
	h.Wait("the other client has left", func() bool { return h.Doing(session.Publish, name) == nil })
	run2 := newTalker(t, h)
	run2.say("connect rtmp://127.0.0.1/live")
	run2.say("publish 3 s live")
	for got := ""; got != "onStatus 0 NetStream.Publish.Start Started publishing stream."; {
		if got = run2.hear(20 * time.Second); got == "closed" || got == "silence" {
			t.Fatalf("the third client heard %q", got)
		}
	}
	close(answer)
	for got := ""; got != "onStatus 0 error NetStream.Publish.BadName Stream is already being published."; {
		if got = slow.hear(20 * time.Second); got == "closed" || got == "silence" {
			t.Fatalf("the slow client heard %q", got)
		}
	}
}

// A client that goes while a callback thinks ends that question.
func TestLeavingEndsTheQuestion(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan error, 1)
	h := ask(t, func(ctx context.Context, r *session.Request) error {
		if r.Act != session.Play {
			return nil
		}
		close(asked)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return context.Cause(ctx)
	})
	k := newTalker(t, h)
	k.say("connect rtmp://127.0.0.1/live")
	k.say("play 3 s")
	<-asked
	for s := range h.Env.Desk.Sessions() {
		s.Kick(session.ErrKicked)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, session.ErrKicked) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the question goes on after the client was ended")
	}
}

// ask opens a house in which f is asked.
func ask(t *testing.T, f authorizer) *protocoltest.House {
	t.Helper()
	return protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Authorize: func(*config.Store) session.Authorizer { return f }})
}

type authorizer func(ctx context.Context, r *session.Request) error

func (f authorizer) Authorize(ctx context.Context, r *session.Request) error { return f(ctx, r) }

// A fault of ours that one client brings out ends that client and no other.
func TestFaultEndsOneSession(t *testing.T) {
	h := ask(t, func(_ context.Context, r *session.Request) error {
		if r.Ask.Key.Stream == "boom" && r.Act == session.Publish {
			panic("boom")
		}
		return nil
	})
	run(t, h, fmle+`
		q: connect rtmp://127.0.0.1/live
		q: > accepted
		q: publish 3 boom live
		q: > closed
		p: headers
		p: frames 1
		p: > silence
	`)
	h.Wait("all have left", func() bool { n, _ := h.Env.Desk.Len(); return n == 0 })
}
