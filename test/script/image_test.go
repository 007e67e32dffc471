package script

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// dockerfile is what the Dockerfile says of the image that is built by default.
type dockerfile struct {
	workdir string
	env     []string
	cmd     []string
	expose  []string
	stages  []string
}

// readDockerfile reads the words that say how an image runs. What a stage says
// holds for those made from it, and there is one value of each here.
func readDockerfile(path string) (d dockerfile, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	text := strings.ReplaceAll(string(b), "\\\n", " ")
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields := strings.Fields(rest)
		switch word {
		case "FROM":
			d.stages = append(d.stages, fields[len(fields)-1])
		case "WORKDIR":
			d.workdir = rest
		case "ENV":
			d.env = append(d.env, fields...)
		case "EXPOSE":
			d.expose = append(d.expose, fields...)
		case "CMD":
			if err := json.Unmarshal([]byte(rest), &d.cmd); err != nil {
				return d, fmt.Errorf("CMD %s: %w", rest, err)
			}
		}
	}
	return d, nil
}

// The image is a drop-in for SRS's: same folder, environment, ports, command.
func TestImageIsSRSs(t *testing.T) {
	d, err := readDockerfile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if d.workdir != "/usr/local/srs" {
		t.Errorf("work folder %s", d.workdir)
	}
	if want := []string{"./objs/srs", "-c", "conf/docker.conf"}; !slices.Equal(d.cmd, want) {
		t.Errorf("command %q, want %q", d.cmd, want)
	}
	for _, e := range []string{"SRS_DAEMON=off", "SRS_IN_DOCKER=on"} {
		if !slices.Contains(d.env, e) {
			t.Errorf("environment %q lacks %s", d.env, e)
		}
	}
	for _, p := range []string{"1935", "1985", "8080", "5060", "9000", "8000/udp", "10080/udp"} {
		if !slices.Contains(d.expose, p) {
			t.Errorf("ports %q lack %s", d.expose, p)
		}
	}
	if want := []string{"build", "base", "ffmpeg", "weir"}; !slices.Equal(d.stages, want) {
		t.Errorf("stages %q, want %q", d.stages, want)
	}
}
