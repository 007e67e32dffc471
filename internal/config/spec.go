package config

import (
	"fmt"
	"reflect"
)

type scope uint8

const (
	scopeServer scope = iota
	scopeVhost
)

// A Spec is a declared block, of whatever type: a [Block] or a [List]. The list
// of all specs is what a server can be told.
type Spec interface {
	spec() *core
}

// core is a block without its type.
type core struct {
	scope  scope
	name   string // "" for directives that stand directly in the root or vhost
	path   string // "", "http_api", "vhost", "vhost.hls"
	list   bool
	typ    reflect.Type // of one block
	fields []field
	doc    string // key of the struct's doc comment
}

func newCore(s scope, name string, list bool, t reflect.Type) *core {
	c := &core{scope: s, name: name, list: list, typ: t, doc: t.PkgPath() + "." + t.Name()}
	env := "SRS_"
	if s == scopeVhost {
		c.path, env = "vhost", "SRS_VHOST_"
	}
	if name != "" {
		c.path = join(c.path, name)
		env = envPrefix(env, name)
	}
	if list {
		env = "" // which of them would it mean?
	}
	c.fields = fieldsOf(t, c.path, env)
	return c
}

// A Block is a declared block of which there is one per server or per vhost. It
// is made once, in a package variable, by one of the New functions, which panic
// if the tags of T make no sense.
//
// T is a struct. A field with a tag conf is a directive, and its type says how
// it is read:
//
//	bool           on or off; needs default:"on" or default:"off"
//	int, int64, float64, string
//	[]string       all the values
//	time.Duration  needs unit:"s" or unit:"ms"; fractions are allowed
//	struct         a nested block
//	[]struct       a nested block that may repeat
//	[]Rule         all directives of the names conf:"a,b"; of any name conf:"*"
//	string         with conf:"$arg" the first value of the block itself
//
// Further tags: default; shown (the default as documents tell it); alias (other
// spellings, with commas); enum:"a|b" (another word is the default, with a
// warning); env (names without SRS_ in place of the regular one, "-" for none; on
// a field "_" for the whole block); reload:"now|session|restart" (when a change
// takes effect, default session); since.
//
// If *T has a method Validate() error, an error of it refuses the configuration,
// which is right only where SRS refuses too. A method Warnings() []string adds
// warnings.
type Block[T any] struct {
	core *core
	def  *T
}

func newBlock[T any](s scope, name string) *Block[T] {
	b := &Block[T]{core: newCore(s, name, false, reflect.TypeFor[T]()), def: new(T)}
	d := decoder{prob: &problems{}}
	d.fields(b.core.fields, nil, reflect.ValueOf(b.def).Elem())
	if len(d.prob.warns) > 0 {
		panic(fmt.Sprintf("BUG: config block %q: default: %v", b.core.path, d.prob.warns[0]))
	}
	return b
}

// NewRoot declares directives that stand directly in the file.
func NewRoot[T any]() *Block[T] { return newBlock[T](scopeServer, "") }

// NewServer declares a block that stands in the file, as http_api { }.
func NewServer[T any](name string) *Block[T] { return newBlock[T](scopeServer, name) }

// NewVhostRoot declares directives that stand directly in a vhost { }.
func NewVhostRoot[T any]() *Block[T] { return newBlock[T](scopeVhost, "") }

// NewVhost declares a block that stands in a vhost { }, as hls { }.
func NewVhost[T any](name string) *Block[T] { return newBlock[T](scopeVhost, name) }

func (b *Block[T]) spec() *core { return b.core }

// In returns the block of the server, never nil. What a snapshot does not say,
// and all of a nil one, is as by default. It must not be modified.
func (b *Block[T]) In(s *Snapshot) *T {
	if s != nil {
		if v, ok := s.values[b.core]; ok {
			return v.(*T)
		}
	}
	return b.def
}

// Of returns the block of a vhost, never nil, as [Block.In] does of the server.
func (b *Block[T]) Of(v *Vhost) *T {
	if v != nil {
		if x, ok := v.values[b.core]; ok {
			return x.(*T)
		}
	}
	return b.def
}

// Default returns a new block with every default.
func (b *Block[T]) Default() *T {
	c := *b.def
	return &c
}

// A List is a declared block that may repeat, as stream_caster { } in the file
// or ingest ID { } in a vhost. Its T is that of [Block]; the environment cannot
// set it.
type List[T any] struct {
	core *core
}

func newList[T any](s scope, name string) *List[T] {
	return &List[T]{core: newCore(s, name, true, reflect.TypeFor[T]())}
}

// NewServerList declares a block that may repeat in the file.
func NewServerList[T any](name string) *List[T] { return newList[T](scopeServer, name) }

// NewVhostList declares a block that may repeat in a vhost { }.
func NewVhostList[T any](name string) *List[T] { return newList[T](scopeVhost, name) }

func (l *List[T]) spec() *core { return l.core }

// In returns the blocks of the server, in the order of the file. They must not
// be modified.
func (l *List[T]) In(s *Snapshot) []T {
	if s == nil {
		return nil
	}
	v, _ := s.values[l.core].([]T)
	return v
}

// Of returns the blocks of a vhost, in the order of the file. They must not be
// modified.
func (l *List[T]) Of(v *Vhost) []T {
	if v == nil {
		return nil
	}
	x, _ := v.values[l.core].([]T)
	return x
}
