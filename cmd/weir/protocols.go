package main

import (
	"weir/internal/cluster/edge"
	"weir/internal/cluster/forward"
	"weir/internal/cluster/origin"
	"weir/internal/process"
	"weir/internal/protocol/caster"
	"weir/internal/protocol/dash"
	"weir/internal/protocol/dvr"
	"weir/internal/protocol/hds"
	"weir/internal/protocol/hls"
	"weir/internal/protocol/httplive"
	"weir/internal/protocol/rtmp"
	"weir/internal/protocol/rtsp"
	"weir/internal/protocol/slate"
	"weir/internal/protocol/srt"
	"weir/internal/protocol/static"
	"weir/internal/protocol/thumbnail"
	"weir/internal/protocol/webrtc"
	"weir/internal/service"
)

// protocols are the ways in and out of this server.
var protocols = []service.Protocol{
	httplive.Protocol,
	hls.Protocol,
	dash.Protocol,
	hds.Protocol,
	dvr.Protocol,
	thumbnail.Protocol,
	edge.Protocol,
	forward.Protocol,
	process.Protocol,
	origin.Protocol,
	static.Protocol,
	rtmp.Protocol,
	rtsp.Protocol,
	caster.Protocol,
	webrtc.Protocol,
	srt.Protocol,
	slate.Protocol,
}
