// Package config turns a configuration file in SRS's language, and the
// SRS_* environment, into one typed, immutable [Snapshot].
//
// The idea: text becomes a tree of [Directive]s that knows where each word
// stood; the tree is decoded into plain structs, called blocks, that are
// declared beside the code that uses them:
//
//	type Config struct {
//		// Fragment is the least duration of a segment.
//		Fragment time.Duration `conf:"hls_fragment" default:"10" unit:"s"`
//	}
//
//	var Conf = config.NewVhost[Config]("hls")
//
//	c := Conf.Of(vhost) // *Config, typed, never nil
//
// Name, default, unit, environment name, accepted words and the moment at which
// a change takes effect are tags of the field; its doc comment is its
// documentation. Reference, annotated full.conf, "weir explain", defaults,
// environment overrides, diagnostics and reload all come from there, so that a
// directive exists in exactly one place.
//
// The promise: what SRS 7.0.18 accepts is accepted with the same meaning, what
// it refuses is refused with its words (plus a position and a suggestion), and
// everything that is wrong with a file is told in one run. What SRS lets pass
// silently (junk in numbers, a second value, a misspelt word) passes here with
// a warning. Directives of SRS 4 to 7 that no block implements are known from
// the package known: they are ignored with a warning, or, where ignoring them
// would open a door, make [Snapshot.Refusals] non-empty.
//
// The limits: 16 MiB per file and 64 MiB per run, 64 levels of blocks, 16 levels
// of include, 64 KiB per word, 200,000 directives, 100 errors.
package config
