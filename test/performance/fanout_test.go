package performance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"
	samples "github.com/pion/webrtc/v4/pkg/media"

	"weir/internal/format/flv"
	link "weir/internal/link/rtmp"
	"weir/internal/media/h264"
	"weir/internal/media/nal"
	"weir/internal/wire/rtmp"
)

// fanOutEnv has this program be the fan-out of pion/webrtc that weir is measured
// beside: its value is the address to listen at, a space, and the RTMP address to play.
const fanOutEnv = "WEIR_TEST_FANOUT"

func TestMain(m *testing.M) {
	var listen, source string
	if n, _ := fmt.Sscan(os.Getenv(fanOutEnv), &listen, &source); n == 2 {
		fmt.Fprintln(os.Stderr, fanOut(listen, source))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// fanOut is a server as pion's users write it: one track for all, which pion cuts into
// packets once, and a peer connection with the default interceptors for each viewer. It
// has the picture of a stream of RTMP, and answers WHEP.
func fanOut(listen, source string) error {
	track, err := pion.NewTrackLocalStaticSample(pion.RTPCodecCapability{MimeType: pion.MimeTypeH264}, "video", "pion")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- feed(source, track) }()
	var engine pion.SettingEngine
	engine.SetIncludeLoopbackCandidate(true)
	engine.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeUDP4})
	api := pion.NewAPI(pion.WithSettingEngine(engine))
	var mu sync.Mutex
	peers := map[string]*pion.PeerConnection{}
	http.HandleFunc("POST /whep", func(w http.ResponseWriter, r *http.Request) {
		offer, _ := io.ReadAll(r.Body)
		pc, err := api.NewPeerConnection(pion.Configuration{})
		if err == nil {
			err = answer(pc, track, string(offer))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		name := strconv.Itoa(len(peers))
		peers[name] = pc
		mu.Unlock()
		w.Header().Set("Location", "/whep/"+name)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, pc.LocalDescription().SDP)
	})
	http.HandleFunc("DELETE /whep/{name}", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		pc := peers[r.PathValue("name")]
		mu.Unlock()
		if pc != nil {
			pc.Close()
		}
	})
	go func() { failed <- http.Serve(l, nil) }()
	return <-failed
}

// answer has a viewer be sent the track.
func answer(pc *pion.PeerConnection, track pion.TrackLocal, offer string) error {
	sender, err := pc.AddTrack(track)
	if err != nil {
		return err
	}
	go func() { // interceptors see only what is read
		b := make([]byte, 1500)
		for {
			if _, _, err := sender.Read(b); err != nil {
				return
			}
		}
	}()
	if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeOffer, SDP: offer}); err != nil {
		return err
	}
	a, err := pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	gathered := pion.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(a); err != nil {
		return err
	}
	<-gathered
	return nil
}

// feed plays a stream of RTMP and writes its picture to the track.
func feed(source string, track *pion.TrackLocalStaticSample) error {
	c, err := link.Dial(context.Background(), source, link.DialOptions{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	if err := c.Play(); err != nil {
		return err
	}
	var conf h264.Config
	for {
		m, err := c.ReadMessage(0)
		if err != nil {
			return err
		}
		if m.Type != rtmp.TypeVideo {
			continue
		}
		parts, err := flv.ParseVideo(nil, m.Payload)
		if err != nil || len(parts) == 0 {
			continue
		}
		switch p := parts[0]; p.Type {
		case flv.Sequence:
			if conf, err = h264.ParseConfig(p.Payload); err != nil {
				return err
			}
		case flv.Coded:
			var b []byte
			if p.Frame.Key() {
				for _, set := range append(append([][]byte(nil), conf.SPS...), conf.PPS...) {
					b = append(append(b, 0, 0, 0, 1), set...)
				}
			}
			if b, err = nal.AppendAnnexB(b, p.Payload, conf.LengthSize); err != nil {
				return err
			}
			if err := track.WriteSample(samples.Sample{Data: b, Duration: 40 * time.Millisecond}); err != nil {
				return err
			}
		}
	}
}
