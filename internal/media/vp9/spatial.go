package vp9

import (
	"fmt"

	"weir/internal/media/bits"
)

// layersMost is how many frames a superframe holds at most (Annex B.2).
const layersMost = 8

// A Spatial puts the spatial layers of each picture together, as what every decoder takes
// for one picture: a superframe (VP9 specification Annex B) whose last frame is the one that is
// shown. It is told of all pictures of a stream, in order, since pictures do not say how
// large they are if they are as large as what they are made from. It is for one goroutine.
type Spatial struct {
	refs [8]size // of the frames that are kept for reference
}

type size struct{ width, height int }

// Append appends the picture of so many layers, the lowest first, and returns its size in
// pixels. A single layer stays as it is, its size is 0 if that cannot be told. The errors
// wrap [ErrSyntax].
func (s *Spatial) Append(dst []byte, layers [][]byte) (b []byte, width, height int, err error) {
	if len(layers) > layersMost {
		return dst, 0, 0, fmt.Errorf("%w: %d layers", ErrSyntax, len(layers))
	}
	var lengths [layersMost]int
	for i, l := range layers {
		h, err := s.header(l)
		if err != nil && len(layers) > 1 {
			return dst, 0, 0, err
		}
		width, height = h.width, h.height
		if err != nil {
			width, height, _ = Size(l)
		}
		from := len(dst)
		if i == len(layers)-1 {
			dst = append(dst, l...)
		} else if dst, err = h.hide(dst, l); err != nil {
			return dst, 0, 0, err
		}
		lengths[i] = len(dst) - from
	}
	if len(layers) > 1 {
		dst = appendIndex(dst, lengths[:len(layers)])
	}
	return dst, width, height, nil
}

