package thumbnail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"weir/internal/child"
	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/media"
	"weir/internal/service/shelf"
)

// develop has a key frame made a JPEG.
func (s *server) develop(f *media.Frame, conf *blocks.ThumbnailConfig) (*shelf.File, error) {
	program := conf.FFmpeg
	if !child.Runs(program) {
		found, err := child.Find("ffmpeg")
		if err != nil {
			return nil, errNoProgram
		}
		program = found
	}
	movie, err := movieOf(f)
	if err != nil {
		return nil, errNoPicture
	}
	s.running <- struct{}{}
	defer func() { <-s.running }()
	name, err := temporary(movie)
	if err != nil {
		return nil, fmt.Errorf("picture cannot be made: %w", err)
	}
	defer os.Remove(name)
	args := []string{program, "-nostdin", "-loglevel", "quiet", "-threads", "1", "-f", "mp4", "-i", name, "-frames:v", "1", "-an"}
	if conf.Width > 0 {
		args = append(args, "-vf", "scale="+strconv.Itoa(conf.Width)+":-2")
	}
	args = append(args, "-c:v", "mjpeg", "-q:v", "4", "-f", "image2pipe", "-")
	b, err := child.Output(s.patience, program, args...)
	if err == nil && !isJPEG(b) {
		err = errors.New("what it wrote is no whole picture")
	}
	if err != nil {
		s.env.Log.Warn("no picture was made of a key frame", "program", program, "err", err)
		return nil, errors.New("ffmpeg made no picture of it, see the log of the server")
	}
	return shelf.New("image/jpeg", shelf.CacheManifest, strconv.FormatInt(time.Now().UnixNano(), 36)+"-"+strconv.Itoa(len(b)), b), nil
}

// movieOf is a movie of one frame.
func movieOf(f *media.Frame) ([]byte, error) {
	b, err := mp4.AppendInit(nil, (&media.Layout{}).With(f.Track))
	if err != nil {
		return nil, err
	}
	return mp4.AppendSamples(b, 1, f.Track, []mp4.Sample{{Payload: f.Payload, Duration: 3600, Key: true}}), nil
}

func temporary(b []byte) (name string, err error) {
	f, err := os.CreateTemp("", "weir-thumbnail-*.mp4")
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), err
}

// isJPEG reports whether b is a JPEG that does not break off.
func isJPEG(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0xff, 0xd8}) && bytes.HasSuffix(b, []byte{0xff, 0xd9})
}
