"""GStreamer's webrtcbin as a client of WHIP and WHEP.

  webrtc.py publish URL CODEC           publishes a ball and a tone until it is ended
  webrtc.py play URL CODECS FRAMES      decodes so many frames, and sound, and tells of them

CODEC is h264 or h265; CODECS may be h264+opus, h265+opus, h264, h264-mode0 (packetization
mode 0) or opus. What is told is one line of JSON.
"""
import json
import sys
import threading
import urllib.error
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

PATIENCE = 40  # seconds to play
SEND = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 aggregate-mode=zero-latency",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph265pay config-interval=-1",
}
VIDEO = "application/x-rtp,media=video,clock-rate=90000,payload=96,encoding-name="
AUDIO = "application/x-rtp,media=audio,clock-rate=48000,payload=97,encoding-name=OPUS"


class Client:
    def __init__(self, pipeline, url):
        self.url, self.loop, self.status = url, GLib.MainLoop(), 0
        self.asked = False
        self.pipeline = pipeline
        self.rtc = pipeline.get_by_name("rtc")
        self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.agent = self.rtc.get_property("ice-agent")  # it lives no longer than this
        self.agent.emit("add-local-ip-address", "127.0.0.1")
        self.rtc.connect("on-negotiation-needed", self.negotiate)
        self.rtc.connect("notify::ice-gathering-state", self.gathered)
        bus = pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, m: self.end(1, m.parse_error()))

    def end(self, status, why=None):
        if why:
            print(why, file=sys.stderr)
        self.status = self.status or status
        GLib.idle_add(self.loop.quit)

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return self.status

    def negotiate(self, rtc):
        rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None, None))

    def offered(self, promise, *_):
        reply = promise.get_reply()  # the offer lives no longer than this
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())

    def gathered(self, rtc, _):
        if rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE and not self.asked:
            self.asked = True
            threading.Thread(target=self.ask, daemon=True).start()

    def ask(self):
        text = self.rtc.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(self.url, text.encode(), {"Content-Type": "application/sdp"})
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                answer = reply.read().decode()
        except urllib.error.HTTPError as e:
            return self.end(1, "%s: %s" % (e, e.read()))
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.rtc.emit("set-remote-description", description, Gst.Promise.new())


def publish(url, codec):
    video = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 ! " + SEND[codec]
    audio = "audiotestsrc is-live=true freq=500 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay"
    pipeline = Gst.parse_launch("webrtcbin name=rtc %s ! %s ! rtc. %s ! %s ! rtc." % (video, VIDEO + codec.upper(), audio, AUDIO))
    return Client(pipeline, url).run()


CAPS = {
    "h264": VIDEO + "H264",
    "h265": VIDEO + "H265",
    "h264-mode0": VIDEO + "H264,packetization-mode=(string)0",
    "opus": AUDIO,
}


def play(url, codecs, frames):
    pipeline = Gst.Pipeline.new()
    pipeline.add(Gst.ElementFactory.make("webrtcbin", "rtc"))
    client = Client(pipeline, url)
    for codec in codecs.split("+"):
        client.rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(CAPS[codec]))
    most = {"frames": frames if "h26" in codecs else 0, "sounds": frames if "opus" in codecs else 0}
    seen = {"frames": 0, "sounds": 0, "peak": 0, "size": ""}

    def shown(_, buffer, pad):
        caps = pad.get_current_caps().get_structure(0)
        if caps.get_name() == "video/x-raw":
            seen["frames"] += 1
            seen["size"] = "%dx%d" % (caps.get_value("width"), caps.get_value("height"))
        else:
            seen["sounds"] += 1
            ok, data = buffer.map(Gst.MapFlags.READ)
            if ok:
                seen["peak"] = max(seen["peak"], max(abs(x) for x in memoryview(data.data).cast("h")[:200]))
                buffer.unmap(data)
        if all(seen[what] >= n for what, n in most.items()):
            client.end(0)

    def decoded(_, pad):
        picture = pad.query_caps(None).get_structure(0).get_name().startswith("video")
        text = "queue ! videoconvert ! " if picture else "queue ! audioconvert ! audio/x-raw,format=S16LE ! "
        sink = Gst.parse_bin_from_description(text + "fakesink name=sink sync=false signal-handoffs=true", True)
        sink.get_by_name("sink").connect("handoff", shown)
        client.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def added(_, pad):
        if pad.get_direction() == Gst.PadDirection.SRC:
            decoder = Gst.ElementFactory.make("decodebin")
            decoder.connect("pad-added", decoded)
            client.pipeline.add(decoder)
            decoder.sync_state_with_parent()
            pad.link(decoder.get_static_pad("sink"))

    client.rtc.connect("pad-added", added)
    GLib.timeout_add_seconds(PATIENCE, lambda: client.end(1, "only %s in %d s" % (seen, PATIENCE)))
    status = client.run()
    print(json.dumps(seen))
    return status


if __name__ == "__main__":
    Gst.init(None)
    if sys.argv[1] == "publish":
        sys.exit(publish(*sys.argv[2:4]))
    sys.exit(play(sys.argv[2], sys.argv[3], int(sys.argv[4])))