// appendIndex appends the index of a superframe (B.3).
func appendIndex(dst []byte, lengths []int) []byte {
	const four = 3 // bytes, less one
	marker := byte(0b110<<5 | four<<3 | len(lengths) - 1)
	dst = append(dst, marker)
	for _, n := range lengths {
		dst = append(dst, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	return append(dst, marker)
}

// header is what matters of the uncompressed header of a frame (6.2).
type header struct {
	size
	show, existing, key bool
	showAt              int // the bit that says show
	end                 int // of the header, in bits, before what fills its last byte
}

// header reads the header of a frame, and notes what becomes of it.
func (s *Spatial) header(frame []byte) (h header, err error) {
	r := bits.New(frame)
	bad := func() (header, error) { return header{}, fmt.Errorf("%w: header of a frame", ErrSyntax) }
	if r.Bits(2) != 2 {
		return bad()
	}
	profile := r.Bits(1) | r.Bits(1)<<1
	if profile == 3 {
		r.Skip(1)
	}
	if r.Flag() { // show_existing_frame
		i := r.Bits(3)
		if !r.OK() {
			return bad()
		}
		return header{size: s.refs[i], show: true, existing: true}, nil
	}
	h.key = !r.Flag()
	h.showAt = r.Pos()
	h.show = r.Flag()
	resilient := r.Flag()
	refresh := uint32(0xff)
	intra := h.key
	if !h.key {
		intra = !h.show && r.Flag()
		if !resilient {
			r.Skip(2) // reset_frame_context
		}
	}
	if intra {
		if r.Bits(24) != 0x498342 {
			return bad()
		}
		if h.key || profile > 0 {
			color(&r, profile)
		}
		if !h.key {
			refresh = r.Bits(8)
		}
		h.size = readSize(&r)
	} else {
		refresh = r.Bits(8)
		h.size = s.between(&r)
	}
	if !resilient {
		r.Skip(2) // refresh_frame_context, frame_parallel_decoding_mode
	}
	r.Skip(2) // frame_context_idx
	loopFilter(&r)
	r.Skip(8) // base_q_idx
	for range 3 {
		if r.Flag() {
			r.Skip(5) // delta_q
		}
	}
	segmentation(&r)
	tiles(&r, h.width)
	length := r.Bits(16)
	h.end = r.Pos()
	if !r.OK() || h.width == 0 || length == 0 || int(length) > len(frame)-(h.end+7)/8 {
		return bad()
	}
	for i := range s.refs {
		if refresh>>i&1 != 0 {
			s.refs[i] = h.size
		}
	}
	return h, nil
}

// color passes over color_config.
func color(r *bits.Reader, profile uint32) {
	if profile >= 2 {
		r.Skip(1) // ten_or_twelve_bit
	}
	if r.Bits(3) != 7 { // not sRGB
		r.Skip(1)
		if profile&1 == 1 {
			r.Skip(3)
		}
	} else if profile&1 == 1 {
		r.Skip(1)
	}
}

// readSize reads frame_size and render_size.
func readSize(r *bits.Reader) size {
	z := size{int(r.Bits(16)) + 1, int(r.Bits(16)) + 1}
	renderSize(r)
	return z
}

func renderSize(r *bits.Reader) {
	if r.Flag() {
		r.Skip(32)
	}
}

// between reads what a frame that is made from others says of them, and its size.
func (s *Spatial) between(r *bits.Reader) (z size) {
	var from [3]uint32
	for i := range from {
		from[i] = r.Bits(3)
		r.Skip(1) // ref_frame_sign_bias
	}
	found := false
	for i := 0; i < len(from) && !found; i++ {
		if found = r.Flag(); found {
			z = s.refs[from[i]]
		}
	}
	if !found {
		z = size{int(r.Bits(16)) + 1, int(r.Bits(16)) + 1}
	}
	renderSize(r)
	r.Skip(1) // allow_high_precision_mv
	if !r.Flag() {
		r.Skip(2) // raw_interpolation_filter
	}
	return z
}

// loopFilter passes over loop_filter_params.
func loopFilter(r *bits.Reader) {
	r.Skip(9)                 // level, sharpness
	if r.Flag() && r.Flag() { // enabled, update
		for range 6 {
			if r.Flag() {
				r.Skip(7)
			}
		}
	}
}

// segmentation passes over segmentation_params.
func segmentation(r *bits.Reader) {
	if !r.Flag() {
		return
	}
	prob := func() {
		if r.Flag() {
			r.Skip(8)
		}
	}
	if r.Flag() { // update_map
		for range 7 {
			prob()
		}
		if r.Flag() { // temporal_update
			for range 3 {
				prob()
			}
		}
	}
	if !r.Flag() { // update_data
		return
	}
	r.Skip(1)
	for range 8 {
		for _, n := range [4]int{8 + 1, 6 + 1, 2, 0} { // with their signs
			if r.Flag() {
				r.Skip(n)
			}
		}
	}
}

// tiles passes over tile_info of a frame that is so wide.
func tiles(r *bits.Reader, width int) {
	columns := (width + 63) / 64
	least, most := 0, 1
	for 64<<least < columns {
		least++
	}
	for columns>>most >= 4 {
		most++
	}
	for n := least; n < most-1 && r.Flag(); n++ {
	}
	if r.Flag() {
		r.Skip(1)
	}
}

// hide appends a frame so that it is not shown.
func (h *header) hide(dst, frame []byte) ([]byte, error) {
	if h.existing {
		return dst, fmt.Errorf("%w: a lower layer shows what was", ErrSyntax)
	}
	from := len(dst)
	if !h.show || h.key {
		dst = append(dst, frame...)
		dst[from+h.showAt/8] &^= 0x80 >> (h.showAt % 8)
		return dst, nil
	}
	// Frames that are not shown say besides whether they are made from others at all:
	// one bit more, intra_only, behind error_resilient_mode.
	at := h.showAt + 2
	dst = append(dst, make([]byte, (h.end+1+7)/8)...)
	b := dst[from:]
	r := bits.New(frame)
	for i := 0; i < h.end+1; i++ {
		if i == at {
			continue
		}
		if r.Flag() && i != h.showAt {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return append(dst, frame[(h.end+7)/8:]...), nil
}
