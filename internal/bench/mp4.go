package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
)

// playMP4 plays fragmented MP4 over HTTP, as playFLV does. Pictures are told from
// sound by their stamps; a stream without any begins with its first media.
func playMP4(ctx context.Context, v *viewer) error {
	return playHTTP(ctx, v, func(body io.Reader) func() (bool, error) {
		r := bufio.NewReaderSize(body, 32<<10)
		unstamped := 0
		return func() (left bool, err error) {
			typ, size, err := nextBox(r)
			if err != nil {
				return false, err
			}
			if typ == "mdat" {
				head, err := r.Peek(int(min(size, stampWithin)))
				if err != nil {
					return false, err
				}
				key, _, _, ok := nextStamp(head)
				if unstamped++; ok {
					unstamped = 0
				}
				if ok && key || unstamped > noStamps {
					v.started()
				}
				if left = !v.probe && v.first.Load() > 0; v.probe && ok {
					v.picture(head)
				}
			}
			_, err = io.CopyN(io.Discard, r, size)
			return left, err
		}
	})
}

// noStamps is after how many pieces of media without a stamp a stream is one that
// has none.
const noStamps = 200

// nextBox reads the head of a box (ISO/IEC 14496-12 4.2) and returns its type and
// how many bytes follow.
func nextBox(r io.Reader) (typ string, size int64, err error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", 0, err
	}
	size, head := int64(binary.BigEndian.Uint32(b[:])), int64(8)
	if size == 1 {
		var long [8]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return "", 0, err
		}
		size, head = int64(binary.BigEndian.Uint64(long[:])), 16
	}
	if size < head {
		return "", 0, errors.New("no MP4 box where one should begin")
	}
	return string(b[4:]), size - head, nil
}
