package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/child"
	"weir/internal/config"
	"weir/internal/config/blocks"
)

// The command lines are SRS's, in its order.

// ingestArgs is ffmpeg's command line for an ingest.
func ingestArgs(path string, in *blocks.IngestConfig, e *blocks.EngineConfig, level, output string, t *tools) ([]string, error) {
	switch {
	case in.Input.Type != "file" && in.Input.Type != "stream" && in.Input.Type != "device":
		return nil, fmt.Errorf("ingest %s: input type %q is none of file, stream and device", in.ID, in.Input.Type)
	case in.Input.URL == "":
		return nil, fmt.Errorf("ingest %s: the input has no url", in.ID)
	case output == "":
		return nil, fmt.Errorf("ingest %s: the engine has no output", in.ID)
	}
	a := []string{path, "-loglevel", level}
	if in.Input.Type != "device" {
		a = append(a, "-re")
	}
	a = append(a, options(e.PerFile.Options)...)
	// flv, which is the default of transcoders, ffmpeg finds out by itself.
	if e.IFormat != "" && e.IFormat != "off" && e.IFormat != "flv" {
		a = append(a, "-f", e.IFormat)
	}
	a = append(a, "-i", in.Input.URL)
	if !e.Enabled || e.VCodec == "" || e.ACodec == "" {
		a = append(a, "-vcodec", "copy", "-acodec", "copy")
	} else {
		coding, err := coding(path, e, t)
		if err != nil {
			return nil, err
		}
		a = append(a, coding...)
	}
	return append(a, "-f", "flv", "-y", output), nil
}

// transcodeArgs is ffmpeg's command line for an engine of transcode.
func transcodeArgs(path string, e *blocks.EngineConfig, level, input, output string, t *tools) ([]string, error) {
	switch {
	case output == "":
		return nil, fmt.Errorf("engine %s has no output", e.Name)
	case strings.HasPrefix(output, "-"):
		return nil, fmt.Errorf("engine %s: the output %.100q would be an option", e.Name, output)
	case e.VCodec == "" && e.ACodec == "":
		return nil, fmt.Errorf("engine %s has neither vcodec nor acodec", e.Name)
	}
	a := []string{path}
	if level != "" && level != "info" {
		a = append(a, "-loglevel", level)
	}
	a = append(a, options(e.PerFile.Options)...)
	if e.IFormat != "" && e.IFormat != "off" {
		a = append(a, "-f", e.IFormat)
	}
	a = append(a, "-i", input)
	coding, err := coding(path, e, t)
	if err != nil {
		return nil, err
	}
	a = append(a, coding...)
	if e.OFormat != "" && e.OFormat != "off" {
		a = append(a, "-f", e.OFormat)
	}
	return append(a, "-y", output), nil
}

// coding is the part about picture and sound.
func coding(path string, e *blocks.EngineConfig, t *tools) ([]string, error) {
	a := options(e.VFilter.Options)
	number := func(option string, n int) {
		if n > 0 {
			a = append(a, option, strconv.Itoa(n))
		}
	}
	switch e.VCodec {
	case "":
	case "vn":
		a = append(a, "-vn")
	case "copy":
		a = append(a, "-vcodec", "copy")
	default:
		if e.VProfile == "" || e.VPreset == "" {
			return nil, errors.New("engine " + e.Name + ": a coder of the picture needs vprofile and vpreset")
		}
		a = append(a, "-vcodec", e.VCodec)
		number("-b:v", e.VBitrate*1000)
		if e.VFPS > 0 {
			a = append(a, "-r", strconv.FormatFloat(e.VFPS, 'f', 2, 64))
		}
		if e.VWidth > 0 && e.VHeight > 0 {
			a = append(a, "-s", fmt.Sprintf("%dx%d", e.VWidth, e.VHeight), "-aspect", fmt.Sprintf("%d:%d", e.VWidth, e.VHeight))
		}
		number("-threads", e.VThreads)
		a = append(a, "-profile:v", e.VProfile, "-preset", e.VPreset)
		a = append(a, options(e.VParams.Options)...)
	}
	switch e.ACodec {
	case "":
	case "an":
		a = append(a, "-an")
	case "copy":
		a = append(a, "-acodec", "copy")
	default:
		a = append(a, "-acodec", t.sound(path, e.ACodec))
		number("-b:a", e.ABitrate*1000)
		number("-ar", e.ASampleRate)
		number("-ac", e.AChannels)
		a = append(a, options(e.AParams.Options)...)
	}
	return a, nil
}

// options makes options of directives.
func options(rules []config.Rule) (a []string) {
	for _, r := range rules {
		a = append(a, "-"+r.Name)
		for _, v := range r.Args {
			if v != "" {
				a = append(a, v)
			}
		}
	}
	return a
}

// tools finds programs, and says once what it had to put in place of what.
type tools struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]bool // guarded by mu
	fdk  map[string]bool // whether an ffmpeg, by file and time, has libfdk_aac; guarded by mu
}

// once warns of something, once.
func (t *tools) once(text string) {
	t.mu.Lock()
	said := t.said[text]
	if t.said == nil {
		t.said = map[string]bool{}
	}
	t.said[text] = true
	t.mu.Unlock()
	if !said {
		t.log.Warn(text)
	}
}

// ffmpeg returns the program of a path, or the ffmpeg in PATH in its place.
func (t *tools) ffmpeg(path string) (string, error) {
	if child.Runs(path) {
		return path, nil
	}
	found, err := child.Find("ffmpeg")
	if err != nil {
		return "", fmt.Errorf("ffmpeg: there is no program %s, and none in PATH; install ffmpeg, or name it by the directive ffmpeg", path)
	}
	t.once("ffmpeg " + path + " is not there, " + found + " is used")
	return found, nil
}

// program returns the program that exec names.
func (t *tools) program(name string) (string, error) {
	if !strings.Contains(name, "/") {
		return child.Find(name)
	}
	if !child.Runs(name) && filepath.Base(name) == "ffmpeg" {
		return t.ffmpeg(name)
	}
	return name, nil
}

const (
	fdkAAC = "libfdk_aac"
	// asking is how long ffmpeg may take to list its coders.
	asking = 10 * time.Second
)

// sound returns the coder to use for one that is wanted.
func (t *tools) sound(path, codec string) string {
	if codec != fdkAAC || t.hasFDK(path) {
		return codec
	}
	t.once(path + " has no " + fdkAAC + ", its aac is used")
	return "aac"
}

func (t *tools) hasFDK(path string) bool {
	id := path
	if info, err := os.Stat(path); err == nil {
		id = fmt.Sprint(path, info.ModTime(), info.Size())
	}
	t.mu.Lock()
	has, known := t.fdk[id]
	t.mu.Unlock()
	if known {
		return has
	}
	out, err := child.Output(asking, path, path, "-hide_banner", "-encoders")
	if err != nil {
		return true // let it say itself what is wrong
	}
	has = strings.Contains(string(out), " "+fdkAAC+" ")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fdk == nil {
		t.fdk = map[string]bool{}
	}
	t.fdk[id] = has
	return has
}
