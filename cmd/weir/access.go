package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/control/auth"
	"weir/internal/hub"
	"weir/internal/server"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// runSign makes a token for signed_url.
func runSign(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("sign", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("c", "", "take the secret from the configuration `FILE`")
	vhost := f.String("vhost", config.DefaultVhost, "whose secret it is, with -c")
	secret := f.String("secret", "", "the secret, without -c")
	stream := f.String("stream", "", "the `PATTERN` of streams, as live/s, live/* or **")
	act := f.String("act", "", "publish or play; both if it is left out")
	expires := f.Duration("expires", time.Hour, "for how long")
	from := f.String("from", "", "the `ADDRESS` or network from where it holds; anywhere if it is left out")
	if f.Parse(args) != nil {
		return 1
	}
	token, err := makeToken(*file, *vhost, *secret, *stream, *act, *expires, *from)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintln(stdout, token)
	return 0
}

func makeToken(file, vhost, secret, stream, act string, expires time.Duration, from string) (string, error) {
	if file != "" {
		s, err := parse(file)
		if err != nil {
			return "", err
		}
		v, _ := s.Vhost(vhost)
		if c := blocks.SignedURL.Of(v); c.Enabled && len(c.Secret) > 0 {
			secret = c.Secret[0]
		}
	}
	g := auth.Grant{Pattern: stream, Expires: time.Now().Add(expires)}
	switch {
	case secret == "":
		return "", errors.New("sign needs -secret, or -c with a configuration whose vhost has signed_url")
	case stream == "":
		return "", errors.New("sign needs -stream, as live/s, live/* or **")
	}
	switch act {
	case "":
	case "publish":
		g.Act = session.Publish
	case "play":
		g.Act = session.Play
	default:
		return "", fmt.Errorf("-act is publish or play, not %s", act)
	}
	if from != "" {
		p, err := netip.ParsePrefix(from)
		if ip, e := netip.ParseAddr(from); e == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return "", fmt.Errorf("-from: %w", err)
		}
		g.Net = p.Masked()
	}
	return auth.Token(secret, g), nil
}

// runWhyDenied tells what the rules of a configuration say of an address.
func runWhyDenied(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("why-denied", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("c", "", "the configuration `FILE`")
	ip := f.String("ip", "127.0.0.1", "the `ADDRESS` of the client")
	act := f.String("act", "play", "publish or play")
	page := f.String("page", "", "the `URL` of the page that a player is on")
	bearer := f.String("bearer", "", "the `TOKEN` of HTTP's Authorization")
	if f.Parse(args) != nil {
		return 1
	}
	if *file == "" || f.NArg() != 1 {
		fmt.Fprintln(stderr, "usage: weir why-denied -c FILE [-ip ADDRESS] [-act publish|play] [-page URL] [-bearer TOKEN] URL")
		return 1
	}
	s, err := parse(*file)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	admitted, err := whyDenied(stdout, s, f.Arg(0), *ip, *act, *page, *bearer)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if !admitted {
		return 2
	}
	return 0
}

func whyDenied(w io.Writer, s *config.Snapshot, address, ip, act, page, bearer string) (admitted bool, err error) {
	client, err := netip.ParseAddr(ip)
	if err != nil {
		return false, fmt.Errorf("-ip: %w", err)
	}
	t, web, err := target(address)
	if err != nil {
		return false, err
	}
	acts := map[string]session.Act{"publish": session.Publish, "play": session.Play}
	if acts[act] == 0 {
		return false, fmt.Errorf("-act is publish or play, not %s", act)
	}
	line := func(rule, says string) { fmt.Fprintf(w, "%-12s%s\n", rule, says) }
	v, ok := s.Vhost(t.Vhost)
	if !ok {
		line("vhost", fmt.Sprintf("refuses: no vhost %s, and no enabled %s", t.Vhost, config.DefaultVhost))
		return false, nil
	}
	line("vhost", v.Name)
	line("stream", t.App+"/"+t.Stream)
	r := &session.Request{Session: &session.Session{Visitor: session.Visitor{IP: client.Unmap().String(), PageURL: page, Bearer: bearer, Connects: !web}},
		Ask: session.Ask{Key: hub.Key{Vhost: v.Name, App: t.App, Stream: t.Stream}, Said: session.Said{Param: t.Param}}}
	admitted = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rules := server.Rules(config.NewStore(s), slog.New(slog.DiscardHandler))
	for _, r.Act = range []session.Act{session.Connect, acts[act]} {
		for _, step := range rules.Explain(ctx, r) {
			says := "admits"
			if step.Err != nil {
				says, admitted = "refuses: "+step.Err.Error(), false
			}
			line(step.Rule, says)
		}
	}
	l := server.Limits(s, v.Name)
	if l != (auth.Limit{}) {
		line("limits", fmt.Sprintf("the running server counts: %d sessions, %d players of a stream, %d from an address, %d publishes a minute, %d kbit/s (0 is no limit)",
			l.Sessions, l.Players, l.PerAddress, l.PublishesPerMinute, l.BitrateKbps))
	}
	h := server.Hooks(s, v.Name)
	asked := h.OnPlay
	if acts[act] == session.Publish {
		asked = h.OnPublish
	}
	if !web {
		asked = append(h.OnConnect[:len(h.OnConnect):len(h.OnConnect)], asked...)
	}
	for _, u := range asked {
		line("http_hooks", "the running server asks "+session.Mask(u))
	}
	if admitted {
		line("result", "admitted by the configuration")
	} else {
		line("result", "denied")
	}
	return admitted, nil
}

// target takes an address of any protocol apart: what it names, and whether it is
// one of HTTP.
func target(address string) (t rtmp.Target, web bool, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return t, false, err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		t, err = rtmp.ParseURL(address)
		return t, false, err
	}
	p := strings.TrimSuffix(strings.TrimPrefix(u.Path, "/"), path.Ext(u.Path))
	t.Vhost, t.App, t.Stream = u.Hostname(), path.Dir(p), path.Base(p)
	if v := u.Query().Get("vhost"); v != "" {
		t.Vhost = v
	}
	if u.RawQuery != "" {
		t.Param = "?" + u.RawQuery
	}
	return t, true, nil
}
