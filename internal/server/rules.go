package server

import (
	"log/slog"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/control/auth"
	"weir/internal/control/breaker"
	"weir/internal/control/hook"
	"weir/internal/service"
	"weir/internal/service/jwks"
)

// rules hangs the access rules, the limits and the callbacks on the desk.
func (s *Server) rules() {
	conf := s.env.Conf
	s.hooks = hook.New(s.env, func(vhost string) hook.URLs { return Hooks(conf.Load(), vhost) })
	s.limits = auth.NewLimits(s.env.Desk, func(vhost string) auth.Limit { return Limits(conf.Load(), vhost) })
	br := breaker.New(s.env)
	s.add("circuit_breaker", service.Base, br)
	s.env.Desk.Authorize(br, Rules(conf, s.env.Log), s.hooks)
	s.env.Desk.Observe(s.hooks)
	s.env.AskForward = s.hooks.Forward
	s.add("hooks", service.Base, s.hooks)
	s.add("limits", service.Base, s.limits)
	s.add("desk", service.Base, runner(s.env.Desk.Run))
	s.add("pithy", service.Base, runner(s.pithy().Run))
}

// Rules returns the access rules of the configuration in force.
func Rules(conf *config.Store, log *slog.Logger) *auth.Auth {
	sets := jwks.Sources{Log: log}
	return &auth.Auth{
		Security: func(vhost string) auth.Security {
			v, _ := conf.Load().Vhost(vhost)
			c := blocks.Security.Of(v)
			sec := auth.Security{On: c.Enabled}
			for _, r := range c.Rules {
				// The ones that make no sense were warned of when the file was read.
				if rule, err := auth.Parse(r.Name, r.Args); err == nil {
					sec.Rules = append(sec.Rules, rule)
				}
			}
			return sec
		},
		Refer: func(vhost string) auth.Refer {
			v, _ := conf.Load().Vhost(vhost)
			c := blocks.Refer.Of(v)
			return auth.Refer{On: c.Enabled, Labels: c.Labels, All: c.All, Publish: c.Publish, Play: c.Play}
		},
		Signed: func(vhost string) auth.Signed {
			v, _ := conf.Load().Vhost(vhost)
			c := blocks.SignedURL.Of(v)
			return auth.Signed{Publish: c.Enabled && c.Publish, Play: c.Enabled && c.Play, Secrets: c.Secret, Name: c.Name}
		},
		JWT: func(vhost string) auth.JWT {
			v, _ := conf.Load().Vhost(vhost)
			c := blocks.JWT.Of(v)
			if !c.Enabled {
				return auth.JWT{}
			}
			return auth.JWT{Publish: c.Publish, Play: c.Play, Source: sets.Of(c.JWKS), Algorithms: c.Algorithms, Issuer: c.Issuer,
				Audience: c.Audience, Claim: c.Claim, Leeway: c.Leeway, Name: c.Name}
		},
	}
}

// Limits returns the limits of a vhost.
func Limits(s *config.Snapshot, vhost string) auth.Limit {
	v, _ := s.Vhost(vhost)
	c := blocks.Limits.Of(v)
	return auth.Limit{Sessions: c.Sessions, Players: c.Players, PerAddress: c.PerAddress, PublishesPerMinute: c.PublishesPerMinute, BitrateKbps: c.BitrateKbps}
}

// Hooks returns the callbacks of a vhost.
func Hooks(s *config.Snapshot, vhost string) hook.URLs {
	v, _ := s.Vhost(vhost)
	c := blocks.HTTPHooks.Of(v)
	if !c.Enabled {
		return hook.URLs{}
	}
	return hook.URLs{OnConnect: c.OnConnect, OnClose: c.OnClose, OnPublish: c.OnPublish, OnUnpublish: c.OnUnpublish, OnPlay: c.OnPlay,
		OnStop: c.OnStop, OnDVR: c.OnDVR, OnHLS: c.OnHLS, OnHLSNotify: c.OnHLSNotify, NotifyBytes: blocks.HLS.Of(v).NBNotify,
		Timeout: c.Timeout, Open: c.OnError == "allow", Retries: c.Retries, RetryInterval: c.RetryInterval, Queue: c.Queue, Secret: c.Secret, TLSVerify: c.TLSVerify}
}
