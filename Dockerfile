# weir in the place of SRS's own image: same folder, environment, ports, command.
#
#   docker build -t weir .                        the server alone
#   docker build -t weir:ffmpeg --target ffmpeg . with ffmpeg where conf/ looks for it
#   docker run --rm -p 1935:1935 -p 1985:1985 -p 8080:8080 weir
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /weir ./cmd/weir && \
    sh packaging/layout.sh /usr/local/srs /weir

FROM debian:bookworm-slim AS base
WORKDIR /usr/local/srs
COPY --from=build /usr/local/srs /usr/local/srs
ENV SRS_DAEMON=off SRS_IN_DOCKER=on
EXPOSE 1935 1985 8080 5060 9000 8000/udp 10080/udp
CMD ["./objs/srs", "-c", "conf/docker.conf"]

FROM base AS ffmpeg
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg && rm -rf /var/lib/apt/lists/* && \
    mkdir -p objs/ffmpeg/bin && ln -s /usr/bin/ffmpeg /usr/bin/ffprobe objs/ffmpeg/bin/

FROM base AS weir
